"""`unfrozen plan JOB.json`: predicts the memory of a training job before it is launched."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper
from typing import Final, NoReturn

from unfrozen.answer import ADVISED_JOBS
from unfrozen.errors import InputError, PlanError
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.frameworks.tables import KEYS
from unfrozen.model import derived
from unfrozen.model.config import families
from unfrozen.plan import VERDICTS
from unfrozen.request import PlanAnswer, PlannedList, ReadLengths, Request, answer_of, load_jobs
from unfrozen.shell import printable
from unfrozen.units import parse_count

_EXAMPLES: Final = """examples:
  unfrozen plan --model Qwen2.5-7B --data FILE.jsonl --epochs 3 --gpus 8xH100
  unfrozen plan --model Qwen2.5-7B --data "10,000 x 3 x 512" --budget 200
  unfrozen plan --model Qwen2.5-7B --data FILE.jsonl --gpu T4 --recipe '{"method": "qlora"}'
  unfrozen plan --model Llama-3.1-8B --gpu H100
  unfrozen plan axolotl.yml --cluster '{"gpus": 4}' --gpu A100-80GB
  unfrozen plan -- accelerate launch sft.py --model_name_or_path Qwen/Qwen3-8B
  unfrozen plan job.json --solve seq_len
  unfrozen plan job.json --compare zero1,zero2,zero3
  unfrozen plan job.json --compare micro_batch=1,micro_batch=8
  unfrozen plan job.json --tokens 1B --price 2.50
"""


NOT_MET: Final = 3
"""The exit code where a plan is not what `--fail-unless` asks for; 2 is that of unusable input."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("argument command: invalid choice"):
            message += "; the other commands come with the wheel of unfrozen, beside this one"
        self.exit(2, f"unfrozen: {message}; see {self.prog} --help\n")


def command() -> int:
    """Run `unfrozen`: every command where the package of that name is installed, else `plan`."""
    if find_spec("gpu_runner"):
        return int(import_module("gpu_runner.cli.command_line").main() or 0)
    if sys.argv[1:] == ["--version"]:
        return _print(f"unfrozen {import_module('unfrozen').__version__}")
    return main(sys.argv[1:] or ["--help"], "unfrozen")


def main(
    arguments: list[str] | None = None,
    program: str = "python -m unfrozen",
    open_plan: Callable[[str], None] | None = None,
    read_lengths: ReadLengths | None = None,
) -> int:
    """Run the command line of `program`; return the exit code: 2 for unusable input, NOT_MET.

    `open_plan` opens the planner's page at a query; without it there is no page to open.
    `read_lengths` reads a file of data with the model's tokenizer; without it tokens are estimated.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):  # a pipe of Windows has an alphabet of its own
        if isinstance(stream, TextIOWrapper) and stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(encoding="utf-8")
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser(program).parse_args(arguments[:at])
    options.typed = arguments[at + 1 :] or None
    if options.families:
        return _print_families(options.json)
    if options.schema:
        from unfrozen.answer.shapes import schemas  # no plan needs them

        return _print(json.dumps(schemas()))
    names = [one.name for one in fields(Request) if one.name in options]
    asked = Request(**{name: getattr(options, name) for name in names})
    try:
        query = _query(load_jobs(asked).given, open_plan is not None) if options.open else None
        found = answer_of(asked, read_lengths)
        met = _meets(found, options.fail_unless)
        text = _badge(found) if options.badge else _json(found) if options.json else str(found)
    except InputError as error:
        print(printable(f"unfrozen: {error}"), file=sys.stderr)
        return 2
    _print(text)
    if query is not None and open_plan is not None:
        open_plan(query)
    return 0 if met else NOT_MET


def _print(text: str) -> int:
    """Print lines of text, as far as somebody reads them; return the exit code."""
    try:
        print(printable(text, lines=True), flush=True)
    except BrokenPipeError:  # the reader has seen enough: nothing more, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _json(found: PlanAnswer | PlannedList) -> str:
    if isinstance(found, PlannedList):
        if (count := len(found.entries)) > ADVISED_JOBS:
            note = f"{count:,} jobs: advice is left out of lists of more than {ADVISED_JOBS}"
            print(printable(f"unfrozen: {note}"), file=sys.stderr)
        return json.dumps(found.to_list(), allow_nan=False)
    return json.dumps(found.to_dict(), allow_nan=False)


def _badge(found: PlanAnswer | PlannedList) -> str:
    if isinstance(found, PlannedList):
        raise PlanError("--badge", "a list", "one badge is of one plan", "give one job")
    return found.badge()


def _meets(found: PlanAnswer | PlannedList, least: str | None) -> bool:
    """Return whether every plan has the verdict that is asked for, or a better one."""
    if least is None:
        return True
    verdicts = found.verdicts if isinstance(found, PlannedList) else [found.verdict]
    if None in verdicts:
        raise PlanError("--fail-unless", least, "no GPU is named to fit", "give --gpu or --gpus")
    return all(VERDICTS.index(one) <= VERDICTS.index(least) for one in verdicts if one)


def _query(given: object, has_page: bool) -> str:
    """Return the query of a plan's address. Raises PlanError where there is none to open."""
    if not has_page:
        raise PlanError("--open", "a plan", "this program has no page", "type `unfrozen plan`")
    if not isinstance(given, dict):
        raise PlanError("--open", "a list", "one address is one plan", "give one job")
    from unfrozen.planner.state import as_query, state_of  # most plans need no address

    return as_query(state_of(given))


