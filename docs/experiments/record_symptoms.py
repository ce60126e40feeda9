"""Record what chapter "When a run goes wrong" draws: `python docs/experiments/record_symptoms.py`.

Each is a run of the demo model with one thing wrong, trained by the command line a reader would
type. Of its log the file keeps what is drawn: at most `POINTS` points of a series. The run whose
answers do not end is trained with a tokenizer that has no end token, and scored with the model's
own; the speeds depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

from gpu_runner import demo
from record_runs import Recording, run

POINTS: Final = 60
OUT: Final = Path(__file__).parents[2] / "web" / "measurements" / "symptoms.json"
SERIES: Final = {
    "usual": (),
    "flat": ("--lr", "1e-6"),
    "leaping": ("--lr", "1", "--clip", "0", "--warmup", "0"),
}
"""Arguments of the runs whose training loss is drawn."""
SPEEDS: Final = {
    "32 rows at once": ("--micro-batch", "32"),
    "… layers recomputed": ("--micro-batch", "32", "--checkpointing", "full"),
    "one row, 32 times": ("--micro-batch", "1", "--grad-accum", "32"),
}
"""Arguments of the runs whose speed is drawn."""
_QUIET: Final = ("--save-every", "0", "--sample-tokens", "0")
_SPEED_STEPS: Final = 30
_NEARLY_NOTHING: Final = ("--steps", "1", "--lr", "1e-12", "--general", "none")


def trained(*arguments: str) -> list[dict[str, Any]]:
    """Train the demo model, or another that the arguments name; returns the log's events."""
    model = () if "--model" in arguments else ("--model", "demo")
    with tempfile.TemporaryDirectory() as runs:
        log = run(Recording("", "", "", (*model, *arguments)), Path(runs))
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def series(events: list[dict[str, Any]], name: str) -> list[list[Any]]:
    """Every n-th step and value of a metric, first and last among them; None: not finite."""
    found = [[e["step"], e["m"][name]] for e in events if name in e.get("m", {})]
    every = -(-len(found) // (POINTS - 1))
    return [*found[:-1:every], found[-1]]


def without_end(folder: Path) -> Path:
    """A copy of the demo model whose tokenizer has no end token."""
    shutil.copytree(demo.model_dir(), folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    del settings["eos_token"]
    file.write_text(json.dumps(settings), encoding="utf-8")
    return folder


def endless(folder: Path) -> dict[str, Any]:
    """Held-out rows of the task by their answers, and a sample, of a model that saw no end."""
    given = demo.choices() | {"data": "demo"}
    prompt = given.pop("sample_prompts")[0]
    options = [
        text for key, value in given.items() for text in (f"--{key.replace('_', '-')}", str(value))
    ]
    model, out = without_end(folder / "without-end"), folder / "out"
    trained("--model", str(model), "--out", str(out), *options)
    shutil.copy(demo.model_dir() / "tokenizer_config.json", out)
    scored = trained(
        *("--model", str(out), "--data", "demo", "--micro-batch", "32"),
        *(
            "--eval-rows",
            "1000000",
            "--seq-len",
            "64",
            "--sample-prompts",
            prompt,
            *_NEARLY_NOTHING,
        ),
    )
    sample = next(e["text"] for e in scored if e["kind"] == "sample")
    return {"exact": exact(scored, 0), "prompt": prompt, "sample": sample}


def exact(events: list[dict[str, Any]], which: int) -> dict[str, int]:
    """Held-out rows of the task by how they are answered, in the first or the last evaluation."""
    found = [e["exact"] for e in events if e["kind"] == "eval" and e["suite"] == "task"]
    counts: dict[str, int] = found[which]
    return counts


def speed(arguments: tuple[str, ...]) -> float:
    """Trained tokens a second, the median over the steps behind the first few."""
    events = trained(*arguments, "--steps", str(_SPEED_STEPS), "--eval-every", "1000", *_QUIET)
    found = series(events, "perf/tokens_per_second")
    return float(median(value for step, value in found if step > 4))


def main() -> None:
    """Run them all and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    runs = {name: trained(*more, *_QUIET) for name, more in SERIES.items()}
    with tempfile.TemporaryDirectory() as folder:
        stopped = {"usual": {"exact": exact(runs["usual"], -1)}, "endless": endless(Path(folder))}
    found = {
        "command": "python docs/experiments/record_symptoms.py",
        "loss": {
            name: {"arguments": " ".join(SERIES[name]), "points": series(events, "train/loss")}
            for name, events in runs.items()
        },
        "stops": stopped,
        "tokens_per_second": {name: round(speed(more)) for name, more in SPEEDS.items()},
    }
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    arguments.out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
