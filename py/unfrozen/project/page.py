"""The one plan in the page, a few plans at a time; a file of data as three numbers, and those of a
trainer as a state.

A turn ends before a slider would have to wait for it: the worker answers other questions between
two of them. The search that is under way is kept; another question begins another.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from unfrozen.errors import InputError, PlanError
from unfrozen.frameworks.reading import Reading, read_job, read_weights, reading_text
from unfrozen.frameworks.registry import FRAMEWORKS
from unfrozen.job import Job
from unfrozen.job.cluster import CLUSTER_SETTINGS, Cluster
from unfrozen.job.lora import LORA_SETTINGS
from unfrozen.job.recipe import RECIPE_SETTINGS, Recipe
from unfrozen.model.names import loaded_name, named_model
from unfrozen.plan.layouts import LAID_OUT
from unfrozen.plan.step_time import job_gpu
from unfrozen.planner.controls import as_problem
from unfrozen.planner.state import (
    PAGE,
    PlanRequest,
    State,
    as_text,
    job_json,
    model_name,
    read_request,
    read_state,
    recipe_json,
    state_of_read,
    text_of,
)
from unfrozen.planner.state import read_job as job_of
from unfrozen.planner.state import state_of as planned_state
from unfrozen.project.best import PlannedRun, Work, find
from unfrozen.project.budget import rent
from unfrozen.project.questions import question
from unfrozen.project.text import (
    data_words,
    facts,
    layout_words,
    method_words,
    nothing_words,
    other_words,
    remarks,
)
from unfrozen.training_data import ESTIMATED, Data, row_lengths
from unfrozen.units import format_count, format_duration, format_size

__all__ = ["open_files", "plan", "read_file", "read_hub"]

TURN: Final = 3
"""Looks at a cluster or a plan in a turn: a few milliseconds."""


@dataclass
class _Current:
    """The search in progress, its state, who shall run it, and its request."""

    asked: tuple[State, str] | None = None
    search: Work | None = None


_CURRENT: Final = _Current()


def plan(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a search: `done`, and at the end the plan and what else it could be.

    Never raises: what cannot be searched comes back as `problem`.
    """
    state: State = {}
    try:
        state = read_state(given.get("state") or {})
        framework = str(given.get("framework") or "")
        request = read_request(state)
        search = _search(request, framework)
        for _ in islice(iter(search.advance, False), TURN):
            pass
        return _found(search, request, framework) | {"problem": None}
    except InputError as error:
        _CURRENT.search = None
        return {"done": True, "rows": [], "problem": as_problem(error, state)}


