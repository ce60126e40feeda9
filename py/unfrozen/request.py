"""One request for a plan and its answer: what `unfrozen.plan(…)`, `unfrozen plan` and MCP share.

Beside `__main__` and `hub` this is the only module of the package that reads a file: the job, a
model's config.json, rows of data.
"""

from __future__ import annotations

import contextlib
import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple

from unfrozen.answer import ADVISED_JOBS, answer, on_all_gpus, text
from unfrozen.answer.text import framework_text
from unfrozen.errors import PlanError, strict_json
from unfrozen.frameworks.tables import solved_data, solved_text
from unfrozen.hardware import LENT, counted
from unfrozen.hub import is_hub_name, named_model
from unfrozen.job import Job, job_data
from unfrozen.job.cluster import SHARDINGS, Cluster
from unfrozen.memory.explain import explain
from unfrozen.model import catalogue
from unfrozen.model.names import LARGEST_CONFIG_BYTES, ModelSource, loaded_name
from unfrozen.model.traced import Model, NotTraced, built_by
from unfrozen.plain import read_named, read_plain
from unfrozen.plan import VERDICTS, Plan, plan_job
from unfrozen.plan import plan as plan_of
from unfrozen.plan.compute import Estimate, estimate
from unfrozen.plan.rent import rental, rental_text
from unfrozen.plan.step_time import job_gpu
from unfrozen.planner.picture import escape, memory_picture, verdict_badge
from unfrozen.project.best import OnePlan, PlannedRun, Work, find
from unfrozen.project.budget import rent
from unfrozen.project.questions import check_open, question, read_gpus, runnable_plan, with_gpus
from unfrozen.project.text import (
    METHODS,
    answer_data,
    answer_text,
    choice_data,
    short_text,
)
from unfrozen.training_data import ESTIMATED, Data, read_numbers, row_lengths
from unfrozen.units import format_duration, gib, sig3

Verdict = Literal["fits", "tight", "does not fit"]
ReadLengths = Callable[[str, str], tuple[list[int], str]]
"""Reads the tokens of each row of a file for a model, and says how they are known."""
MOST_BYTES: Final = 2**30
_CLUSTER_KEYS: Final = frozenset(field.name for field in fields(Cluster))
_OF_PROJECT: Final = ("data", "budget", "gpus")
_OF_JOB: Final = ("explain", "all_gpus", "solve", "compare", "tokens", "mfu", "open")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be planned, and what to say of it: the options of `unfrozen plan` by name.

    `job` is a file of jobs or of a trainer, `text` what it says where it is at hand without the
    file, `typed` a trainer's command; `recipe`, `cluster` and `gpu` may be JSON text; `data` is a
    file or "rows x epochs x tokens".
    """

    job: str | Mapping[str, Any] | None = None
    text: str | None = None
    typed: Sequence[str] | None = None
    model: str | Mapping[str, Any] | None = None
    recipe: str | Mapping[str, Any] | None = None
    cluster: str | Mapping[str, Any] | None = None
    gpu: str | Mapping[str, Any] | None = None
    framework: str | None = None
    data: str | None = None
    epochs: float | None = None
    gpus: str | int | None = None
    budget: float | None = None
    sequences: int | None = None
    run_by: str | None = None
    price: float | None = None
    explain: bool = False
    all_gpus: bool = False
    solve: str | None = None
    compare: str | None = None
    tokens: float | None = None
    mfu: float | None = None
    open: bool = False

    @property
    def is_project(self) -> bool:
        """Whether one plan is asked for: with data, a budget or GPUs to plan for."""
        return any(getattr(self, name) is not None for name in _OF_PROJECT)


class PlanAnswer(ABC):
    """A plan as it was asked for; `str` of it is what the terminal prints."""

    verdict: Verdict | None
    """How sure it is to run; None where no GPU is named."""

    @property
    def fits(self) -> bool | None:
        """Whether it is sure to run; None where no GPU is named."""
        return None if self.verdict is None else self.verdict == VERDICTS[0]

    @property
    @abstractmethod
    def job(self) -> Job:
        """The job that is planned."""

    def badge(self) -> str:
        """Return an SVG badge of the verdict. Raises PlanError where no GPU is named."""
        return verdict_badge(self.verdict or VERDICTS[-1], self.job)

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data: what `unfrozen plan --json` prints."""

    @abstractmethod
    def _repr_html_(self) -> str:
        """Return its picture, which a notebook shows."""


