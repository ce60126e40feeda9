"""Judge models on local suites of the common harness, EleutherAI's lm-evaluation-harness.

Its own package, `lm-eval`, reads the tasks, asks and scores, so that a number is the harness's own.
Added here is what it leaves out: the same rows before and after, with the interval of the change
(`unfrozen.held_out`), and whether what was generated stops, by an end token or a stop text of its
task before `max_gen_toks`. Nothing is fetched. A suite comes from anywhere: its templates run in
Jinja's sandbox, its own Python and files outside its folder only for who trusts them.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner.data.hub import offline
from gpu_runner.errors import DataError, ModelLoadError, NotReady, RunnerError, UsageError
from gpu_runner.installed import short
from gpu_runner.log.questions import THETA_0
from gpu_runner.log.tail import LOG_NAME
from gpu_runner.model.load import find, load, load_tokenizer, read_config
from gpu_runner.plain import read_whole
from gpu_runner.run.run_models import load_initial, load_trained, model_place, model_title
from gpu_runner.text import counted, printable, sentence, with_interval
from gpu_runner.train.evaluate import end_tokens
from unfrozen.held_out import SHARE, Interval, mean_interval, paired_difference

BATCH_BOUNDS: Final = (1, 4096)
STOPS: Final = "stops"
"""The metric that is added to tasks that generate."""
_FILES: Final = ("json", "csv", "parquet", "text", "arrow")
"""What `dataset_path` may be for local files."""
_RUNS_CODE: Final = ("custom_generate", "trust_remote_code")
"""Keys by which transformers or datasets run files; others name a `!function`."""
_PATHS: Final = ("include", "dataset_path", "data_files", "data_dir")
_MOST_NAMED: Final = 5
MOST_TASK_BYTES: Final = 4 * 2**20
"""Of a file of tasks that nobody vouches for."""
_BROKEN: Final = 300
"""Characters of a library's error that are shown."""


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """Where the suite is, and how its rows are asked.

    limit        rows of each task, from its first; None: all
    batch_size   rows that are read together
    chat         whether prompts become messages of the model's chat template
    trusted      whether the suite's own Python runs
    """

    suite: Path
    limit: int | None = None
    batch_size: int = 8
    chat: bool = False
    trusted: bool = False

    def check(self) -> None:
        """Raise `UsageError` for a value out of bounds."""
        low, high = BATCH_BOUNDS
        if not low <= self.batch_size <= high:
            raise UsageError(
                f"--batch-size {self.batch_size} is out of bounds: give a number from {low} to"
                f" {high:,}."
            )
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit} is out of bounds: give 1 or more rows a task.")


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """A model to judge: what to call it, and what loads it with its tokenizer.

    One that is not `wanted` by name, θ₀ of a run, is left out with a note if it is gone.
    """

    name: str
    load: Callable[[], tuple[Any, Any]]
    wanted: bool = True


class ModelName(NamedTuple):
    """A model as it was asked for: a run's directory and maybe a step, or the text of another."""

    text: str
    run: Path | None = None
    step: int | None = None


def judged_models(
    names: Sequence[ModelName], device: torch.device, *, trusted: bool = False
) -> list[JudgedModel]:
    """Return the models that were asked for; before a single run, its θ₀.

    Raises `CheckpointError` for a run without a model.
    """
    found = [_judged_model(name, device, trusted=trusted) for name in names]
    if len(names) == 1 and names[0].run is not None:
        run = names[0].run.absolute()

        def initial() -> tuple[Any, Any]:
            asked = load_initial(run, device, trusted=trusted)
            return asked.model, asked.tokenizer

        found.insert(0, JudgedModel(THETA_0, initial, wanted=False))
    return found


