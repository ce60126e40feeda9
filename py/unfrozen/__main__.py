"""`unfrozen plan JOB.json`: predicts the memory of a training job before it is launched.

This is the only module of the package that reads a file.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, NoReturn

from unfrozen.answer import ADVISED_JOBS, answer, on_all_gpus, text
from unfrozen.answer.text import framework_text
from unfrozen.errors import InputError, PlanError, strict_json
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.frameworks.tables import KEYS, solved_data, solved_text
from unfrozen.hardware import counted
from unfrozen.job import LARGEST_CONFIG_BYTES
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.memory.explain import explain
from unfrozen.model import catalogue
from unfrozen.plain import read_named
from unfrozen.plan import Plan, plan
from unfrozen.plan.compute import Estimate, estimate
from unfrozen.project.best import OnePlan, Work, find
from unfrozen.project.budget import rent
from unfrozen.project.questions import check_open, question, runnable_plan, with_gpus
from unfrozen.project.text import answer_data, answer_text, short_text
from unfrozen.shell import printable
from unfrozen.training_data import ESTIMATED, Data, read_numbers, row_lengths
from unfrozen.units import parse_count

_CLUSTER_KEYS: Final = frozenset(field.name for field in fields(Cluster))
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


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job as plain data, and its plan."""

    given: object
    planned: Plan


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"unfrozen: {message}; see {self.prog} --help\n")


def main(
    arguments: list[str] | None = None,
    program: str = "python -m unfrozen",
    open_plan: Callable[[str], None] | None = None,
    read_lengths: ReadLengths | None = None,
) -> int:
    """Run the command line of `program`; return the exit code, 2 for unusable input.

    `open_plan` opens the planner's page at a query; without it there is no page to open.
    `read_lengths` reads a file of data with the model's tokenizer; without it tokens are estimated.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser(program).parse_args(arguments[:at])
    options.typed, options.read = arguments[at + 1 :] or None, None
    try:
        given = _load_jobs(options)
        query = _query(given, open_plan is not None) if options.open else None
        if _is_project(options):
            text = _project(options, given, read_lengths or _estimated_lengths)
        elif isinstance(given, list):
            with _uncollected():
                asked = list(_plan_each(given))
                text = _list_as_json(options, asked) if options.json else _list_text(options, asked)
        else:
            one = PlannedJob(given, plan(given))
            text = _as_json(options, one) if options.json else _text(options, one)
    except InputError as error:
        print(printable(f"unfrozen: {error}"), file=sys.stderr)
        return 2
    try:
        print(printable(text, lines=True), flush=True)
    except BrokenPipeError:  # the reader has seen enough: nothing more, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if query is not None and open_plan is not None:
        open_plan(query)
    return 0


def _query(given: object, has_page: bool) -> str:
    """Return the query of a plan's address. Raises PlanError where there is none to open."""
    if not has_page:
        raise PlanError("--open", "a plan", "this program has no page", "type `unfrozen plan`")
    if not isinstance(given, dict):
        raise PlanError("--open", "a list", "one address is one plan", "give one job")
    from unfrozen.planner.state import as_query, state_of  # most plans need no address

    return as_query(state_of(given))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Switch garbage collection off: plans hold no cycles, and a collection takes long."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


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
    add("--json", action="store_true", help="print JSON")
    add("--open", action="store_true", help="open this plan in the page of the planner")


# --- what is asked ------------------------------------------------------------------------------
def _load_jobs(options: argparse.Namespace) -> object:
    """Return the job or jobs as plain data, with what the options change."""
    if options.job is None and options.model is None and options.typed is None:
        raise PlanError("job", "nothing", "there is nothing to plan", "give a file, - or --model")
    for name in ("price", "mfu"):
        used = options.tokens is not None or (name == "price" and _is_project(options))
        if getattr(options, name) is not None and not used:
            raise PlanError(name, getattr(options, name), "it needs a number of tokens", "--tokens")
    given = {} if options.job is options.typed else _read_file(options)
    changes: dict[str, Any] = {}
    if options.model is not None:
        changes["model"] = _model(options.model)
    if options.gpu is not None:
        numbers = options.gpu.startswith("{")
        changes["gpu"] = _object(options.gpu, "--gpu") if numbers else options.gpu
    if options.framework is not None:
        changes["framework"] = options.framework
    parts = {
        name: _object(getattr(options, name), f"--{name}")
        for name in ("recipe", "cluster")
        if getattr(options, name) is not None
    }
    if isinstance(changes.get("gpu"), str) and counted(options.gpu)[0] is not None:
        asked, gpus = with_gpus({"cluster": parts.get("cluster")}, options.gpu)
        changes["gpu"] = asked.get("gpu", options.gpu)
        parts["cluster"] = parts.get("cluster", {}) | {"gpus": gpus}
    if isinstance(given, list):
        return [_changed(job, changes, parts) for job in given]
    return _changed(given, changes, parts)