@dataclass(frozen=True)
class PlannedJob(PlanAnswer):
    """The plan of a job that names its layout."""

    request: Request
    given: Mapping[str, Any]
    planned: Plan
    advised: bool = True
    read: Mapping[str, Any] | None = None
    """How a trainer's file was read: its format, the keys that count, those unknown."""
    source: ModelSource | None = None
    """Where the config of a model is from that the catalogue does not have."""

    @property
    def verdict(self) -> Verdict | None:  # type: ignore[override]
        """The plan's own."""
        return self.planned.verdict  # type: ignore[return-value]

    @property
    def job(self) -> Job:
        """The plan's own."""
        return self.planned.job

    def to_dict(self) -> dict[str, Any]:
        """Return the plan with its fixed keys, and one more key for each further option."""
        asked, planned = self.request, self.planned
        found = answer(planned, with_advice=self.advised)
        found["job"] = job_data(planned.job, self.given["model"])
        if asked.explain:
            found["explain"] = [asdict(term) for term in explain(planned)]
        if asked.all_gpus:
            found["gpus"] = on_all_gpus(planned)
        if asked.solve:
            found["solve"] = solved_data(planned, asked.solve)
        if asked.compare:
            pairs = _compared(self.given, asked.compare)
            found["compare"] = {name: answer(p, with_advice=False) for name, p in pairs}
        if asked.tokens is not None:
            spent = self._estimate(asked.tokens)
            found |= {"compute": asdict(spent), "rent": rental(planned.job, spent.seconds)}
        if self.advised and (run := self._runnable()):
            data = answer_data(run)
            found |= {key: data[key] for key in ("plan", *(() if run.first else ("adapters",)))}
        return found | _read_data(self.read, self.source, planned.job)

    def __str__(self) -> str:
        asked, planned, parts = self.request, self.planned, []
        if asked.explain:
            parts.append(text.terms_table(explain(planned)))
        if asked.all_gpus:
            parts.append(text.gpus_table(on_all_gpus(planned)))
        if asked.solve:
            parts.append(solved_text(planned, asked.solve))
        if asked.compare:
            parts.append(text.compare_table(_compared(self.given, asked.compare)))
        job = planned.job
        head = [text.title(job), framework_text(job)] if parts else [text.report(planned)]
        if not parts and self.advised and (found := self._runnable()):
            head.append(short_text(found))
        if asked.tokens is not None:
            spent = self._estimate(asked.tokens)
            parts.append(text.estimate_text(job, spent))
            parts.append(f"Timeout: {rental_text(rental(job, spent.seconds))}")
        how = text.wrapped(*_reader().reading_text(self.read).splitlines()) if self.read else ""
        return "\n\n".join(
            filter(None, [how, _source_text(self.request, self.source), *head, *parts])
        )

    def _repr_html_(self) -> str:
        return memory_picture(self.planned)

    def _estimate(self, tokens: float) -> Estimate:
        return estimate(self.planned.job, tokens, self.request.mfu, self.request.price)

    def _runnable(self) -> OnePlan | None:
        """Return the plan that runs; None without a GPU, and for more than is searched."""
        model = self.request.model or self.given["model"]
        name = _hub_id(model if isinstance(model, str) else None)
        if self.planned.job.gpu is None or (self.read and self.planned.fits):
            return None  # whoever has a trainer's file has its command
        with contextlib.suppress(PlanError):
            found = runnable_plan(self.planned, self.given, name)
            return found if found.first or not self.read else None
        return None


