"""One prompt, two answers: of the model before and after a run, or of any two models of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from gpu_runner.data.chat.messages import BadRow, check_unicode
from gpu_runner.errors import DataError, UsageError
from gpu_runner.run.run_models import RunModel, load_initial, load_trained
from gpu_runner.text import counted, printable
from gpu_runner.train.evaluate import Continuation, generate

MOST_CHARACTERS: Final = 100_000
BOUNDS: Final = {"tokens": (1, 4096), "temperature": (0, 5), "seed": (0, 2**63 - 1)}


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How to answer: at most so many tokens, greedy at temperature 0, else sampled from a seed."""

    tokens: int = 64
    temperature: float = 0.0
    seed: int = 0

    def check(self) -> None:
        """Raise `UsageError` for a value out of bounds."""
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:  # NaN neither
                raise UsageError(
                    f"--{name} {value} is out of bounds: give a number from {low} to {high:,}."
                )


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What one model answered; `same` tokens at its beginning are those of the other answer."""

    asked: RunModel
    written: Continuation
    same: int

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "model": self.asked.name,
            "text": self.written.text,
            "ended": self.written.ended,
        }

    def as_text(self) -> Text:
        """Return the text, what differs from the other answer in bold, and how it ended."""
        tokenizer = self.asked.tokenizer
        start = tokenizer.decode(self.written.tokens[: self.same], skip_special_tokens=True)
        whole = self.written.text
        start = start if whole.startswith(start) else ""
        if not whole.strip() and self.written.ended:
            return Text("(it ends at once)", "dim")
        text = Text(printable(start)).append(printable(whole[len(start) :]), "bold")
        ending = (
            "" if self.written.ended else f"  … stopped after {len(self.written.tokens)} tokens"
        )
        return text.append(ending, "dim")


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """The two answers to a prompt."""

    prompt: str
    before: ModelAnswer
    after: ModelAnswer

    def as_json(self) -> dict[str, Any]:
        """Return them as plain data."""
        both = {"before": self.before.as_json(), "after": self.after.as_json()}
        return {"prompt": self.prompt, **both}

    def show(self, console: Console) -> None:
        """Print both."""
        for answer in (self.before, self.after):
            console.print(Text(printable(answer.asked.name), "dim"))
            console.print(Padding(answer.as_text(), (0, 0, 0, 2)))


@dataclass(frozen=True, slots=True)
class ModelPair:
    """Two loaded models that are asked the same."""

    before: RunModel
    after: RunModel

    def ask(self, prompt: str, options: AskOptions) -> AnswerPair:
        """Return both answers. Raises `UsageError` for a prompt that cannot be asked."""
        check_prompt(prompt)
        one, two = (_answer(side, prompt, options) for side in (self.before, self.after))
        same = 0
        for a, b in zip(one.tokens, two.tokens, strict=False):
            if a != b:
                break
            same += 1
        same = same if self.before.tokenizer.get_vocab() == self.after.tokenizer.get_vocab() else 0
        return AnswerPair(
            prompt, ModelAnswer(self.before, one, same), ModelAnswer(self.after, two, same)
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


def check_prompt(prompt: str) -> None:
    """Raise `UsageError` for a prompt that is empty, too long or not Unicode text."""
    if not prompt.strip():
        raise UsageError("the prompt is empty: give a question, or the beginning of a text.")
    if len(prompt) > MOST_CHARACTERS:
        raise UsageError(
            f"the prompt has {len(prompt):,} characters: give at most {MOST_CHARACTERS:,}."
        )
    try:
        check_unicode(prompt)
    except BadRow as error:
        raise UsageError(f"the prompt cannot be read: {error}.") from None


def _answer(asked: RunModel, prompt: str, options: AskOptions) -> Continuation:
    try:
        read = asked.encoder.render_question(prompt)
    except BadRow as error:
        raise DataError(str(error)) from None
    length = len(asked.tokenizer(read, add_special_tokens=False)["input_ids"])
    positions = getattr(asked.model.config, "max_position_embeddings", None)
    if positions is not None and length + options.tokens > positions:
        raise UsageError(
            f"the prompt has {counted(length, 'token')}, and {asked.name} reads and writes"
            f" {positions:,} in all: give at most {max(0, positions - options.tokens):,} with"
            f" --tokens {options.tokens}."
        )
    return generate(
        asked.model,
        asked.tokenizer,
        read,
        options.tokens,
        length,
        temperature=options.temperature,
        seed=options.seed,
    )
