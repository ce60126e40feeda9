"""Sample logs of lm-evaluation-harness: models on the same examples, with intervals.

    lm_eval --model hf --model_args pretrained=DIR --tasks … --log_samples --output_path OUT

writes into a folder below OUT, for each task, `samples_TASK_DATE.jsonl`, a line an example, and
`results_DATE.json`. A change has an interval only where both models were asked the same examples:
their documents and targets have the same hashes.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner.errors import DataError
from gpu_runner.text import counted, printable, sentence, with_interval
from unfrozen.held_out import SHARE, Interval, mean_interval, paired_difference
from unfrozen.plain import open_plain, read_json

MOST_LINE_BYTES: Final = 16 * 2**20
MOST_ROWS: Final = 1_000_000
"""The most examples of one task."""
MOST_RESULTS_BYTES: Final = 64 * 2**20
_SAMPLES: Final = re.compile(r"samples_(.+)_(\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")


class AskedExample(NamedTuple):
    """The identity of an example: hashes of its document and of its target."""

    document: str
    target: str


@dataclass(frozen=True, slots=True)
class TaskSamples:
    """The examples of a task by number, and each metric's value of each of them."""

    examples: Mapping[int, AskedExample]
    metrics: Mapping[str, Mapping[int, float]]
    higher_is_better: Mapping[str, bool]

    def values(self, metric: str) -> list[float]:
        """Return a metric's values in the order of the examples."""
        found = self.metrics[metric]
        return [found[number] for number in sorted(found)]


@dataclass(frozen=True, slots=True)
class ModelSamples:
    """The answers of one model: its name, and its tasks."""

    name: str
    tasks: Mapping[str, TaskSamples]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The tasks that all models have; the first model is what the others changed from."""

    models: Sequence[ModelSamples]
    tasks: Sequence[str]
    notes: Sequence[str] = ()

    def change(self, model: ModelSamples, task: str, metric: str) -> Interval | None:
        """Return the change from the first model; None for itself, or where examples differ."""
        before, after = self.models[0].tasks[task], model.tasks[task]
        if model is self.models[0] or before.examples != after.examples:
            return None
        if before.metrics[metric].keys() != after.metrics[metric].keys():
            return None
        return paired_difference(before.values(metric), after.values(metric))

    def metrics(self, task: str) -> list[str]:
        """Return the metrics of a task that all models have."""
        each = [model.tasks[task].metrics for model in self.models]
        return [name for name in each[0] if all(name in metrics for metrics in each)]

    def verdicts(self) -> Iterator[str]:
        """Yield a sentence for each later model: which metrics changed beyond the noise."""
        for model in self.models[1:]:
            words: dict[str, list[str]] = {}
            for task in self.tasks:
                for metric in self.metrics(task):
                    if (change := self.change(model, task, metric)) is not None:
                        better = self.models[0].tasks[task].higher_is_better.get(metric)
                        words.setdefault(_verdict(change, better), []).append(f"{task} {metric}")
            same = words.pop("", [])
            said = [f"{', '.join(names)} {word}" for word, names in words.items()]
            said += [f"{counted(len(same), 'metric')} within the noise"] * bool(same)
            if said:
                yield f"{model.name} against {self.models[0].name}: {'; '.join(said)}."

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data; intervals as [low, high]."""

        def metric(model: ModelSamples, task: str, name: str) -> dict[str, Any]:
            values = model.tasks[task].values(name)
            within, change = mean_interval(values), self.change(model, task, name)
            return {
                "value": math.fsum(values) / len(values),
                "interval": within and [within.low, within.high],
                "change": change and {"value": change.mean, "interval": [change.low, change.high]},
                "higher_is_better": model.tasks[task].higher_is_better.get(name),
            }

        def task(model: ModelSamples, name: str) -> dict[str, Any]:
            found = {each: metric(model, name, each) for each in self.metrics(name)}
            return {"examples": len(model.tasks[name].examples), "metrics": found}

        models = [
            {"name": model.name, "tasks": {name: task(model, name) for name in self.tasks}}
            for model in self.models
        ]
        return {"models": models, "verdicts": [*self.verdicts()], "notes": [*self.notes]}


def _verdict(change: Interval, higher_is_better: bool | None) -> str:
    """Return a word for a change; "" inside the noise of its examples."""
    if change.low <= 0 <= change.high:
        return ""
    if higher_is_better is None:
        return "higher" if change.mean > 0 else "lower"
    return "better" if (change.mean > 0) == higher_is_better else "worse"


def judge(places: Sequence[Path]) -> Judgement:
    """Compare models by their sample logs, each a folder or one file. Raises `DataError`."""
    models = [_read_model(place) for place in places]
    names = [model.name for model in models]
    if len(set(names)) < len(names):  # folders tell them apart
        models = [ModelSamples(str(p), m.tasks) for p, m in zip(places, models, strict=True)]
    first, *others = models
    tasks = [name for name in first.tasks if all(name in other.tasks for other in others)]
    if not tasks:
        each = "; ".join(f"{model.name}: {', '.join(model.tasks)}" for model in models)
        raise DataError(f"the models have no task in common ({each}): judge them on the same ones.")
    notes = [
        f"{model.name} alone has {', '.join(alone)}."
        for model in models
        if (alone := [name for name in model.tasks if name not in tasks])
    ]
    pairs = [(model, task) for model in others for task in tasks]
    notes += [text for model, task in pairs for text in _differences(first, model, task)]
    return Judgement(models, tasks, notes)


