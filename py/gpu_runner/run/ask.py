"""One prompt, two answers: of the models before and after a run, or of any two models of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from gpu_runner.data.chat.messages import BadRow
from gpu_runner.errors import DataError, UsageError
from gpu_runner.log.questions import AnswerPair, ModelAnswer, Question
from gpu_runner.run.run_models import RunModel, load_initial, load_trained
from gpu_runner.text import counted
from gpu_runner.train.evaluate import generate


@dataclass(frozen=True, slots=True)
class ModelPair:
    """Two loaded models that are asked the same."""

    before: RunModel
    after: RunModel

    def ask(self, question: Question) -> AnswerPair:
        """Return both answers. Raises `UsageError` for a prompt that cannot be asked."""
        question.check()
        return AnswerPair(
            question.prompt, _answer(self.before, question), _answer(self.after, question)
        )


def load_pair(
    run: Path,
    step: int | None,
    against: tuple[Path, int | None] | None,
    device: torch.device,
    *,
    trusted: bool = False,
) -> ModelPair:
    """Load the model of `run`, at `step` or the last, and the one it is compared with.

    That is θ₀, or the model of another run or checkpoint. Raises a `RunnerError`.
    """
    after = load_trained(run, step, device, trusted=trusted)
    if against is None:
        return ModelPair(load_initial(run, device, trusted=trusted), after)
    return ModelPair(load_trained(*against, device, trusted=trusted), after)


def _answer(asked: RunModel, question: Question) -> ModelAnswer:
    try:
        read = asked.encoder.render_question(question.prompt)
    except BadRow as error:
        raise DataError(str(error)) from None
    length = asked.encoder.count_tokens(read)
    positions = getattr(asked.model.config, "max_position_embeddings", None)
    if positions is not None and length + question.tokens > positions:
        raise UsageError(
            f"the prompt has {counted(length, 'token')}, and {asked.name} reads and writes"
            f" {positions:,} in all: give at most {max(0, positions - question.tokens):,} with"
            f" --tokens {question.tokens}."
        )
    found = generate(
        asked.model,
        asked.tokenizer,
        read,
        question.tokens,
        max(1, length),
        temperature=question.temperature,
        seed=question.seed,
    )
    return ModelAnswer(asked.name, found.text, found.ended, found.pieces)
