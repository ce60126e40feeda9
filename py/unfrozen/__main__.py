"""`python -m unfrozen plan JOB.json`: what a training job will hold, before it is started.

This is the only module of the package that reads a file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from unfrozen.errors import InputError, PlanError, strict_json
from unfrozen.events import COMPONENTS, INSTANTS
from unfrozen.plan import Plan, card_words, min_gpus, plan
from unfrozen.plan import advice as advice_for
from unfrozen.units import format_bytes, format_count, gib, sig3


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 for input that cannot be planned."""
    options = _parser().parse_args(arguments)
    try:
        jobs = _load(options.job)
        plans = [plan(job) for job in jobs] if isinstance(jobs, list) else [plan(jobs)]
    except InputError as error:
        print(f"unfrozen: {error}", file=sys.stderr)
        return 2
    if options.json:
        answers = [planned.as_json() for planned in plans]
        print(json.dumps(answers if isinstance(jobs, list) else answers[0], allow_nan=False))
    else:
        print("\n\n".join(report(planned) for planned in plans))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m unfrozen",
        description="The memory of full fine-tuning, before you start it.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("plan", help="predict what a training job will hold")
    command.add_argument("job", help="a JSON file with one job or a list of jobs; - reads stdin")
    command.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def _load(path: str) -> object:
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return strict_json(data.decode())
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise PlanError("job", path, f"the file cannot be read ({reason})", "check it") from None
    except ValueError as error:
        raise PlanError("job", path, f"this is not JSON ({error})", "correct the file") from None


def report(planned: Plan) -> str:
    """A readable answer: a table of components by instant, the verdict and the advice."""
    job, a = planned.job, planned.job.model.architecture
    count = format_count(job.model.num_parameters)
    title = (
        f"{a.model_type}, {count} parameters, {job.recipe.optimizer},"
        f" {job.recipe.micro_batch} × {job.recipe.seq_len} tokens, {job.cluster.gpus} GPU"
    )
    lines = [title, "", *_table(planned), "", _verdict(planned)]
    low, high = planned.band_gib
    lines.append(f"Overheads differ by card and version: {sig3(low)} … {sig3(high)} GiB.")
    lines += [f"  · {text}" for text in advice_for(planned)]
    return "\n".join(lines)


def _table(planned: Plan) -> list[str]:
    """GiB of each component (rows) at each instant (columns)."""
    names = [name for name in INSTANTS if name in planned.instants]
    used = [key for key in COMPONENTS if any(key in planned.instants[name] for name in names)]
    width = max(len(label) for label in COMPONENTS.values())
    columns = [max(len(INSTANTS[name]), 8) for name in names]

    def row(label: str, cells: list[str]) -> str:
        padded = (cell.rjust(size) for cell, size in zip(cells, columns, strict=True))
        return "  ".join([label.ljust(width), *padded])

    def cell(size: int) -> str:
        return sig3(gib(size)) if size else "·"

    body = [
        row(COMPONENTS[key], [cell(planned.instants[name].get(key, 0)) for name in names])
        for key in used
    ]
    totals = [cell(sum(planned.instants[name].values())) for name in names]
    return [row("GiB", [INSTANTS[name] for name in names]), *body, row("Total", totals)]


def _verdict(planned: Plan) -> str:
    need = format_bytes(planned.device_bytes)
    where = f"Peak: {INSTANTS[planned.peak_instant].lower()}, {need} on the card"
    gpu = planned.job.gpu
    if gpu is None:
        return f"{where}; name a gpu to see whether it fits."
    if planned.fits:
        return f"{where}: fits the {card_words(gpu)}."
    cards = min_gpus(planned)
    remedy = f"{cards} of them under ZeRO-3 would" if cards else "no number of them would"
    return f"{where}: does not fit the {card_words(gpu)}; {remedy}."


if __name__ == "__main__":
    sys.exit(main())
