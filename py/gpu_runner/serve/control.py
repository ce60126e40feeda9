"""The list of runs, and what the page may change of them.

    GET  /api/runs                  every run, the newest first
    GET  /api/runs?after=VERSION    what has changed since that answer
    GET  /api/control               whether it may, and how the last launch went
    POST /api/runs/ID/control       {"command": "pause" | "resume" | "checkpoint" |
                                    "evaluate" | "stop" | "blend" | "cancel"};
                                    resume also launches a run again that was stopped
                                    or killed, failed or ran out of memory; blend launches that,
                                    for a run that does not train; cancel ends a launch that
                                    still loads
    POST /api/runs/ID/ask           {"prompt": TEXT, "tokens": 64, "temperature": 0, "seed": 0}:
                                    a run that trains answers in its log, of another the answer
                                    is the model's before and after

The guard has refused whoever is not our page with the token, and these POSTs unless the server was
started with `--allow-control`. What is left to do here: an object with known keys of known types,
ids and names looked up among those that exist. Nothing a client sends becomes part of a path, a
module or a shell's command line.

JSON libraries differ in what they accept, and what is accepted here becomes a command. So there is
one spelling only: UTF-8 without a byte order mark, no key twice, no NaN, no half of a surrogate
pair, nothing deep; and exactly the fields of the command, by its shape.
"""

from __future__ import annotations

import asyncio
import errno
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpu_runner.errors import RunnerError
from gpu_runner.log import commands
from gpu_runner.log.questions import ASKED, Question, post_question
from gpu_runner.log.runs import CONFIG_NAME, RunIndex, describe, processes_of, read_summary
from gpu_runner.serve.asker import Asker
from gpu_runner.serve.guard import MAX_BODY_BYTES
from gpu_runner.serve.launch import BLEND, Launcher, NotNow
from gpu_runner.serve.pools import COMMANDS, GONE, LISTS, MOST_QUESTIONS, QUESTIONS
from unfrozen.events import LIVE_STATUSES, RESUMABLE_STATUSES
from unfrozen.plain import read_plain
from unfrozen.schema.check import check, read
from unfrozen.schema.shapes import Shape, record, string

_TEXT: Final = string(MAX_BODY_BYTES)
COMMAND: Final = record({"command": _TEXT}, ("command",), closed=True)
CANCEL: Final = "cancel"


def parse_body(shape: Shape, body: bytes) -> dict[str, Any]:
    """Return the object in `body`, which has this shape. Raises `ValueError` for anything else."""
    found = read(body, MAX_BODY_BYTES, "the body")
    if found.problem:
        names = ", ".join(shape["properties"])
        raise ValueError(f"{found.problem}: send one JSON object with {names}")
    json.loads(body, object_pairs_hook=_once)
    if problem := check(shape, found.value, "the body").problem:
        raise ValueError(problem)
    data: dict[str, Any] = found.value
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as an object. Raises `ValueError` for a key that comes twice."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("the body has a key twice")
    return dict(pairs)


Later = Callable[[Request], Awaitable[dict[str, Any]]]
"""A function that waits for an answer, without a thread."""
BODY_SECONDS: Final = 2.0


