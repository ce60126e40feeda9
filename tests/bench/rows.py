"""A million rows, encoded once by all processors and never again, beside one minute.

In one file, and in two that are mixed: the second start of a mix is that of a file.
"""

import json
import os
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoTokenizer

from gpu_runner import demo
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data import cache, run_data
from gpu_runner.data.encode import Encoder
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


def seconds(config: TrainConfig, encoder: Encoder) -> tuple[float, float]:
    """(the first time, the second time) from files to the sets of a run."""
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        train, _ = run_data.load_datasets(config, encoder)
        assert train.tokens > train.trainable_tokens > 0
        taken.append(time.perf_counter() - start)
    return taken[0], taken[1]


def sources(folder: Path, rows: int) -> dict[str, dict[str, Any]]:
    """The same rows in one file, and in two that are mixed, one of them taken by half."""
    whole = written(folder / "rows.jsonl", rows)
    with whole.open(encoding="utf-8") as file:
        lines = file.readlines()
    parts = [folder / f"part-{number}.jsonl" for number in range(2)]
    for number, part in enumerate(parts):
        part.write_text("".join(lines[number::2]), encoding="utf-8")
    mixed = {"data": str(parts[0]), "mix": (f"{parts[1]}:weight=0.5",)}
    return {"one file": {"data": str(whole)}, "a mix of two": mixed}


def main(rows: int = ROWS) -> int:
    """Show what both ways of a row cost; 1 if a budget is exceeded."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(demo.model_dir()))
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    found, share = [], rows / ROWS
    with TemporaryDirectory() as folder:
        os.environ[cache.CACHE_ENV] = folder
        cache.LEAST_BYTES = round(share * cache.LEAST_BYTES)  # fewer rows stand for a million
        for name, given in sources(Path(folder), rows).items():
            config = resolve({"model": "demo", "general": (), **given})
            for what, template in (("as it is", None), ("in a chat template", CHAT)):
                first, again = seconds(config, Encoder(tokenizer, 512, template=template))
                found.append(Ratio(f"{name}, {what}, once", first, BUDGET_SECONDS * share, "s"))
                found.append(Ratio(f"{name}, {what}, again", again, AGAIN_SECONDS * share, "s"))
    show(f"{rows:,} rows to encode", "its budget", found)
    return int(any(row.value > row.baseline for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