@dataclass(frozen=True)
class PlannedProject(PlanAnswer):
    """The one plan for data, and GPUs or a budget."""

    request: Request
    given: Mapping[str, Any]
    found: OnePlan
    source: ModelSource | None = None

    @property
    def verdict(self) -> Verdict:  # type: ignore[override]
        """A plan is searched among those that are sure to run."""
        return "fits" if self.found.first else "does not fit"

    @property
    def job(self) -> Job:
        """The job of the plan; where none fits, the one in question."""
        return self.found.first.layout.job if self.found.first else self.found.question.job

    def to_dict(self) -> dict[str, Any]:
        """Return the plan, what else would do, and the question."""
        found = answer_data(self.found) | {"job": job_data(self.job, self.given["model"])}
        return found | _read_data(None, self.source, self.job)

    def __str__(self) -> str:
        notes = text.wrapped(*self.job.model.architecture.notes)
        parts = [_source_text(self.request, self.source), notes, answer_text(self.found)]
        return "\n\n".join(filter(None, parts))

    def _repr_html_(self) -> str:
        layout = self.found.first and self.found.first.layout
        picture = memory_picture(plan_job(layout.job)) if layout else ""
        return f"{picture}<pre>{escape(str(self))}</pre>"


@dataclass(frozen=True)
class ModelChoice(PlanAnswer):
    """Models that can be trained on the given GPUs, where none is named: the largest first, those
    of which every weight trains before those that fit with adapters alone.
    """

    plans: Sequence[tuple[str, PlannedRun]]

    @property
    def verdict(self) -> Verdict:  # type: ignore[override]
        """Each that is listed is sure to run."""
        return "fits"

    @property
    def job(self) -> Job:
        """The job of the first."""
        return self.plans[0][1].job

    def to_dict(self) -> dict[str, Any]:
        """Return the plan of each, the first first."""
        return {"choices": [{"model": name, **choice_data(one)} for name, one in self.plans]}

    def __str__(self) -> str:
        rows = [["model", "method", "GiB", "time"]]
        for name, one in self.plans:
            time = format_duration(one.run.seconds) if one.run else ""
            need = sig3(gib(one.plan.device_bytes))
            rows.append([name, METHODS[one.job.recipe.method], need, time])
        head = (
            f"No model is named. On {self.job.cluster.gpus:,} × {job_gpu(self.job).name} these fit:"
        )
        end = "The whole plan of one, with its command: add --model NAME."
        return f"{head}\n\n{text.table(rows, left=2)}\n\n{end}"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


@dataclass(frozen=True)
class PlannedList:
    """The plans of a list of jobs, or the reason why there is none of one."""

    request: Request
    entries: Sequence[PlannedJob | PlanError]

    @property
    def verdicts(self) -> list[Verdict | None]:
        """One for each job."""
        refused: Verdict = "does not fit"
        return [one.verdict if isinstance(one, PlannedJob) else refused for one in self.entries]

    def to_list(self) -> list[dict[str, Any]]:
        """Return an entry for each job, `{"error": …}` for one that cannot be planned."""
        with _uncollected():
            return [
                one.to_dict() if isinstance(one, PlannedJob) else {"error": str(one)}
                for one in self.entries
            ]

    def __str__(self) -> str:
        plans = [one for one in self.entries if isinstance(one, PlannedJob)]
        asked = self.request
        with _uncollected():
            if any((asked.explain, asked.all_gpus, asked.solve, asked.compare, asked.tokens)):
                return "\n\n\n".join(map(str, self.entries))
            refused = [str(one) for one in self.entries if isinstance(one, PlanError)]
            table = text.jobs_table([one.planned for one in plans]) if plans else ""
        return "\n".join(filter(None, [table, *refused]))


# --- what is asked ------------------------------------------------------------------------------
def plan(job: str | Mapping[str, Any] | None = None, **options: Any) -> PlanAnswer:
    """Plan a job: `unfrozen.plan(model="Qwen/Qwen3-8B", gpus="2x4090", data="rows.jsonl")`.

    `job` is a job as plain data or the path of its file; `options` are those of `unfrozen plan` by
    name, and change it (`Request`). Raises PlanError with key, value, bound and remedy.
    """
    for name in options:
        if name not in _OPTIONS:
            bound = f"known options are {', '.join(_OPTIONS)}"
            raise PlanError(name, options[name], bound, "correct it")
    found = answer_of(Request(job, **options))
    if isinstance(found, PlannedList):
        raise PlanError("job", job, "one plan is for one job", "plan each for itself")
    return found