def _judged_model(name: ModelName, device: torch.device, *, trusted: bool) -> JudgedModel:
    if name.run is not None:
        run = name.run.absolute()

        def trained() -> tuple[Any, Any]:
            asked = load_trained(run, name.step, device, trusted=trusted)
            return asked.model, asked.tokenizer

        return JudgedModel(model_title(run, model_place(run, name.step)), trained)
    given = Path(name.text).expanduser()  # absolute: the suite's folder becomes the current one
    source = find(str(given.absolute()) if given.exists() else name.text, trusted=trusted)

    def plain() -> tuple[Any, Any]:
        tokenizer = load_tokenizer(source)
        config, _ = read_config(source)
        narrow = str(getattr(config, "dtype", "")).removeprefix("torch.") == "bfloat16"
        return load(source, tokenizer, "bf16" if narrow else "fp32", device), tokenizer

    title = source.name
    if given.suffix == ".gguf":  # its stem is often that of a folder beside it
        title = given.name
    elif (given.absolute().parent / LOG_NAME).is_file():
        title = f"{given.name} of {given.absolute().parent.name}"
    return JudgedModel(title, plain)


class MetricScore(NamedTuple):
    """A metric of one task and model; `rows` are the values whose mean it is, if it is a mean."""

    value: float
    rows: tuple[float, ...]
    higher_is_better: bool
    documents: tuple[str, ...] = ()
    """A hash of each row's document."""

    def interval(self) -> Interval | None:
        """Return the interval of the mean; None of what is no mean, or of too few rows."""
        return mean_interval(self.rows)

    def change_from(self, before: MetricScore) -> Interval | None:
        """Return the change of the same rows, with its interval; None as `interval`."""
        same = self.documents == before.documents and len(self.rows) == len(before.rows)
        if not (self.rows and same):
            return None
        return paired_difference(before.rows, self.rows)


class TaskScores(NamedTuple):
    """How many rows a task has, and its metrics by name, with their filter if it has one."""

    rows: int
    metrics: Mapping[str, MetricScore]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The scores of each model on each task; the first model is what the others changed from."""

    suite: Path
    harness: str
    models: Mapping[str, Mapping[str, TaskScores]]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data; intervals as [low, high]."""
        first = next(iter(self.models.values()))

        def metric(task: str, name: str, one: MetricScore) -> dict[str, Any]:
            before = first[task].metrics[name]
            change = None if before is one else one.change_from(before)
            within = one.interval()
            return {
                "value": one.value,
                "interval": within and [within.low, within.high],
                "change": change and {"value": change.mean, "interval": [change.low, change.high]},
                "higher_is_better": one.higher_is_better,
            }

        def tasks(of: Mapping[str, TaskScores]) -> dict[str, Any]:
            return {
                task: {
                    "rows": found.rows,
                    "metrics": {key: metric(task, key, one) for key, one in found.metrics.items()},
                }
                for task, found in of.items()
            }

        return {
            "suite": str(self.suite),
            "lm_eval": self.harness,
            "models": [{"name": name, "tasks": tasks(of)} for name, of in self.models.items()],
            "notes": list(self.notes),
        }


def judge(
    asked: Sequence[JudgedModel],
    options: EvalOptions,
    report: Callable[[str], None] = lambda _: None,
) -> Judgement:
    """Score models on all tasks of a suite, one model in memory at a time.

    `report` is called with what is being done. Raises `UsageError`; `NotReady` without the package;
    `DataError` for a suite that cannot be read; `ModelLoadError`.
    """
    options.check()
    suite = options.suite.expanduser().resolve()
    with offline():
        version = _import_harness()
        if not suite.is_dir():
            raise DataError(f"{options.suite} is no folder: give one that holds tasks, as .yaml.")
        models, notes = dict[str, Mapping[str, TaskScores]](), list[str]()
        with contextlib.chdir(suite):  # where tasks name their files from
            report("reading the suite")
            names = _check_tasks(suite, trusted=options.trusted)
            for one in asked:
                report(f"loading {one.name}")
                try:
                    model, tokenizer = one.load()
                except ModelLoadError as error:
                    if one.wanted:
                        raise
                    notes.append(f"{error} Only the trained model is judged.")
                    continue
                report(f"asking {one.name}")
                models[_unlike(one.name, models)] = _score(
                    one.name, model, tokenizer, names, suite, options
                )
                del model
    return Judgement(options.suite, version, models, tuple(notes))