def read_file(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file of data, `name` and `text`, as the text of a control, or its problem."""
    try:
        lengths = row_lengths(str(given.get("name")), str(given.get("text")))
        found = Data.of(lengths, 1, ESTIMATED)
    except PlanError as error:
        return {"tokens": "", "problem": f"{error.value}: {error.bound}. {error.remedy}."}
    return {"tokens": found.numbers, "problem": ""}


def open_files(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a trainer's file, and how it was read, or its problem.

    `given` has the `state` that the page shows, and `files`: each one's `name` and its `text`, or
    its first `bytes` in base64. Of several the one is read that no other names, the rest beside it.
    """
    try:
        files = {str(one["name"]).rpartition("/")[2]: one for one in given["files"]}
        found = _reading(files)
        state = read_state(given.get("state") or {})
        if found.read is not None:
            text = reading_text(found.read, "set their number here")
            return {"state": state_of_read(found.job, state), "text": text, "problem": ""}
        if not isinstance(found.job, Mapping):
            name = next(iter(files)) or "this text"
            raise PlanError("job", name, "it holds several jobs", "open a file of one")
        job = {"gpu": text_of(state, "gpu")} | {**found.job}
        return {"state": planned_state(job), "text": "Read as a job of ours.", "problem": ""}
    except PlanError as error:
        text = f"{error.value}: {error.bound}; {error.remedy}" if error.key == "job" else str(error)
        return {"state": None, "text": "", "problem": f"{text}."}


def read_hub(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state whose model the hub's answer is, and how it was read, or its problem.

    `given` has the `state` that the page shows, and of the answer `status`, `headers` and `text`,
    or why there is none as `failed`.
    """

    def ask(name: str) -> tuple[dict[str, Any], str, str]:
        if "failed" in given:
            raise PAGE.unreached(str(given["failed"]))
        headers, body = given["headers"], given["text"].encode()
        revision = headers.get("x-repo-commit", "")
        return PAGE.read(name, given["status"], headers, body), revision, ""

    try:
        state = read_state(given["state"])
        config, source = named_model(model_name(state), ask)
        if source and source.origin == "hub":
            state |= {"config": json.dumps(config)}
        return {"state": state, "text": source.note if source else "", "problem": ""}
    except PlanError as error:
        return {"state": None, "text": "", "problem": f"{error.bound}; {error.remedy}."}


def _reading(files: Mapping[str, Mapping[str, Any]]) -> Reading:
    texts = {name: str(one["text"]) for name, one in files.items() if "text" in one}
    weights = next((name for name in files if name not in texts), None)

    def beside(path: str) -> str | None:
        return texts.get(path.rpartition("/")[2])

    if weights is not None:
        return read_weights(weights, base64.b64decode(files[weights]["bytes"]), beside)
    named = (name for name in texts if any(name in text for text in texts.values()) and name)
    main = next(iter(texts.keys() - {*named}), next(iter(texts)))
    return read_job(main, texts[main], beside)


def _search(request: PlanRequest, framework: str) -> Work:
    state, asked = request.state, (request.state, framework)
    if request.job.gpu is None and request.budget is None:
        raise PlanError("gpu", "nothing", "a plan is for some GPUs", "choose one, or give a budget")
    if _CURRENT.search is None or _CURRENT.asked != asked:
        given = job_json(state)
        recipe = recipe_json(state)
        given["recipe"] = {key: recipe[key] for key in recipe if key in state or key == "lora"}
        data = request.data
        if data is None:
            length = request.job.recipe.seq_len
            data = Data(-(-request.tokens // length), 1, length, length)
        found = question(
            *(given, request.job.cluster.gpus, data),
            framework=framework,
            price=request.price,
            names=(loaded_name(model_name(state)) or "MODEL", "FILE.jsonl"),
        )
        gpu = request.job.gpu if request.price is not None else None
        steps = find(found) if request.budget is None else rent(request.budget, found, gpu)
        _CURRENT.search, _CURRENT.asked = Work(steps), asked
    return _CURRENT.search


def _found(search: Work, request: PlanRequest, framework: str) -> dict[str, Any]:
    by = [{"value": "", "label": "any framework"}, *_OPTIONS]
    shown: dict[str, Any] = {"by": by, "framework": framework, "text": "", "none": "", "rows": []}
    answer = search.answer
    if answer is None:
        return shown | {"done": False}
    project = answer.question
    shown["text"] = f"{format_count(request.tokens)} tokens"
    if request.data is not None:
        length = project.job.recipe.seq_len
        shown["text"] = data_words(request.data, length, packed=project.packs)
    first = answer.first
    if first is None:
        shown["none"] = " ".join(nothing_words(answer))
    return shown | {
        "done": True,
        "first": first and _first(first, request),
        "rows": [_row(one, remark, request) for one, remark in remarks(answer)],
    }


_OPTIONS: Final = [{"value": name, "label": one.label} for name, one in FRAMEWORKS.items()]


def _first(choice: PlannedRun, request: PlanRequest) -> dict[str, Any]:
    label = FRAMEWORKS[choice.framework].label if choice.framework else ""
    return {
        "title": layout_words(choice.job),
        "method": method_words(choice.job),
        "facts": [{"label": name, "text": text} for name, text in facts(choice)],
        "by": label,
        "command": choice.command,
        "state": state_of(choice.job, request.state),
    }


def _row(choice: PlannedRun, remark: str, request: PlanRequest) -> dict[str, Any]:
    run, cost = choice.run, choice.cost
    return {
        "label": other_words(choice),
        "note": remark,
        "memory": format_size(choice.plan.device_bytes, request.unit),
        "time": format_duration(run.seconds) if run else "",
        "cost": "" if cost is None else f"{cost:,.2f}",
        "state": state_of(choice.job, request.state),
    }


def state_of(wanted: Job, state: State) -> State:
    """Return the state whose job is `wanted`, which differs by method, recipe, GPUs and layout."""
    plain = Cluster()
    texts = {
        key: ""
        if getattr(wanted.cluster, key) == getattr(plain, key)
        else as_text(getattr(wanted.cluster, key))
        for key in LAID_OUT
    }
    texts |= {"gpu": job_gpu(wanted).name, "seq_len": str(wanted.recipe.seq_len)}
    texts["method"] = wanted.recipe.method
    found = read_state({**state, **texts})
    recipe = Recipe.read(recipe_json(found))
    found = read_state({**found, **_differences(recipe, wanted.recipe, RECIPE_SETTINGS)})
    if wanted.recipe.lora is not None:
        own = job_of(found).recipe.lora
        lora = {one.key: one.name for one in LORA_SETTINGS.values()}
        found = read_state(
            {**found}
            | {
                key: as_text(getattr(wanted.recipe.lora, name))
                for key, name in lora.items()
                if getattr(own, name, None) != getattr(wanted.recipe.lora, name)
            }
        )
    rest = _differences(job_of(found).cluster, wanted.cluster, CLUSTER_SETTINGS)
    return read_state({**found, **rest})


def _differences(found: Recipe | Cluster, wanted: Recipe | Cluster, keys: Iterable[str]) -> State:
    """Return the keys whose values differ between two parts of a job, with the wanted values."""
    return {
        key: as_text(getattr(wanted, key))
        for key in keys
        if getattr(found, key) != getattr(wanted, key)
    }
