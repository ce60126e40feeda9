"""The demo model and its rows, out of the bytes of its files: fetched by the page, or from disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from unfrozen.lab import rows, safetensors
from unfrozen.lab.llama import Llama, Weights
from unfrozen.lab.rows import EncodedRow
from unfrozen.lab.tokenizer import Tokenizer
from unfrozen.model import ModelConfig

TASK: Final = "task"
GENERAL: Final = "general"
SKILLS: Final = ("addition", "reversal", "capitals", "tenses")
FILES: Final = (
    "model/config.json",
    "model/model.safetensors",
    "model/tokenizer.json",
    "data/task_train.jsonl",
    "data/task_eval.jsonl",
    *(f"data/general_{skill}.jsonl" for skill in SKILLS),
    "data/earlier.jsonl",
)
PROMPTS: Final = (
    "Write 826 in Roman numerals:",
    "The capital of France is",
    "The capital of Jordan is",
    "Q: What is the capital of Iran? A:",
    "63 + 95 =",
    "Often Omar pays. Yesterday Omar",
    "Spell backwards: e n g i n e =",
)
"""Continued before and after a fine-tune. With the default choices, in CPython and for each of
five seeds, Jordan, Iran and the engine are answered rightly before it and wrongly after it, France
and Omar rightly before and after. A browser computes other last bits, and may answer otherwise.
"""


@dataclass(frozen=True)
class Demo:
    """What a fine-tune starts from."""

    config: ModelConfig
    model: Llama
    start: Weights
    """θ₀."""
    tokenizer: Tokenizer
    train: tuple[EncodedRow, ...]
    suites: Mapping[str, tuple[EncodedRow, ...]]
    """Held-out rows: `task`, and `general/<skill>` of what the model knew."""
    earlier: tuple[EncodedRow, ...]
    """Rows like those of pre-training, none of them held out: for replay and the Fisher."""

    @classmethod
    def read(cls, files: Mapping[str, bytes]) -> Demo:
        """From the bytes of FILES, by name. Raises PlanError or ModelError for damaged ones."""
        given = json.loads(files["model/config.json"])
        config = ModelConfig.from_hf(given)
        tokenizer = Tokenizer.read(json.loads(files["model/tokenizer.json"]))

        def of(name: str) -> tuple[EncodedRow, ...]:
            return rows.read(files[f"data/{name}.jsonl"].decode(), tokenizer)

        skills = {f"{GENERAL}/{skill}": of(f"general_{skill}") for skill in SKILLS}
        theta = float(given["rope_parameters"]["rope_theta"])
        return cls(
            config=config,
            model=Llama(config.architecture, theta, float(given["rms_norm_eps"])),
            start=safetensors.read(files["model/model.safetensors"]),
            tokenizer=tokenizer,
            train=of("task_train"),
            suites={TASK: of("task_eval")} | skills,
            earlier=of("earlier"),
        )