_OPTIONS: Final = tuple(
    field.name for field in fields(Request) if field.name not in ("job", "open")
)


def answer_of(asked: Request, read: ReadLengths | None = None) -> PlanAnswer | PlannedList:
    """Return the answer to a request; `read` reads a file of data with the model's tokenizer,
    without it tokens are estimated. Raises PlanError, for a list where no job can be planned.
    """
    with built_by(_build):
        return _answer_of(asked, read)


def _build(config: Mapping[str, Any]) -> Model:
    """Return the model of a config.json, built where PyTorch is. Raises `NotTraced`."""
    if find_spec("gpu_runner") is None:
        raise NotTraced
    return import_module("gpu_runner.model.meta_tensors").build(config)  # type: ignore[no-any-return]


def _answer_of(asked: Request, read: ReadLengths | None) -> PlanAnswer | PlannedList:
    if asked.gpus is not None and asked.job is asked.model is asked.typed is None:
        return _choose(asked, read or _estimated_lengths)
    try:
        asked, given, how, sources = load_jobs(asked)
        if asked.is_project:
            return _project(asked, given, read or _estimated_lengths, sources)
    except OSError as error:
        bound = f"no file can be called so ({error.strerror})"
        raise PlanError("file", error.filename, bound, "check it") from None
    if not isinstance(given, list):
        planned = plan_of(given)
        assert isinstance(given, Mapping)
        return PlannedJob(asked, given, planned, read=how, source=sources[0])
    with _uncollected():
        advised, count = len(given) <= ADVISED_JOBS, len(given)
        found = [
            _entry(asked, job, place, count, advised, source)
            for place, (job, source) in enumerate(zip(given, sources, strict=True))
        ]
    if found and all(isinstance(one, PlanError) for one in found):
        raise found[0]  # type: ignore[misc]
    return PlannedList(asked, found)


def _entry(
    asked: Request, job: Any, place: int, count: int, advised: bool, source: ModelSource | None
) -> PlannedJob | PlanError:
    try:
        if isinstance(job, PlanError):
            raise job
        return PlannedJob(asked, job, plan_of(job), advised, source=source)
    except PlanError as error:
        key = f"job {place + 1} of {count}, {error.key}"
        return PlanError(key, error.value, error.bound, error.remedy)


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


class LoadedJobs(NamedTuple):
    """A request whose files have been read: the job or jobs as plain data (PlanError for one of
    several whose model nobody knows), how a file of a trainer was read, and where the config of
    each job's model is from; `asked` names the model of a single job.
    """

    asked: Request
    given: object
    read: Mapping[str, Any] | None
    sources: Sequence[ModelSource | None]


def load_jobs(asked: Request) -> LoadedJobs:
    """Return the job or jobs as plain data, with what the options change. Raises PlanError."""
    if asked.text:
        if isinstance(asked.job, Mapping):
            raise PlanError("text", asked.text, "a job and a text are two jobs", "drop one")
        asked = replace(asked, job=asked.job or "")
    elif isinstance(asked.job, str) and asked.model is None and is_hub_name(asked.job):
        asked = replace(asked, job=None, model=asked.job)
    if asked.job is None and asked.model is None and asked.typed is None:
        raise PlanError("job", "nothing", "there is nothing to plan", "give a file, - or --model")
    for name in ("price", "mfu"):
        used = asked.tokens is not None or (name == "price" and asked.is_project)
        if getattr(asked, name) is not None and not used:
            raise PlanError(name, getattr(asked, name), "it needs a number of tokens", "--tokens")
    cluster = {} if asked.cluster is None else _object(asked.cluster, "--cluster")
    given, read = asked.job or {}, None
    if isinstance(asked.job, str) or asked.typed:
        found = _read_file(asked, cluster)
        given, read = found.job, found.read
        if read and asked.model is None:
            if "model" not in given:
                bound = f"this file of {read['format']} names no model"
                raise PlanError("model", "nothing", bound, "name it by --model")
            asked = replace(asked, model=given["model"])
        if read and asked.gpus is not None and asked.data is None and asked.budget is None:
            count, card = read_gpus(str(asked.gpus))  # of a file that says how to train on them
            cluster = cluster if count is None else {**cluster, "gpus": count}
            asked = replace(asked, gpus=None, gpu=card or asked.gpu, cluster=cluster)
    changes, parts = _changes(asked, cluster)
    named = cache(named_model)
    if isinstance(given, list):
        found = [_named(_changed(job, changes, parts), named) for job in given]
        return LoadedJobs(asked, [job for job, _ in found], read, [source for _, source in found])
    job, source = _named(_changed(given, changes, parts), named)
    if isinstance(job, PlanError):
        raise job
    return LoadedJobs(replace(asked, model=source.name) if source else asked, job, read, [source])


