"""What the page may change: ask a run for something, start one by the name of its recipe.

    GET  /api/control               whether it may, the recipes, and how the last start went
    POST /api/runs/ID/control       {"command": "pause" | "resume" | "checkpoint" |
                                    "evaluate" | "stop"};
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
import errno
import time
from pathlib import Path
from typing import Any, Final, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpu_runner.errors import RunnerError
from gpu_runner.log import mailbox
from gpu_runner.log.runs import CONFIG_NAME, RunIndex, describe, processes_of, read_told
from gpu_runner.plain import read_plain
from gpu_runner.serve import body
from gpu_runner.serve.launch import Busy, Launcher, TooLate
from gpu_runner.serve.recipes import RecipeIndex
from unfrozen.events import LIVE_STATUSES, RESUMABLE_STATUSES

T = TypeVar("T", bound=str)
BODY_SECONDS: Final = 2.0
MOST_NAMED: Final = 20


class CommandRefused(Exception):
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
            command = _one_of(mailbox.COMMANDS, await _object(request, body.COMMAND), "command")
            done = await run_in_threadpool(self._tell, request.path_params["run_id"], command)
        except (CommandRefused, RunnerError, OSError) as error:
            return _refusal(error)
        return JSONResponse(done, 202)

    def _tell(self, run_id: str, command: mailbox.Command) -> dict[str, Any]:
        """Put the command into the mailbox of a run that goes on, or start one that does not."""
        if (log := self._index.log(run_id)) is None:
            raise CommandRefused(404, f"there is no run {run_id!r} here")
        told, info = read_told(log), describe(run_id, log, time.time())
        if told == "" and self._launcher.is_of(run_id):  # it has not written its first line
            return {"seq": mailbox.post(log.parent, run_id, 0, command).seq}
        status = info.status if info else "empty"
        if isinstance(told, str) or status not in (*LIVE_STATUSES, *RESUMABLE_STATUSES):
            raise CommandRefused(409, f"run {run_id} is {status}: nobody is there to {command} it")
        if command == "resume" and status in RESUMABLE_STATUSES and _is_ours(log):
            return {"seq": None, "started": self._again(log)}
        if status not in LIVE_STATUSES:
            raise CommandRefused(409, f"run {run_id} is {status}: nobody is there to {command} it")
        return {"seq": mailbox.post(log.parent, run_id, told.attempt, command).seq}

    def _again(self, log: Path) -> dict[str, Any]:
        if (processes := processes_of(log)) > 1:
            raise CommandRefused(
                409,
                f"run {log.parent.name} was trained by {processes} processes, and one is started"
                f" from here: go on with torchrun --nproc-per-node {processes} -m gpu_runner"
                " resume",
            )
        return self._launcher.resume(log.parent)

    async def _start(self, request: Request) -> Response:
        try:
            asked = await _object(request, body.START)
            recipes = await run_in_threadpool(self._recipes.all)
            recipe = recipes[_one_of(tuple(recipes), asked, "recipe")]
            state = await run_in_threadpool(self._launcher.start, recipe, asked["numbers"])
        except (CommandRefused, RunnerError, OSError) as error:
            return _refusal(error)
        return JSONResponse({"started": state}, 202)

    async def _cancel(self, request: Request) -> Response:
        try:
            asked = await _object(request, body.CANCEL)
            await run_in_threadpool(self._launcher.cancel, asked["name"])
        except (CommandRefused, RunnerError, OSError) as error:
            return _refusal(error)
        return JSONResponse({"started": None})


def _refusal(error: CommandRefused | RunnerError | OSError) -> Response:
    """Why a command is not carried out, in one sentence."""
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        text = f"the folder of runs refuses it ({error.strerror})"
        return JSONResponse({"error": text}, 507 if full else 409)
    status = 422
    if isinstance(error, Busy | TooLate):
        status = 409
    elif isinstance(error, CommandRefused):
        status = error.status
    return JSONResponse({"error": str(error)}, status)


async def no_control(_: Request) -> Response:
    """What `GET /api/control` says where nothing may be changed."""
    return JSONResponse({"allowed": False})


def _is_ours(log: Path) -> bool:
    """Whether the run is one of `train`, which can go on with it."""
    try:
        read_plain(log.parent / CONFIG_NAME, 1)
    except OSError:
        return False
    return True


async def _object(request: Request, fields: body.Fields) -> dict[str, Any]:
    """The JSON object in the body, with these fields. Raises `CommandRefused`.

    The guard has seen to it that the body is short and says how long it is.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            data = await request.body()
    except TimeoutError:
        raise CommandRefused(408, f"the body did not come within {BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise CommandRefused(400, "the body did not come to its end") from None
    try:
        return body.parsed(fields, data)
    except ValueError as error:
        raise CommandRefused(400, str(error)) from None


def _one_of(known: tuple[T, ...], data: dict[str, Any], name: str) -> T:
    """The value under `name`, which must be one of `known`."""
    for value in known:
        if value == data[name]:
            return value
    there = ", ".join(known[:MOST_NAMED]) + (", …" if len(known) > MOST_NAMED else "")
    raise CommandRefused(404, f"{name} {data[name][:40]!r} is unknown: there are {there}")