def _print_families(as_json: bool) -> int:
    """Print how each model type is counted; return the exit code."""
    version, found = derived.table().transformers, families()
    if find_spec("gpu_runner"):
        bounded = [name for name, how in found.items() if how == "bounded"]
        traced = import_module("gpu_runner.model.meta_tensors").traceable(bounded)
        found |= dict.fromkeys(traced, "traced")
    lines = (f"{name:32}{how}" for name, how in sorted(found.items()))
    data = {"transformers": version, "families": found}
    return _print(json.dumps(data) if as_json else "\n".join((f"transformers {version}", *lines)))


def parser(program: str = "python -m unfrozen") -> argparse.ArgumentParser:
    """Return the argument parser of `program`."""
    top = _Parser(program, description="Predict the memory and time of training before it starts.")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    command = commands.add_parser(
        "plan",
        help="predict the memory of a training job",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_job_options(command)
    _add_project_options(command)
    _add_question_options(command)
    return top


def _count(text: str) -> float:
    try:
        return parse_count(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, such as 200 or 1B") from None


def _add_project_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument_group(
        "one plan for your data, and your GPUs or your budget"
    ).add_argument
    add("--data", metavar="FILE", help='a file of rows, or "rows x epochs x tokens of a row"')
    add("--epochs", type=_count, metavar="N", help="passes over the rows of a file; default 1")
    add("--gpus", metavar="8xH100", help="GPUs to plan for: 2x4090, 8 H100, 64, kaggle (2 T4)")
    add("--budget", type=_count, metavar="USD", help="which GPUs, and how many, for this much")
    add("--sequences", type=int, metavar="N", help="sequences of a step")
    add("--run-by", choices=tuple(FRAMEWORKS), help="only plans that this framework runs")


def _add_job_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("job", nargs="?", help="a JSON file of jobs, or a trainer's own file; - reads stdin")
    add(
        "--model",
        metavar="NAME",
        help="a published model (Llama-3.1-8B), or the path of a config.json",
    )
    add("--recipe", metavar="JSON", help="keys of the recipe, such as '{\"micro_batch\": 4}'")
    add("--cluster", metavar="JSON", help="keys of the cluster, such as '{\"gpus\": 8}'")
    add("--gpu", metavar="NAME", help="the GPU, such as H100 or 2x4090, or its numbers as JSON")
    add("--framework", metavar="NAME", help="whose defaults apply to keys that the job leaves out")


def _add_question_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--explain", action="store_true", help="every term of the peak with its formula")
    add("--all-gpus", action="store_true", help="which GPUs can hold the job")
    add("--solve", choices=KEYS, help="largest value that fits, fewest GPUs")
    add(
        "--compare",
        metavar="A,B",
        help="plans side by side: none, zero1, zero2, zero3 or key=value",
    )
    add("--tokens", type=_count, metavar="N", help="time, FLOPs and energy of N tokens (1B)")
    add(
        "--price",
        type=_count,
        metavar="P",
        help="price of a GPU-hour, for --data, --budget or --tokens",
    )
    add("--mfu", type=_count, metavar="M", help="measured model FLOPs utilization, such as 0.4")
    add("--families", action="store_true", help="which model types are counted, and how exactly")
    add("--schema", action="store_true", help="the JSON schemas of a job and of answers")
    add("--json", action="store_true", help="print JSON")
    add("--badge", action="store_true", help="print the verdict as an SVG badge, for a file")
    add(
        "--fail-unless",
        choices=VERDICTS[:2],
        help=f"exit with {NOT_MET} unless every plan fits, or is tight at least",
    )
    add("--open", action="store_true", help="open this plan in the page of the planner")


if __name__ == "__main__":
    sys.exit(main())
