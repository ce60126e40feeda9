"""The demo model before and after a run, asked in numpy as the page asks it: without PyTorch.

PyTorch and transformers are imported for seconds, and the demo answers in a tenth of one. What is
asked otherwise than the page asks (sampled, a long prompt, another checkpoint), `run_models` loads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gpu_runner import atomic, demo
from gpu_runner.log.questions import THETA_0, AnswerPair, ModelAnswer, Question
from gpu_runner.run.directory import FINISHED, finished_step, read_config
from unfrozen.lab.answers import POSITIONS, generate
from unfrozen.lab.demo import read_tensors
from unfrozen.lab.llama import Llama, Weights
from unfrozen.lab.tokenizer import Tokenizer
from unfrozen.model import ModelConfig
from unfrozen.plain import read_json, read_whole

_MOST_MODEL_BYTES: Final = 64 * 1024 * 1024
_AS_DEMO: Final = {"model": "demo", "params": "fp32", "chat_template": None}


@dataclass(frozen=True, slots=True)
class DemoPair:
    """The demo model and what a run has made of it."""

    model: Llama
    tokenizer: Tokenizer
    before: Weights
    after: Weights
    name: str

    @classmethod
    def load(cls, run: Path) -> DemoPair | None:
        """Return them of a finished run; None where it is another model, not finished, or gone.

        Raises `CheckpointError` where the model of the run is not as it was saved.
        """
        config = read_config(run)
        if not ((run / FINISHED).exists() and (run / "model" / atomic.MANIFEST).exists()):
            return None
        if config.add_tokens or any(getattr(config, n) != value for n, value in _AS_DEMO.items()):
            return None
        place, start = run / "model", demo.model_dir()
        atomic.verify(place)
        given = json.loads((start / "config.json").read_text("utf-8"))
        theta = float(given["rope_parameters"]["rope_theta"])
        shape = ModelConfig.from_hf(given).architecture
        return cls(
            Llama(shape, theta, float(given["rms_norm_eps"])),
            Tokenizer.read(read_json(place / "tokenizer.json", _MOST_MODEL_BYTES)),
            read_tensors((start / "model.safetensors").read_bytes()),
            read_tensors(read_whole(place / "model.safetensors", _MOST_MODEL_BYTES)),
            f"step {finished_step(run):,} of {run.name}",
        )

    def ask(self, question: Question) -> AnswerPair | None:
        """Return both answers; None for what is not answered here."""
        question.check()
        read = len(self.tokenizer.encode(question.prompt))
        if question.temperature or read + question.tokens > POSITIONS:
            return None
        before, after = (
            self._answer(name, weights, question)
            for name, weights in ((THETA_0, self.before), (self.name, self.after))
        )
        return AnswerPair(question.prompt, before, after)

    def _answer(self, name: str, weights: Weights, question: Question) -> ModelAnswer:
        found = generate(self.model, weights, self.tokenizer, question.prompt, question.tokens)
        pieces = found.pieces if "".join(found.pieces) == found.text else ()
        return ModelAnswer(name, found.text, found.ended, pieces)