def _read_file(options: argparse.Namespace) -> object:
    """Return the job of a file or a typed command, and note in `options` how it was read."""
    from unfrozen.frameworks.reading import LARGEST_FILE, read_job, read_typed

    name = options.job or "job.json"
    folder = Path(name).parent

    def beside(path: str) -> str | None:
        """Return a file that another names: relative to it, or to where the command is typed."""
        found = next((each for each in (folder / path, Path(path)) if each.is_file()), None)
        return None if found is None else _read_text(str(found), "job", LARGEST_FILE)

    if options.typed and options.job is not None:
        raise PlanError("--", options.job, "a file and a command are two jobs", "drop one")
    cluster = _object(options.cluster, "--cluster") if options.cluster else {}
    gpus = cluster.get("gpus") if type(cluster.get("gpus")) is int else None
    if options.typed:
        found = read_typed(options.typed, beside, gpus)
    else:
        found = read_job(name, _read_text(name, "job", LARGEST_FILE), beside, gpus)
    options.read = found.read
    if found.read and isinstance(found.job.get("model"), str) and options.model is None:
        options.model = found.job["model"]
    if found.read and options.model is None and "model" not in found.job:
        bound = f"this file of {found.read['format']} names no model"
        raise PlanError("model", "nothing", bound, "name it by --model")
    return found.job


def _changed(job: object, changes: Mapping[str, Any], parts: Mapping[str, Any]) -> object:
    if not isinstance(job, dict) or not (changes or parts):
        return job
    merged = {**job, **changes}
    for name, part in parts.items():
        old = merged.get(name) or {}
        merged[name] = old | part if isinstance(old, dict) else old
    return merged


def _read_text(path: str, key: str, most: int) -> str:
    """Return a file's text, or that of stdin; no file of more bytes than `most` is read."""
    try:
        return read_named(path, most).decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise PlanError(key, path, f"the file cannot be read ({reason})", "check it") from None
    except UnicodeDecodeError:
        raise PlanError(key, path, "this is not text in UTF-8", "check it") from None


def _read_json(path: str, key: str) -> object:
    try:
        return strict_json(_read_text(path, key, LARGEST_CONFIG_BYTES))
    except ValueError as error:
        if isinstance(error, PlanError):
            raise
        raise PlanError(key, path, f"this is not JSON ({error})", "correct the file") from None


def _object(text: str, key: str) -> dict[str, Any]:
    try:
        value = strict_json(text)
    except ValueError as error:
        raise PlanError(key, text, f"this is not JSON ({error})", "correct it") from None
    if not isinstance(value, dict):
        raise PlanError(key, text, "it must be an object", "for example '{\"gpus\": 8}'")
    return value


def _model(name: str) -> object:
    if Path(name, "config.json").is_file():
        return _read_json(str(Path(name, "config.json")), "model")
    if name.endswith(".json") or Path(name).is_file():
        return _read_json(name, "model")
    if Path(name).is_dir():
        raise PlanError("model", name, "this folder has no config.json", "download it into it")
    return catalogue.find(name).config


def _plan_each(jobs: list[object]) -> Iterator[PlannedJob]:
    for number, job in enumerate(jobs, 1):
        try:
            yield PlannedJob(job, plan(job))
        except PlanError as error:
            key = f"job {number} of {len(jobs)}, {error.key}"
            raise PlanError(key, error.value, error.bound, error.remedy) from None