class CommandRefused(Exception):
    """A command is refused: an HTTP status, and a sentence for the person who sent it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ControlRoutes:
    """The routes above, over the runs of one server."""

    def __init__(self, index: RunIndex, launcher: Launcher, asker: Asker) -> None:
        self._asker = asker
        self._questions = Counter[Path]()
        self._index = index
        self._launcher = launcher

    def routes(self) -> list[Route]:
        """Return the routes, to be placed before those that only read."""
        return [
            Route("/api/control", self._state),
            _post("/api/runs/{run_id}/control", COMMAND, self._command),
            _post("/api/runs/{run_id}/ask", ASKED, self._ask),
        ]

    def _state(self, _: Request) -> Response:  # not async: starlette gives it a thread
        return JSONResponse({"allowed": True, "started": self._launcher.state()})

    def _command(self, data: dict[str, Any], run_id: str) -> dict[str, Any]:
        if data["command"] == BLEND:
            return self._blend(run_id)
        if data["command"] == CANCEL:
            self._launcher.cancel(run_id)
            return {"started": None}
        command = next((one for one in commands.COMMANDS if one == data["command"]), None)
        if command is None:
            there = f"there are {', '.join(commands.COMMANDS)}"
            raise CommandRefused(404, f"command {data['command'][:40]!r} is unknown: {there}")
        return self._send(run_id, command)

    def _send(self, run_id: str, command: commands.Command) -> dict[str, Any]:
        """Post the command to a run that is live, or launch one again that is not."""
        log = _log(self._index, run_id)
        found, info = read_summary(log), describe(run_id, log, time.time())
        status = info.status if info else "empty"
        if command == "resume" and status in RESUMABLE_STATUSES and _is_ours(log):
            return {"seq": None, "started": self._again(log)}
        if isinstance(found, str) or status not in LIVE_STATUSES:
            raise CommandRefused(409, f"run {run_id} is {status}: it cannot {command}")
        return {"seq": commands.post_command(log.parent, run_id, found.attempt, command).seq}

    def _blend(self, run_id: str) -> dict[str, Any]:
        """Launch `blend` for a run that does not train."""
        log = _log(self._index, run_id)
        info = describe(run_id, log, time.time())
        if info is None or not _is_ours(log):
            raise CommandRefused(409, f"run {run_id} is no run of train: it cannot be blended")
        if info.status in LIVE_STATUSES:
            raise CommandRefused(409, f"run {run_id} is {info.status}: blend it when it has ended")
        return {"seq": None, "started": self._launcher.launch(log.parent, BLEND)}

    def _ask(self, data: dict[str, Any], run_id: str) -> dict[str, Any] | Later:
        """Return the number of the question where the run itself answers it, or what asks it."""
        log, question = _log(self._index, run_id), Question(**data)
        found, info = read_summary(log), describe(run_id, log, time.time())
        if isinstance(found, str) or info is None or not _is_ours(log):
            raise CommandRefused(409, f"run {run_id} is no run of train: it cannot be asked")
        if info.status in LIVE_STATUSES:
            return {"seq": post_question(log.parent, run_id, found.attempt, question).ask}
        return partial(self._answer, log.parent, question)

    async def _answer(self, run: Path, question: Question, request: Request) -> dict[str, Any]:
        """Return both answers of a run that has ended, when its turn comes."""
        if self._questions[run] >= MOST_QUESTIONS:
            waits = f"a question of run {run.name} waits already: ask when it is answered"
            raise CommandRefused(429, waits)
        self._questions[run] += 1
        try:
            return await QUESTIONS.run(request, self._asker.ask, run, question)
        finally:
            self._questions[run] -= 1

    def _again(self, log: Path) -> dict[str, Any]:
        if (processes := processes_of(log)) > 1:
            raise CommandRefused(
                409,
                f"run {log.parent.name} was trained by {processes} processes, and only one can be"
                f" launched from here: resume with torchrun --nproc-per-node {processes}"
                " -m gpu_runner resume",
            )
        return self._launcher.launch(log.parent, "resume")


def list_route(index: RunIndex) -> Route:
    """Return the route of the list, whole or what has changed."""

    def listed(request: Request) -> Response:
        if (after := request.query_params.get("after")) is not None:
            return JSONResponse(index.changes(after))
        return JSONResponse([info.as_json() for info in index.infos()])

    return Route("/api/runs", LISTS.answers(listed))


def _log(index: RunIndex, run_id: str) -> Path:
    if (log := index.log(run_id)) is None:
        raise CommandRefused(404, f"there is no run {run_id!r} here")
    return log


def _post(path: str, shape: Shape, act: Callable[..., dict[str, Any] | Later]) -> Route:
    """Return a route whose answer is what `act` returns for a body of this shape, in a thread.

    What the address names are its keywords. An answer with a `seq` or a `started` is 202: what was
    asked for goes on by itself.
    """

    async def answer(request: Request) -> Response:
        try:
            data = await _object(request, shape)
            done = await COMMANDS.run(request, partial(act, data, **request.path_params))
            done = done if isinstance(done, dict) else await done(request)
        except ClientDisconnect:
            return GONE
        except (CommandRefused, RunnerError, OSError) as error:
            return _refusal(error)
        return JSONResponse(done, 202 if "seq" in done or done.get("started") else 200)

    return Route(path, answer, methods=["POST"])


def _refusal(error: CommandRefused | RunnerError | OSError) -> Response:
    """Return why a command is refused, in one sentence."""
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        text = f"the folder of runs cannot be written ({error.strerror})"
        return JSONResponse({"error": text}, 507 if full else 409)
    status = 422
    if isinstance(error, NotNow):
        status = 409
    elif isinstance(error, CommandRefused):
        status = error.status
    return JSONResponse({"error": str(error)}, status)


async def no_control(_: Request) -> Response:
    """Answer `GET /api/control` where nothing may be changed."""
    return JSONResponse({"allowed": False})


def _is_ours(log: Path) -> bool:
    """Return whether the run is one of `train`, which can resume it."""
    try:
        read_plain(log.parent / CONFIG_NAME, 1)
    except OSError:
        return False
    return True


async def _object(request: Request, shape: Shape) -> dict[str, Any]:
    """Return the JSON object in the body, which has this shape. Raises `CommandRefused`.

    The guard has made sure that the body is short and gives its length.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            data = await request.body()
    except TimeoutError:
        raise CommandRefused(408, f"the body did not arrive within {BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise CommandRefused(400, "the body ended too early") from None
    try:
        return parse_body(shape, data)
    except ValueError as error:
        raise CommandRefused(400, str(error)) from None