def _unlike(name: str, others: Mapping[str, Any]) -> str:
    """Return a name that no other model has."""
    count = sum(other == name or other.startswith(f"{name} (") for other in others)
    return f"{name} ({count + 1})" if count else name


def _import_harness() -> str:
    """Return the version of the harness. Raises `NotReady` with what installs it."""
    try:
        import lm_eval.models.huggingface
        import lm_eval.utils
    except ImportError as error:
        raise NotReady(
            f"eval needs lm-eval, EleutherAI's harness, which is not installed ({error}):"
            f" {short(Path(sys.executable))} -m pip install 'lm-eval>=0.4.13'"
        ) from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    plain = lm_eval.utils.env  # in which a template reaches the whole of Python
    lm_eval.utils.env = sandboxed = ImmutableSandboxedEnvironment(
        undefined=plain.undefined, keep_trailing_newline=plain.keep_trailing_newline
    )
    sandboxed.filters.update(plain.filters)
    return str(lm_eval.__version__)


def _check_tasks(suite: Path, *, trusted: bool) -> list[str]:
    """Return the tasks of a suite, each of which has rows. Raises `DataError`."""
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    for file in sorted(suite.glob("**/*.yaml")):
        with _telling(str(file.relative_to(suite))):  # the harness passes over a broken file
            found = [] if trusted else list(dict.fromkeys(_foreign_parts(file, suite, set())))
            load_yaml(file, resolve_func=False)
            if found:
                named = ", ".join(found[:_MOST_NAMED]) + ", …" * (len(found) > _MOST_NAMED)
                raise DataError(
                    f"{file.relative_to(suite)} brings {named}, which is not run or read. Take it"
                    " out, or read it, and give --trust-remote-code if you trust it."
                )
    manager = TaskManager(include_path=str(suite), include_defaults=False)
    names: list[str] = list(manager.all_subtasks)
    if not names:
        raise DataError(f"{suite} holds no task: no file *.yaml in it has `task:`.")
    for name in names:
        _check_sources(name, manager.task_index[name].cfg or {})
        with _telling(f"task {name}"):
            (task,) = manager.load([name])["tasks"].values()
            rows = len(task.eval_docs)
        if not rows:
            raise DataError(f"task {name} has no rows: give its data_files some.")
    return names


def _foreign_parts(file: Path, suite: Path, read: set[Path]) -> Iterator[str]:
    """Yield what of a file of tasks, and of those that it includes, is Python or lies outside."""
    from lm_eval.tasks._yaml_loader import yaml  # the harness's own

    read.add(file)
    text = read_whole(file, MOST_TASK_BYTES)
    waiting, visited = [yaml.compose(text, Loader=yaml.SafeLoader)], set[int]()
    while waiting:
        node = waiting.pop(0)
        if id(node) in visited:  # an alias
            continue
        visited.add(id(node))
        if node.tag == "!function" or ":python/" in node.tag:
            yield f"Python of its own ({node.tag.rpartition(':')[2]} {node.value})"
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                waiting += [key, value]
                if key.value in _RUNS_CODE:
                    yield f"Python of its own ({key.value})"
                elif key.value in _PATHS:
                    yield from _foreign_paths(key.value, value, file, suite, read)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _foreign_paths(key: str, value: Any, file: Path, suite: Path, read: set[Path]) -> Iterator[str]:
    """Yield those paths under a key that lead out of the suite, and what is included by others."""
    nodes, start = [value], file.parent if key == "include" else suite
    while nodes:
        node = nodes.pop(0)
        if isinstance(node.value, list):  # a list, or files by split
            nodes += [part[1] if isinstance(part, tuple) else part for part in node.value]
            continue
        path = (start / node.value).resolve()
        if not path.is_relative_to(suite):
            yield f"{key}: {node.value}, outside of its folder"
        elif key == "include" and path not in read and path.is_file():
            yield from _foreign_parts(path, suite, read)


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    """Raise what the harness or YAML raises about a part of the suite as one sentence."""
    try:
        yield
    except RunnerError:
        raise
    except Exception as error:  # of libraries, which say anything
        reason = " ".join(str(error).split())[:_BROKEN] or type(error).__name__
        raise DataError(f"{what} cannot be read: {reason.rstrip('.')}.") from error