# --- one plan -----------------------------------------------------------------------------------
ReadLengths = Callable[[str, str], tuple[list[int], str]]
"""Reads the tokens of each row of a file for a model, and says how they are known."""
_OF_PROJECT: Final = ("data", "budget", "gpus")
_OF_JOB: Final = ("explain", "all_gpus", "solve", "compare", "tokens", "mfu", "open")
MOST_BYTES: Final = 2**30


def _is_project(options: argparse.Namespace) -> bool:
    """Return whether one plan is asked for: with data, a budget or GPUs to plan for."""
    return any(getattr(options, name) is not None for name in _OF_PROJECT)


def _project(options: argparse.Namespace, given: object, read: ReadLengths) -> str:
    """Return the one plan, as text or JSON. Raises PlanError, also for contradictory options."""
    if not isinstance(given, dict):
        raise PlanError("job", "a list", "one plan is for one job", "give one")
    asked = next(f"--{name}" for name in _OF_PROJECT if getattr(options, name) is not None)
    for name in _OF_JOB:
        if getattr(options, name) not in (None, False):
            option = f"--{name.replace('_', '-')}"
            raise PlanError(
                option, getattr(options, name), f"{asked} asks for one plan", "drop one"
            )
    if options.budget is not None and options.gpus is not None:
        bound = f"--budget {options.budget:g} chooses how many GPUs"
        raise PlanError("--gpus", options.gpus, bound, "drop one")
    check_open(given)
    job, gpus = with_gpus(given, options.gpus)
    if options.budget is None and job.get("gpu") is None:
        bound = "nothing says which GPUs there are, or what they may cost"
        raise PlanError("gpus", "nothing", bound, "for example --gpus 8xH100, or --budget 200")
    data = _data(options, read)
    names = (_hub_id(options.model), options.data if data and data.lengths else "FILE.jsonl")
    found = question(
        *(job, gpus, data),
        sequences=options.sequences,
        framework=options.run_by or "",
        price=options.price,
        names=names,
    )
    with _uncollected():
        rented = options.budget is not None
        steps = rent(options.budget, found, found.job.gpu) if rented else find(found)
        answer = Work(steps).finish()
    return json.dumps(answer_data(answer), allow_nan=False) if options.json else answer_text(answer)


def _data(options: argparse.Namespace, read: ReadLengths) -> Data | None:
    if options.data is None:
        if options.epochs is not None:
            raise PlanError("epochs", options.epochs, "there are no rows to see", "give --data")
        return None
    typed = None if Path(options.data).is_file() else read_numbers(options.data)
    if typed is None:
        lengths, source = read(options.data, _hub_id(options.model))
        return Data.of(lengths, 1 if options.epochs is None else options.epochs, source)
    if options.epochs is not None:
        bound = f"--data {options.data} says {typed.epochs:g}"
        raise PlanError("epochs", options.epochs, bound, "name one of them")
    return typed


def _hub_id(model: str | None) -> str:
    """Return the name of a model for a command: its folder, or its id on the hub."""
    if model is None or Path(model).is_file():
        return "MODEL"
    return model if Path(model).is_dir() else catalogue.loaded_name(model) or "MODEL"


