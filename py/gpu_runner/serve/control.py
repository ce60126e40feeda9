"""What the page may change: ask a run for something, start one by the name of its recipe.

    GET  /api/control               whether it may, the recipes, and how the last start went
    POST /api/runs/ID/control       {"command": "pause" | "resume" | "checkpoint" | "stop"};
                                    resume also starts a run again that was stopped or
                                    killed, failed or ran out of memory
    POST /api/start                 {"recipe": NAME, "numbers": {"steps": 200, …}}
    POST /api/start/cancel          {"name": NAME}, as long as what was started still loads

The guard has refused whoever is not our page with the token, and every POST unless the server was
started with `--allow-control`. What is left to do here: an object with known keys of known types,
ids and names looked up among those that exist. Nothing a client sends becomes part of a path, a
module or a shell's command line.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpu_runner.errors import RunnerError
from gpu_runner.log import mailbox
from gpu_runner.log.runs import RunIndex, describe, processes_of
from gpu_runner.log.tail import last_event
from gpu_runner.serve.launch import Busy, Launcher, TooLate
from gpu_runner.serve.recipes import RecipeIndex
from unfrozen.events import LIVE_STATUSES, RESUMABLE_STATUSES

T = TypeVar("T", bound=str)
CONFIG_NAME: Final = "config.json"  # a run of `train`, which it needs to go on
BODY_SECONDS: Final = 2.0


class Refused(Exception):
    """Why a command is not carried out: an HTTP status, and a sentence for the person who asks."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ControlRoutes:
    """The routes above, over the runs and the recipes of one server."""

    def __init__(self, index: RunIndex, recipes: RecipeIndex, launcher: Launcher) -> None:
        self._index = index
        self._recipes = recipes
        self._launcher = launcher

    def routes(self) -> list[Route]:
        """To be placed before the routes of what can be looked at."""
        return [
            Route("/api/control", self._state),
            Route("/api/runs/{run_id}/control", self._command, methods=["POST"]),
            Route("/api/start", self._start, methods=["POST"]),
            Route("/api/start/cancel", self._cancel, methods=["POST"]),
        ]

    async def _state(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._described))

    def _described(self) -> dict[str, Any]:
        recipes = [recipe.described() for recipe in self._recipes.all().values()]
        return {"allowed": True, "recipes": recipes, "started": self._launcher.state()}

    async def _command(self, request: Request) -> Response:
        try:
            command = _one_of(mailbox.COMMANDS, await _object(request, {"command": str}), "command")
            done = await run_in_threadpool(self._tell, request.path_params["run_id"], command)
        except (Refused, RunnerError, OSError) as error:
            return _refusal(error)
        return JSONResponse(done, 202)

    def _tell(self, run_id: str, command: mailbox.Command) -> dict[str, Any]:
        """Put the command into the mailbox of a run that goes on, or start one that does not."""
        if (log := self._index.log(run_id)) is None:
            raise Refused(404, f"there is no run {run_id!r} here")
        attempt, info = _attempt(log), describe(run_id, log, time.time())
        status = info.status if info else "empty"
        ours = (log.parent / CONFIG_NAME).is_file()
        if command == "resume" and status in RESUMABLE_STATUSES and ours:
            return {"seq": None, "started": self._again(log)}
        if attempt is None or status not in LIVE_STATUSES:
            raise Refused(409, f"run {run_id} is {status}: nobody is there to {command} it")
        return {"seq": mailbox.post(log.parent, run_id, attempt, command).seq}

    def _again(self, log: Path) -> dict[str, Any]:
        if (count := processes_of(log)) > 1:
            raise Refused(
                409,
                f"run {log.parent.name} was trained by {count} processes, and one is started from"
                f" here: go on with torchrun --nproc-per-node {count} -m gpu_runner resume",
            )
        return self._launcher.resume(log.parent)

    async def _start(self, request: Request) -> Response:
        try:
            asked = await _object(request, {"recipe": str, "numbers": dict})
            recipes = self._recipes.all()
            recipe = recipes[_one_of(tuple(recipes), asked, "recipe")]
            state = await run_in_threadpool(self._launcher.start, recipe, asked["numbers"])
        except (Refused, RunnerError, OSError) as error:
            return _refusal(error)
        return JSONResponse({"started": state}, 202)

    async def _cancel(self, request: Request) -> Response:
        try:
            asked = await _object(request, {"name": str})
            await run_in_threadpool(self._launcher.cancel, asked["name"])
        except (Refused, RunnerError, OSError) as error:
            return _refusal(error)
        return JSONResponse({"started": None})


def _refusal(error: Refused | RunnerError | OSError) -> Response:
    """Why a command is not carried out, in one sentence."""
    if isinstance(error, OSError):
        return JSONResponse({"error": f"the folder of runs refuses it ({error.strerror})"}, 507)
    status = 422
    if isinstance(error, Busy | TooLate):
        status = 409
    elif isinstance(error, Refused):
        status = error.status
    return JSONResponse({"error": str(error)}, status)


async def no_control(_: Request) -> Response:
    """What `GET /api/control` says where nothing may be changed."""
    return JSONResponse({"allowed": False})


def _attempt(log: Path) -> int | None:
    """Which attempt of the run writes its log now; None when the log does not say."""
    event = last_event(log)
    attempt = event["att"] if event else None
    return attempt if type(attempt) is int else None


async def _object(request: Request, shape: dict[str, type]) -> dict[str, Any]:
    """The JSON object in the body, with exactly these keys of these types. Raises `Refused`.

    The guard has seen to it that the body is short and says how long it is.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.body()
    except TimeoutError:
        raise Refused(408, f"the body did not come within {BODY_SECONDS:g} s") from None
    try:
        data = json.loads(body, parse_constant=_no_number, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not one JSON object with finite numbers") from None
    if not isinstance(data, dict) or data.keys() != shape.keys():
        raise Refused(400, f"the body must be an object with exactly {', '.join(shape)}")
    for name, kind in shape.items():
        if type(data[name]) is not kind:
            raise Refused(400, f"{name} must be {'text' if kind is str else 'an object'}")
    return data


def _one_of(known: tuple[T, ...], data: dict[str, Any], name: str) -> T:
    """The value under `name`, which must be one of `known`."""
    for value in known:
        if value == data[name]:
            return value
    raise Refused(404, f"{name} {data[name][:40]!r} is unknown: there are {', '.join(known)}")


def _no_number(word: str) -> NoReturn:
    raise ValueError(word)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no key comes twice."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)