def _check_sources(name: str, task: Mapping[str, Any]) -> None:
    """Raise `DataError` for a task whose rows or metrics are not on this machine."""
    from lm_eval.api import metrics, registry

    del metrics  # imported, it fills the registry
    if "class" in task or task.get("custom_dataset"):
        return  # Python reads its rows
    place = str(task.get("dataset_path"))
    reader = place.isidentifier() and find_spec(f"datasets.packaged_modules.{place}")
    if place not in _FILES and (reader or not Path(place).is_dir()):  # one of them reads pickles
        raise DataError(
            f"task {name} reads the data set {place} of the hub, and a suite is read offline: save"
            " its rows as a file, and give dataset_path: json, dataset_kwargs: data_files: FILE."
        )
    for file in _flat((task.get("dataset_kwargs") or {}).get("data_files")):
        if "://" in file:
            raise DataError(f"task {name} reads {file}, and a suite is read offline: save it here.")
        found = [Path(file)] if Path(file).is_file() else list(Path.cwd().glob(file))
        if not found:
            raise DataError(f"task {name}: there is no {file} from {Path.cwd()} on.")
        if not any(one.stat().st_size for one in found):
            raise DataError(f"task {name} has no rows: {file} is empty.")
    for metric in task.get("metric_list") or ():
        wanted = metric.get("metric") if isinstance(metric, dict) else metric
        known = wanted in registry.metric_registry or "/" in str(wanted)  # a path: a !function
        if not known or (isinstance(metric, dict) and metric.get("hf_evaluate")):
            raise DataError(
                f"task {name}: lm-eval has no metric {wanted!r} of its own, and others are fetched"
                " from the hub: give exact_match, acc, or a !function."
            )


def _flat(files: Any) -> list[str]:
    """Return the file names of `data_files`: one, a list, or either by split."""
    if isinstance(files, dict):
        return [file for each in files.values() for file in _flat(each)]
    return [str(file) for file in files] if isinstance(files, list) else [str(files)] * bool(files)


def _score(
    name: str, model: Any, tokenizer: Any, tasks: list[str], suite: Path, options: EvalOptions
) -> dict[str, TaskScores]:
    """Let the harness score one model. Raises `ModelLoadError` for a tokenizer without an end."""
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    if tokenizer.eos_token_id is None:
        raise ModelLoadError(
            f"{name}: its tokenizer has no end token, so that no answer would end: give"
            " eos_token in its tokenizer_config.json."
        )
    if options.chat and not tokenizer.chat_template:
        raise UsageError(f"{name} has no chat template: leave out --apply-chat-template.")
    manager = TaskManager(include_path=str(suite), include_defaults=False)
    loaded = manager.load(tasks)
    for task in loaded["tasks"].values():  # as `lm_eval.simple_evaluate` begins
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.manual_seed(DEFAULT_OTHER_SEED)
    model.set_attn_implementation("sdpa")  # rows of a batch are padded on the left
    asked = _harness_model(model, tokenizer, options.batch_size)
    with _telling(f"{name} on {suite.name}"):
        found = evaluate(
            lm=asked,
            task_dict=loaded,
            limit=options.limit,
            bootstrap_iters=0,
            apply_chat_template=options.chat,
            fewshot_as_multiturn=True,
        )
    return {task: _scores_of(found, task, asked.stopped) for task in loaded["tasks"]}