def _estimated_lengths(name: str, _: str) -> tuple[list[int], str]:
    try:
        text = read_named(name, MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or "unreadable"
        remedy = 'give a file, a part of it, or "rows x epochs x tokens of a row"'
        raise PlanError("data", name, f"the file cannot be read ({reason})", remedy) from None
    except UnicodeDecodeError:
        remedy = "give lines of JSON or CSV in UTF-8; `unfrozen plan` reads Parquet and gzip too"
        raise PlanError("data", name, "this is not text in UTF-8", remedy) from None
    return row_lengths(name, text), ESTIMATED


# --- what is answered ---------------------------------------------------------------------------
def _list_as_json(options: argparse.Namespace, asked: list[PlannedJob]) -> str:
    advised = len(asked) <= ADVISED_JOBS
    if not advised:
        note = f"{len(asked):,} jobs: advice is left out of lists of more than {ADVISED_JOBS}"
        print(printable(f"unfrozen: {note}"), file=sys.stderr)
    return json.dumps([_answer(options, one, advised) for one in asked], allow_nan=False)


def _as_json(options: argparse.Namespace, one: PlannedJob) -> str:
    found = _answer(options, one, advised=True)
    if run := _runnable_plan(options, one):
        data = answer_data(run)
        found |= {key: data[key] for key in ("plan", *(() if run.first else ("adapters",)))}
    if options.read:
        found["read"] = options.read
    return json.dumps(found, allow_nan=False)


def _answer(options: argparse.Namespace, one: PlannedJob, advised: bool) -> dict[str, object]:
    """Return the plan with its fixed keys, and one more key for each further option."""
    found = answer(one.planned, with_advice=advised)
    if options.explain:
        found["explain"] = [asdict(term) for term in explain(one.planned)]
    if options.all_gpus:
        found["gpus"] = on_all_gpus(one.planned)
    if options.solve:
        found["solve"] = solved_data(one.planned, options.solve)
    if options.compare:
        pairs = _compared(one.given, options.compare)
        found["compare"] = {name: answer(p, with_advice=False) for name, p in pairs}
    if options.tokens is not None:
        found["compute"] = asdict(_estimate(options, one))
    return found


def _list_text(options: argparse.Namespace, asked: list[PlannedJob]) -> str:
    asks = (options.explain, options.all_gpus, options.solve, options.compare)
    if any(asks) or options.tokens is not None:
        return "\n\n\n".join(_text(options, one) for one in asked)
    return text.jobs_table([one.planned for one in asked])


def _text(options: argparse.Namespace, one: PlannedJob) -> str:
    parts = []
    if options.explain:
        parts.append(text.terms_table(explain(one.planned)))
    if options.all_gpus:
        parts.append(text.gpus_table(on_all_gpus(one.planned)))
    if options.solve:
        parts.append(solved_text(one.planned, options.solve))
    if options.compare:
        parts.append(text.compare_table(_compared(one.given, options.compare)))
    job = one.planned.job
    head = [text.title(job), framework_text(job)] if parts else [text.report(one.planned)]
    if not parts and (found := _runnable_plan(options, one)):
        head.append(short_text(found))
    if options.tokens is not None:
        parts.append(text.estimate_text(job, _estimate(options, one)))
    if options.read:
        from unfrozen.frameworks.reading import reading_text

        head.insert(0, reading_text(options.read))
    return "\n\n".join(filter(None, [*head, *parts]))


def _runnable_plan(options: argparse.Namespace, one: PlannedJob) -> OnePlan | None:
    """Return the plan that runs; None without a GPU, and for more than is searched."""
    assert isinstance(one.given, dict)
    model = one.given["model"] if options.model is None else options.model
    name = _hub_id(model if isinstance(model, str) else None)
    with contextlib.suppress(PlanError):
        return runnable_plan(one.planned, one.given, name) if one.planned.job.gpu else None
    return None


def _estimate(options: argparse.Namespace, one: PlannedJob) -> Estimate:
    return estimate(one.planned.job, options.tokens, options.mfu, options.price)


def _compared(given: object, text: str) -> list[tuple[str, Plan]]:
    """Return a plan for each entry of `--compare`: a sharding, or key=value of a part."""
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = entry.partition("=")
        if not equals and entry in SHARDINGS:
            key, value = "sharding", entry
        elif not equals:
            bound = f"it must be one of {', '.join(SHARDINGS)}, or key=value"
            raise PlanError("compare", entry, bound, "for example checkpointing=full")
        part = "cluster" if key in _CLUSTER_KEYS else "recipe"
        changes, parts = (
            ({"gpu": value}, {}) if key == "gpu" else ({}, {part: {key: _value(value)}})
        )
        found.append((entry, plan(_changed(given, changes, parts))))
    if not found:
        raise PlanError("compare", text, "there is nothing to compare", "name zero1,zero2,zero3")
    return found


def _value(text: str) -> object:
    """Return a value parsed as JSON, or as text where it is no JSON."""
    try:
        return strict_json(text)
    except ValueError:
        return text


if __name__ == "__main__":
    sys.exit(main())
