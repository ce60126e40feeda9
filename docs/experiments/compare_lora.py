"""Compare full fine-tuning with LoRA, each at its own best rate, and print the table.

    python docs/experiments/compare_lora.py NAME --keep FILE    runs what FILE does not hold yet

With `--publish` the runs go to the page's copy, with `--write` the table goes into the document.
`--kept-only` trains nothing. `--record RATE` trains each of `--methods` once at that rate instead,
with more evaluations on the way, and leaves the events in `--logs`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import torch

from forgetting import written
from gpu_runner.errors import RunnerError, UsageError
from lora.methods import Method
from lora.report import published, tables
from lora.study import METHODS, SEEDS, Done, ResultsFile, carry_out
from lora.trial import SETTINGS, Run, Setting, TrialResult, run

RECORDED_LOOKS: Final = 8


def main() -> None:
    """Carry out a comparison; a refusal is one sentence and the exit code of its kind."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported
    given = _parser().parse_args()
    try:
        _check(given)
        methods = tuple(map(Method.of, given.methods))
        setting = SETTINGS[given.name]
        if given.record is not None:
            _record(setting, methods, given)
            return
        kept = ResultsFile(given.keep, setting)
        if not given.kept_only:
            _train(setting, methods, tuple(given.seeds), kept, given)
        _report(setting, tuple(given.seeds), kept.done, given)
    except RunnerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit("stopped: the run under way is lost, those before it are kept with --keep")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python docs/experiments/compare_lora.py", description=__doc__
    )
    parser.add_argument("name", nargs="?", choices=[*SETTINGS], default="smollm2")
    parser.add_argument("--methods", nargs="+", default=[method.id for method in METHODS])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--threads", type=int, help="of torch; fewer leave room for other work")
    parser.add_argument("--keep", type=Path, help="a file of the runs that are done, to go on from")
    parser.add_argument("--logs", type=Path, help="a folder for the events of every run")
    parser.add_argument("--record", type=float, metavar="RATE", help="for the page's recordings")
    parser.add_argument("--publish", type=Path, help="the page's copy, web/measurements/lora.json")
    parser.add_argument("--write", type=Path, help="the document, docs/lora.md")
    parser.add_argument("--kept-only", action="store_true", help="train nothing")
    return parser


def _check(given: argparse.Namespace) -> None:
    if given.threads is not None:
        if given.threads < 1:
            raise UsageError(f"--threads {given.threads}: give 1 or more.")
        torch.set_num_threads(given.threads)
    if len(set(given.seeds)) < len(given.seeds):
        raise UsageError("--seeds names a seed twice: give each once.")
    if given.record is not None and given.logs is None:
        raise UsageError("--record leaves events: give --logs a folder for them.")


def _train(
    setting: Setting,
    methods: tuple[Method, ...],
    seeds: tuple[int, ...],
    kept: ResultsFile,
    given: argparse.Namespace,
) -> None:
    with tempfile.TemporaryDirectory() as place:
        model = setting.model(Path(place))
        make = partial(_make, setting, model, given.logs)
        carry_out(methods, seeds, kept, make, _tell)


def _record(setting: Setting, methods: tuple[Method, ...], given: argparse.Namespace) -> None:
    every = max(1, setting.choices["steps"] // RECORDED_LOOKS)
    watched = replace(setting, choices=setting.choices | {"eval_every": every})
    with tempfile.TemporaryDirectory() as place:
        model = setting.model(Path(place))
        for method in methods:
            _make(watched, model, given.logs, Run(method, given.record, given.seeds[0]))


def _make(setting: Setting, model: str, logs: Path | None, wanted: Run) -> TrialResult:
    """Train once; the events go to the folder `logs`, if there is one."""
    with tempfile.TemporaryDirectory() as folder:
        found, log = run(setting, model, wanted, Path(folder))
        if logs is not None:
            logs.mkdir(parents=True, exist_ok=True)
            shutil.copy(log, logs / f"{wanted.id}.jsonl")
    return found


def _report(
    setting: Setting, seeds: tuple[int, ...], done: list[Done], given: argparse.Namespace
) -> None:
    """Print the tables of what is done, and put them where they were asked for."""
    if not done:
        raise UsageError(f"--keep {given.keep} holds no finished run: there is nothing to report.")
    found = published(setting, seeds, done)
    print(tables(found))
    if given.publish:
        text = json.dumps(found, ensure_ascii=False, indent=1)
        given.publish.write_text(_flat(text) + "\n", encoding="utf-8")
    if given.write:
        document = given.write.read_text(encoding="utf-8")
        given.write.write_text(written(document, setting.id, tables(found)), encoding="utf-8")


def _flat(text: str) -> str:
    """JSON whose lists of numbers stand on one line each."""
    return re.sub(r"\[[\d\s.,e-]+\]", lambda found: re.sub(r"\s+", " ", found[0]), text)


def _tell(done: Done) -> None:
    print(f"{done.run.id}: {done.outcome}", flush=True)


if __name__ == "__main__":
    main()