def _harness_model(model: Any, tokenizer: Any, batch_size: int) -> Any:
    """Return the harness's own model around ours; `stopped` says of each request if it ended."""
    from lm_eval.models.huggingface import HFLM

    class HarnessModel(HFLM):  # type: ignore[misc]  # of a package without types
        def __init__(self) -> None:
            super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
            self.stopped: dict[str, bool] = {}
            self.ended: list[bool] = []  # of the rows of a batch that are not taken over yet
            self.cache_hook = self

        def add_partial(self, kind: str, request: Sequence[Any], _: Any) -> None:
            """Be told of each answer, in the order of the batch."""
            if kind == "generate_until":
                self.stopped[repr(request)] = self.ended.pop(0)

        def _model_generate(self, context: Any, max_length: int, stop: Any, **given: Any) -> Any:
            written = super()._model_generate(context, max_length, stop, **given)
            ends = {*end_tokens(self.model), self.tokenizer.eos_token_id}
            for row in written[:, context.shape[1] :].tolist():
                text = self.tok_decode(row)
                self.ended.append(not ends.isdisjoint(row) or any(s in text for s in stop if s))
            return written

    asked = HarnessModel()
    for kind in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        setattr(asked, kind, partial(getattr(asked, kind), disable_tqdm=True))
    return asked


def _scores_of(found: Mapping[str, Any], task: str, stopped: Mapping[str, bool]) -> TaskScores:
    """Return what the harness found for a task, and whether its generations stop."""
    reported, samples = found["results"][task], found["samples"][task]
    better = found["higher_is_better"].get(task) or {}
    metrics = dict[str, MetricScore]()
    for key, value in reported.items():
        name, comma, kind = key.partition(",")
        if not comma or name.endswith("_stderr") or not isinstance(value, int | float):
            continue
        rows = [one[name] for one in samples if one["filter"] == kind and name in one]
        numbers = [float(row) for row in rows if isinstance(row, int | float | np.number)]
        mean = sum(numbers) / len(numbers) if numbers else math.nan
        is_mean = len(numbers) == len(rows) and math.isclose(mean, value, abs_tol=1e-9)
        documents = tuple(str(one["doc_hash"]) for one in samples if one["filter"] == kind)
        shown = name if kind == "none" else key
        up = better.get(name)
        metrics[shown] = MetricScore(
            float(value), tuple(numbers) if is_mean else (), up is not False, documents
        )
    first = samples[0]["filter"]
    rows_of_first = [one for one in samples if one["filter"] == first]
    requests = [repr(tuple(one["arguments"][0])) for one in rows_of_first]
    if all(request in stopped for request in requests):
        ended = [float(stopped[request]) for request in requests]
        documents = tuple(str(one["doc_hash"]) for one in rows_of_first)
        metrics[STOPS] = MetricScore(sum(ended) / len(ended), tuple(ended), True, documents)
    return TaskScores(len(rows_of_first), metrics)


def show_judgement(console: Console, found: Judgement) -> None:
    """Print a table: under each task and metric, a line a model."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in ("", f"value ({SHARE:.0%} interval)", "change"):
        table.add_column(column)
    first = next(iter(found.models.values()))
    for task, scores in first.items():
        for key, before in scores.metrics.items():
            title = printable(f"{task} {key}, {counted(scores.rows, 'row')}")
            table.add_row(title, style="dim")
            for name, tasks in found.models.items():
                one = tasks[task].metrics[key]
                change = None if one is before else one.change_from(before)
                moved = change and with_interval(change.mean, change, "+")
                table.add_row(printable(name), with_interval(one.value, one.interval()), moved)
    console.print(table)
    for text in found.notes:
        sentence(console, Text(printable(text)))