def _changes(asked: Request, cluster: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys of a job that the options replace, and those parts that they add to."""
    changes: dict[str, Any] = {}
    if asked.model is not None:
        changes["model"] = _model(asked.model)
    if asked.gpu is not None:
        numbers = isinstance(asked.gpu, str) and asked.gpu.startswith("{")
        changes["gpu"] = _object(asked.gpu, "--gpu") if numbers else asked.gpu
    if asked.framework is not None:
        changes["framework"] = asked.framework
    parts = {"cluster": cluster} if asked.cluster is not None else {}
    if asked.recipe is not None:
        parts["recipe"] = _object(asked.recipe, "--recipe")
    if isinstance(changes.get("gpu"), str) and counted(changes["gpu"])[0] is not None:
        on, gpus = with_gpus({"cluster": cluster}, changes["gpu"])
        changes["gpu"] = on.get("gpu", changes["gpu"])
        parts["cluster"] = {**cluster, "gpus": gpus}
    return changes, parts


def _named(
    job: object, named: Callable[[str], tuple[dict[str, Any], ModelSource | None]]
) -> tuple[object, ModelSource | None]:
    """Return a job with the config of a model that it names, unless the catalogue has it."""
    if not isinstance(job, Mapping) or not isinstance(job.get("model"), str):
        return job, None
    try:
        config, source = named(job["model"])
    except PlanError as error:
        return error, None
    return ({**job, "model": config} if source else job), source


def _read_data(
    read: Mapping[str, Any] | None, source: ModelSource | None, job: Job
) -> dict[str, Any]:
    """Return how a file was read, the keys of a config.json that are unknown among its others, and
    where the config of a model is from.
    """
    if unknown := job.model.architecture.unknown_keys:
        read = {"format": "hf", "used": [], "unknown": [], **(read or {})}
        used = [key for key in read["used"] if key not in unknown]
        read |= {"used": used, "unknown": [*read["unknown"], *unknown]}
    return ({"read": read} if read else {}) | ({"source": source._asdict()} if source else {})


def _source_text(asked: Request, source: ModelSource | None) -> str:
    """Return where the model's config is from, and which GPUs a place lends that was named."""
    named = f"{asked.gpu} {asked.gpus}".lower()
    notes = [source.note] if source else []
    notes += [note for place, note in LENT.items() if place in named]
    return "\n\n".join(map(text.wrapped, notes))


def _reader() -> ModuleType:
    """Return what reads trainers' files: imported where one is given, for most plans have none."""
    return import_module("unfrozen.frameworks.reading")


def _read_file(asked: Request, cluster: Mapping[str, Any]) -> Any:
    """Return the job of a file or of a typed command, and how it was read."""
    reader = _reader()
    name = asked.job if isinstance(asked.job, str) else "job.json"
    if not asked.text and Path(name).is_dir():
        logged = Path(name, "events.jsonl")
        name = str(logged if logged.is_file() else Path(name, "config.json"))
    folder = Path(name).parent

    def beside(path: str) -> str | None:
        """Return a file that another names: relative to it, or to where the command is typed."""
        places = () if asked.text else (folder / path, Path(path))
        found = next((each for each in places if each.is_file()), None)
        return None if found is None else _read_text(str(found), "job", reader.LARGEST_FILE)

    if asked.typed and asked.job is not None:
        raise PlanError("--", asked.job, "a file and a command are two jobs", "drop one")
    gpus = cluster.get("gpus") if type(cluster.get("gpus")) is int else None
    if gpus is None and (typed := asked.gpus or asked.gpu) and not isinstance(typed, Mapping):
        gpus = counted(str(typed))[0]
    if asked.typed:
        return reader.read_typed(list(asked.typed), beside, gpus)
    if not asked.text and name.endswith((".gguf", ".safetensors")):
        headers = import_module("unfrozen.frameworks.headers")
        head = _read_bytes(name, headers.LARGEST_HEADER, _read_head)
        return reader.read_weights(name, head, beside)
    if name.endswith("events.jsonl"):
        log = b"" if asked.text else _read_bytes(name, LARGEST_CONFIG_BYTES, _read_head)
        return reader.read_run(name, asked.text or log.decode(errors="replace"))
    body = asked.text or _read_text(name, "job", reader.LARGEST_FILE)
    return reader.read_job(name, body, beside, gpus)


def _changed(job: object, changes: Mapping[str, Any], parts: Mapping[str, Any]) -> object:
    if not isinstance(job, Mapping) or not (changes or parts):
        return job
    merged = {**job, **changes}
    for name, part in parts.items():
        old = merged.get(name) or {}
        merged[name] = {**old, **part} if isinstance(old, Mapping) else old
    return merged


def _read_head(path: str, most: int) -> bytes:
    """Return the first bytes of a file, or of what a link names: a hub's cache has links."""
    return read_plain(Path(path).resolve(), most)


def _read_bytes(
    path: str, most: int, read: Callable[[str, int], bytes] = read_named, key: str = "job"
) -> bytes:
    """Return what `read` does of a file, or of stdin. Raises PlanError."""
    try:
        return read(path, most)
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise PlanError(key, path, f"the file cannot be read ({reason})", "check it") from None


def _read_text(path: str, key: str, most: int) -> str:
    """Return a file's text, or that of stdin; no file of more bytes than `most` is read."""
    try:
        return _read_bytes(path, most, key=key).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PlanError(key, path, "this is not text in UTF-8", "check it") from None


def _read_config(path: str) -> object:
    text = _read_text(path, "model", LARGEST_CONFIG_BYTES)
    try:
        return strict_json(text, of_model=True)
    except ValueError as error:
        raise PlanError("model", path, f"this is not JSON ({error})", "correct the file") from None


def _object(given: str | Mapping[str, Any], key: str) -> Mapping[str, Any]:
    if isinstance(given, Mapping):
        return given
    try:
        value = strict_json(given)
    except ValueError as error:
        raise PlanError(key, given, f"this is not JSON ({error})", "correct it") from None
    if not isinstance(value, dict):
        raise PlanError(key, given, "it must be an object", "for example '{\"gpus\": 8}'")
    return value


def _model(name: str | Mapping[str, Any]) -> object:
    if not isinstance(name, str):
        return name
    if Path(name, "config.json").is_file():
        return _read_config(str(Path(name, "config.json")))
    if name.endswith(".json") or Path(name).is_file():
        return _read_config(name)
    if Path(name).is_dir():
        raise PlanError("model", name, "this folder has no config.json", "download it into it")
    with contextlib.suppress(PlanError):
        return catalogue.find(name).config
    return name


# --- one plan -----------------------------------------------------------------------------------
def _project(
    asked: Request, given: object, read: ReadLengths, sources: Sequence[ModelSource | None]
) -> PlannedProject:
    """Return the one plan. Raises PlanError, also for contradictory options."""
    if not isinstance(given, Mapping):
        raise PlanError("job", "a list", "one plan is for one job", "give one")
    reason = next(f"--{name}" for name in _OF_PROJECT if getattr(asked, name) is not None)
    for name in _OF_JOB:
        if getattr(asked, name) not in (None, False):
            option = f"--{name.replace('_', '-')}"
            raise PlanError(option, getattr(asked, name), f"{reason} asks for one plan", "drop one")
    if asked.budget is not None and asked.gpus is not None:
        bound = f"--budget {asked.budget:g} chooses how many GPUs"
        raise PlanError("--gpus", asked.gpus, bound, "drop one")
    check_open(given)
    job, gpus = with_gpus(given, None if asked.gpus is None else str(asked.gpus))
    if asked.budget is None and job.get("gpu") is None:
        bound = "nothing says which GPUs there are, or what they may cost"
        raise PlanError("gpus", "nothing", bound, "for example --gpus 8xH100, or --budget 200")
    model = asked.model if isinstance(asked.model, str) else None
    data = _data(asked, model, read)
    found = question(
        *(job, gpus, data),
        sequences=asked.sequences,
        framework=asked.run_by or "",
        price=asked.price,
        names=(_hub_id(model), asked.data if asked.data and data and data.lengths else _ROWS),
    )
    with _uncollected():
        budget = asked.budget
        steps = find(found) if budget is None else rent(budget, found, found.job.gpu)
        return PlannedProject(asked, given, Work(steps).finish(), sources[0])


_CHOICES: Final = (
    *("Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-4B", "Qwen/Qwen3-8B", "Qwen/Qwen3-14B"),
    *("Qwen/Qwen3-32B", "meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.3-70B-Instruct"),
    *("google/gemma-3-270m", "openai/gpt-oss-20b", "mistralai/Mistral-Small-24B-Base-2501"),
)
"""The models that are tried where none is named: a size of each common kind, in 2026."""


def _choose(asked: Request, read: ReadLengths) -> ModelChoice:
    """Return the models that can be trained. Raises PlanError where there is none."""
    found, refused = list[tuple[str, PlannedRun]](), list[PlanError]()
    lengths = cache(lambda source: read(source, _CHOICES[0]))
    for name in _CHOICES:
        one = replace(asked, model=name)
        try:
            loaded, given, _, sources = load_jobs(one)
            plan = _project(loaded, given, lambda source, _: lengths(source), sources).found
        except PlanError as error:
            refused.append(error)
            continue
        if run := plan.first or next(iter(plan.adapters), None):
            found.append((name, run))
    if not found:
        bound = f"none of {len(_CHOICES)} models can be trained on them"
        raise refused[0] if refused else PlanError("gpus", asked.gpus, bound, "name more GPUs")
    found.sort(
        key=lambda one: (one[1].job.recipe.method != "full", -one[1].job.model.num_parameters)
    )
    return ModelChoice(found)


_ROWS: Final = "FILE.jsonl"


def _data(asked: Request, model: str | None, read: ReadLengths) -> Data | None:
    if asked.data is None:
        if asked.epochs is not None:
            raise PlanError("epochs", asked.epochs, "there are no rows to see", "give --data")
        return None
    typed = None if Path(asked.data).is_file() else read_numbers(asked.data)
    if typed is None:
        lengths, source = read(asked.data, _hub_id(model))
        return Data.of(lengths, 1 if asked.epochs is None else asked.epochs, source)
    if asked.epochs is not None:
        bound = f"--data {asked.data} says {typed.epochs:g}"
        raise PlanError("epochs", asked.epochs, bound, "name one of them")
    return typed


def _hub_id(model: str | None) -> str:
    """Return the name of a model for a command: its folder, or its id on the hub."""
    if model is None or Path(model).is_file():
        return "MODEL"
    return model if Path(model).is_dir() else loaded_name(model) or "MODEL"


def _estimated_lengths(name: str, _: str) -> tuple[list[int], str]:
    try:
        found = read_named(name, MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or "unreadable"
        remedy = 'give a file, a part of it, or "rows x epochs x tokens of a row"'
        raise PlanError("data", name, f"the file cannot be read ({reason})", remedy) from None
    except UnicodeDecodeError:
        remedy = "give lines of JSON or CSV in UTF-8; `unfrozen plan` reads Parquet and gzip too"
        raise PlanError("data", name, "this is not text in UTF-8", remedy) from None
    return row_lengths(name, found), ESTIMATED


def _compared(given: object, names: str) -> list[tuple[str, Plan]]:
    """Return a plan for each entry of `--compare`: a sharding, or key=value of a part."""
    found = []
    for entry in filter(None, (part.strip() for part in names.split(","))):
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
        found.append((entry, plan_of(_changed(given, changes, parts))))
    if not found:
        raise PlanError("compare", names, "there is nothing to compare", "name zero1,zero2,zero3")
    return found


def _value(entry: str) -> object:
    """Return a value parsed as JSON, or as text where it is no JSON."""
    try:
        return strict_json(entry)
    except ValueError:
        return entry
