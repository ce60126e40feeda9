"""A million rows, encoded once by all processors and never again, beside one minute."""

import json
import os
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoTokenizer

from gpu_runner import demo
from gpu_runner.data.encode import Encoder
from gpu_runner.data.store import encoding, selected
from tests.bench import Ratio, show

ROWS = 1_000_000
BUDGET_SECONDS = 60.0
AGAIN_SECONDS = 5.0
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "and", "runs", "away")


def written(path: Path, count: int) -> Path:
    """Rows of a question and an answer, some thirty tokens each, no two the same."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            asked = f"{number}: {' '.join(draw.choices(WORDS, k=6))} ="
            row = {"prompt": asked, "completion": " ".join(draw.choices(WORDS, k=4))}
            file.write(json.dumps(row) + "\n")
    return path


def seconds(file: Path, encoder: Encoder) -> tuple[float, float]:
    """(the first time, the second time) from a file to the sets of a run."""
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        train, _ = selected.split(encoding.stored(str(file), encoder, None), str(file), 0, None, 64)
        assert train.tokens > train.trainable_tokens > 0
        taken.append(time.perf_counter() - start)
    return taken[0], taken[1]


def main(rows: int = ROWS) -> int:
    """Show what both ways of a row cost; 1 if a budget is exceeded."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(demo.model_dir()))
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    found, share = [], rows / ROWS
    with TemporaryDirectory() as folder:
        os.environ[encoding.CACHE_ENV] = folder
        file = written(Path(folder) / "rows.jsonl", rows)
        for what, template in (("as it is", None), ("in a chat template", CHAT)):
            first, again = seconds(file, Encoder(tokenizer, 512, template=template))
            found.append(Ratio(f"{what}, once", first, BUDGET_SECONDS * share, "s"))
            found.append(Ratio(f"{what}, again", again, AGAIN_SECONDS * share, "s"))
    show(f"{rows:,} rows to encode", "its budget", found)
    return int(any(row.value > row.baseline for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
