"""Write the generated JSONL files: the demo task and what the model knew before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from demo_model.skills import SKILLS, PromptCompletion, numeral_rows, task_rows

EARLIER_ROWS: Final = 64  # of each skill


def as_jsonl(rows: Sequence[PromptCompletion]) -> str:
    """Rows as `{"prompt", "completion"}` lines."""
    return "".join(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)


def generated_files() -> dict[str, str]:
    """File name → text of every generated data file; the same on every machine."""
    files: dict[str, str] = {}
    for name, (train, held_out) in (("task", task_rows()), ("numerals", numeral_rows())):
        files |= {f"{name}_train.jsonl": as_jsonl(train), f"{name}_eval.jsonl": as_jsonl(held_out)}
    for skill, (_, held_out_rows) in SKILLS.items():
        files[f"general_{skill}.jsonl"] = as_jsonl(held_out_rows())
    files["earlier.jsonl"] = as_jsonl(earlier_rows())
    return files


def earlier_rows() -> list[PromptCompletion]:
    """Rows like those of pre-training, none of them held out: for replay and EWC's Fisher."""
    draw = Random("unfrozen earlier rows")
    return [skill(draw) for skill, _ in SKILLS.values() for _ in range(EARLIER_ROWS)]


def write_data(directory: Path) -> None:
    """Write them all under `directory`, which is made if needed."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in generated_files().items():
        directory.joinpath(name).write_text(text, encoding="utf-8", newline="\n")