def _differences(first: ModelSamples, model: ModelSamples, task: str) -> Iterator[str]:
    before, after = first.tasks[task].examples, model.tasks[task].examples
    alone = len(before.keys() ^ after.keys())
    other = sum(before[number] != after[number] for number in before.keys() & after.keys())
    said = [f"{other:,} differ"] * bool(other) + [f"{alone:,} are in one log alone"] * bool(alone)
    if said:
        yield f"{task}: of the examples of {model.name}, {' and '.join(said)}: no interval."


def _read_model(place: Path) -> ModelSamples:
    """Read the newest log of each task in a folder or one below it, or one file."""
    files = [place] if place.is_file() else [*place.glob("samples_*"), *place.glob("*/samples_*")]
    newest: dict[str, tuple[str, Path]] = {}
    for file in files:
        if named := _SAMPLES.fullmatch(file.name):
            newest[named[1]] = max(newest.get(named[1], ("", file)), (named[2], file))
    if not newest:
        command = "lm_eval --model hf --model_args pretrained=MODEL --tasks TASK --log_samples"
        raise DataError(
            f"{place} has no samples_TASK_DATE.jsonl: give the folder that `{command}"
            " --output_path FOLDER` wrote."
        )
    tasks, names = {}, set()
    for task, (date, file) in sorted(newest.items()):
        results = _read_results(file.with_name(f"results_{date}.json"))
        names.add(str(results.get("model_name") or file.parent.name))
        better = _mapping(_mapping(results, "higher_is_better"), task)
        tasks[task] = _read_task(file, better)
    return ModelSamples(printable(" and ".join(sorted(names))), tasks)


def _read_results(file: Path) -> dict[str, Any]:
    """Return what a results file says; nothing where there is none."""
    try:
        found = read_json(file, MOST_RESULTS_BYTES)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}.") from None
    return found if isinstance(found, dict) else {}


def _mapping(found: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _read_task(file: Path, better: Mapping[str, Any]) -> TaskSamples:
    """Read the examples of a task. Raises `DataError` with the line that is none."""
    examples: dict[int, AskedExample] = {}
    metrics: dict[str, dict[int, float]] = {}
    for number, line in _lines(file):
        try:
            row = json.loads(line)
            at, suffix = int(row["doc_id"]), str(row.get("filter", "none"))
            example = AskedExample(str(row["doc_hash"]), str(row["target_hash"]))
            names = [str(name) for name in row["metrics"]]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = f"it is no sample of lm-eval ({type(error).__name__}: {error})"
            raise DataError(f"{file}, line {number}: {reason[:200]}.") from None
        if examples.setdefault(at, example) != example:
            raise DataError(f"{file}, line {number}: doc_id {at} was another example before.")
        for name in names:
            value = row.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                key = name if suffix == "none" else f"{name},{suffix}"
                metrics.setdefault(key, {})[at] = float(value)
    if not examples:
        raise DataError(f"{file} has no examples.")
    whole = {name: values for name, values in metrics.items() if len(values) == len(examples)}
    higher = {name: better.get(name.partition(",")[0]) for name in whole}
    return TaskSamples(examples, whole, {n: h for n, h in higher.items() if isinstance(h, bool)})


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a plain file with their numbers. Raises `DataError` for too much."""
    try:
        with os.fdopen(open_plain(file), "rb") as opened:
            for number in range(1, MOST_ROWS + 2):
                line = opened.readline(MOST_LINE_BYTES + 1)
                if not line:
                    return
                if len(line) > MOST_LINE_BYTES:
                    raise DataError(f"{file}, line {number}: more than {MOST_LINE_BYTES:,} bytes.")
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from None
    raise DataError(f"{file} has more than {MOST_ROWS:,} lines.")


def show_judgement(console: Console, found: Judgement) -> None:
    """Print a table, under each task and metric a line a model; then what changed."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in ("", f"value ({SHARE:.0%} interval)", "change"):
        table.add_column(column)
    for task in found.tasks:
        for metric in found.metrics(task):
            count = counted(len(found.models[0].tasks[task].examples), "example")
            table.add_row(printable(f"{task} {metric}, {count}"), style="dim")
            for model in found.models:
                values = model.tasks[task].values(metric)
                value = with_interval(math.fsum(values) / len(values), mean_interval(values))
                change = found.change(model, task, metric)
                moved = change and with_interval(change.mean, change, "+")
                table.add_row(model.name, value, moved)
    console.print(table)
    for text in (*found.verdicts(), *found.notes):
        sentence(console, Text(printable(text)))
