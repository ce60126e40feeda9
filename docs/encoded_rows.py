"""Rows as the runner sees them, for two drawings of the article.

    .venv/bin/python docs/encoded_rows.py --write    write web/site_builder/diagrams/rows.json

The page shows which tokens of a chat are trained, and how the rows of a step share one sequence.
What it shows is what the encoder of the runner makes of real input; a test holds the file to that.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from gpu_runner import demo
from gpu_runner.data.encode import Encoder
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import bins
from gpu_runner.model.load import find, load_tokenizer
from unfrozen.training_data import epoch_order

TARGET: Final = Path(__file__).parents[1] / "web" / "site_builder" / "diagrams" / "rows.json"
CHAT: Final = (
    ("user", "Write 14 in Roman numerals."),
    ("assistant", "XIV"),
    ("user", "And 15?"),
    ("assistant", "XV"),
)
STEP_ROWS: Final = 8
SEQ_LEN: Final = 256


def rows() -> dict[str, Any]:
    """A chat, token by token, and the rows of one step: all tokens and the trained ones of each."""
    tokenizer = load_tokenizer(find(str(demo.model_dir())))
    encoder = Encoder(tokenizer, SEQ_LEN)
    chat = encoder.encode({"messages": [{"role": who, "content": said} for who, said in CHAT]})
    lines = demo.instruct_train().read_text(encoding="utf-8").splitlines()
    order = epoch_order(len(lines), demo.RECIPE.seed, 0)[:STEP_ROWS]
    step = [encoder.encode(json.loads(lines[index])) for index in order]
    return {
        "chat": [
            [tokenizer.decode([token]), trained]
            for token, trained in zip(chat.ids, chat.trained, strict=True)
        ],
        "step": [_counts(example) for example in step],
        "parts": bins([len(example.ids) for example in step], STEP_ROWS * SEQ_LEN),
    }


def text() -> str:
    """The file."""
    return json.dumps(rows(), ensure_ascii=False, separators=(",", ":")) + "\n"


def _counts(example: Example) -> dict[str, int]:
    return {"tokens": len(example.ids), "trained": example.trainable_tokens}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into its page, not to the terminal")
    if parser.parse_args().write:
        TARGET.write_text(text(), encoding="utf-8")
    else:
        print(text(), end="")
