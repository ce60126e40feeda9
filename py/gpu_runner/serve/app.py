"""One loopback origin for the page and the runs: static files, the list of runs, their events.

Nothing here imports torch: the server starts in a fraction of a second and outlives the trainer.

    GET /…                     the built site, from a table made when the server starts
    GET /api/runs              every run, the newest first; with ?after=VERSION what has changed
    GET /api/setup             whether PyTorch is still being installed, and since when
    GET /api/runs/ID/events    its log as server-sent events; `id` is the byte offset after the line
    GET /api/runs/ID/outline   lines of it: few of its metrics, evenly spread, for a first look
    …                          and what `control` adds: commands, where they are allowed
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import secrets
import socket
import sys
import webbrowser
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from threading import Thread
from typing import Final

import psutil
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpu_runner.address import Address, published
from gpu_runner.errors import ExitCode, RunnerError, UsageError
from gpu_runner.installed import package, program, runs_folder, short, training_setup
from gpu_runner.log.runs import RunIndex, file_sign
from gpu_runner.log.tail import outline
from gpu_runner.log.writer import SystemClock
from gpu_runner.serve.asker import Asker
from gpu_runner.serve.connections import HOLDERS, STRANGERS, Door, RepeatFilter
from gpu_runner.serve.control import ControlRoutes, list_route, no_control
from gpu_runner.serve.guard import Guard, own_hosts
from gpu_runner.serve.launch import Launcher
from gpu_runner.serve.pools import GONE, LISTS, OUTLINES
from gpu_runner.serve.site import SiteTable
from gpu_runner.serve.stream import EventStreams, StreamError
from gpu_runner.text import printable

DEFAULT_PORT: Final = 8765
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
GOODBYE_SECONDS: Final = 0.2
TOKEN_ENV: Final = "UNFROZEN_TOKEN"


class PortInUse(RunnerError):
    """Another process listens on the port."""

    exit_code = ExitCode.PORT


def make_app(
    *,
    runs: Path,
    site: Path,
    token: str,
    hosts: frozenset[str],
    streams: EventStreams,
    door: Door,
    control: bool = False,
) -> Guard:
    """Return the whole server as an ASGI application, its guard outermost.

    With `control`, commands can be sent to runs, and those that ended be resumed and blended.
    """
    index = RunIndex(runs, SystemClock())
    Thread(target=index.read_ahead, daemon=True).start()  # before anybody asks
    own = "" if runs == runs_folder() else short(runs)
    table = SiteTable(site, package=package(), program=program(), runs=own)

    async def events(request: Request) -> Response:
        run_id: str = request.path_params["run_id"]
        try:
            if (log := await LISTS.run(request, index.log, run_id)) is None:
                raise StreamError(404, await LISTS.run(request, _absent, index, run_id))
            return await streams.open(log, _wanted_offset(request))
        except ClientDisconnect:
            return GONE
        except StreamError as error:
            return JSONResponse({"error": str(error)}, error.status)
        except OSError as error:
            text = f"run {run_id!r} cannot be read ({error.strerror})"
            return JSONResponse({"error": text}, 404)

    async def static(request: Request) -> Response:
        return table.answer(request)

    controls = [Route("/api/control", no_control)]
    if control:
        launcher, asker = Launcher(runs, index, (TOKEN_ENV,)), Asker((TOKEN_ENV,))
        controls = ControlRoutes(index, launcher, asker).routes()
    routed = Starlette(
        routes=[
            *controls,
            list_route(index),
            Route("/api/setup", _setup),
            Route("/api/runs/{run_id}/events", events),
            Route("/api/runs/{run_id}/outline", OUTLINES.answers(partial(_outline, index))),
            Route("/{path:path}", static),
        ]
    )
    routed.router.redirect_slashes = False
    return Guard(routed, token=token, hosts=hosts, control=control, let_in=door.let_in)


def _setup(_: Request) -> Response:
    going_on = training_setup()
    return JSONResponse({"installing": going_on and asdict(going_on)})


def run_server(
    *,
    runs: Path,
    site: Path,
    port: int = DEFAULT_PORT,
    host: str = "127.0.0.1",
    open_page: bool,
    plan: str | None = None,
    allow_control: bool = False,
) -> int:
    """Serve until Ctrl-C or SIGTERM (which ends the process once the streams are closed).

    Prints the address and the token once connections are accepted: of the article, or of the
    planner with the query of a `plan`. Returns the exit code of a clean end. Raises `PortInUse`, or
    `UsageError` for an address, a token or runs that cannot be served.
    """
    if runs.exists() and not runs.is_dir():
        raise UsageError(f"--runs {runs} is a file: give the directory of the runs.")
    token = _token()
    if allow_control:
        _announce_control(host)
    print(f"Runs are read from {printable(str(short(runs)))}.")
    with _listen(host, port) as listener:
        bound_port: int = listener.getsockname()[1]
        streams, door = EventStreams(), Door()
        hosts = own_hosts(host, bound_port)
        app = make_app(
            runs=runs,
            site=site,
            token=token,
            hosts=hosts,
            streams=streams,
            door=door,
            control=allow_control,
        )
        name = f"[{host}]" if ":" in host else host
        address = Address(f"http://{name}:{bound_port}", token, os.getpid())
        shown = address.front() if plan is None else address.plan(plan)
        with published(runs, address):
            _Server(app, streams, door, shown, open_page).run([listener])
    return 0


class _Server(uvicorn.Server):
    """uvicorn that prints its address when it is ready, and ends open streams at shutdown."""

    def __init__(
        self, app: Guard, streams: EventStreams, door: Door, address: str, open_page: bool
    ) -> None:
        config = uvicorn.Config(
            app,
            http=door.protocol(),
            ws="none",
            lifespan="off",
            log_level="warning",
            server_header=False,
            backlog=STRANGERS,  # so many come at once, before any of those in excess has gone
            limit_concurrency=2 * STRANGERS + HOLDERS,
            h11_max_incomplete_event_size=32 * 1024,
            timeout_graceful_shutdown=1,
        )
        logging.getLogger("uvicorn.error").addFilter(RepeatFilter())
        super().__init__(config)
        self._streams = streams
        self._address = address
        self._open_page = open_page

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"Unfrozen is at  {self._address}", flush=True)
        if self._open_page:
            webbrowser.open(self._address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._streams.close()
        await asyncio.sleep(GOODBYE_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # idle, or a client that does not read
        await super().shutdown(sockets)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        except KeyboardInterrupt:  # uvicorn raises the signal again after its clean end
            return


def _outline(index: RunIndex, request: Request) -> Response:
    """Answer with the outline of a run."""
    run_id: str = request.path_params["run_id"]
    try:
        if (log := index.log(run_id)) is None:
            return JSONResponse({"error": _absent(index, run_id)}, 404)
        return Response(_outlined(log, file_sign(log)), media_type="application/jsonl")
    except OSError as error:
        return JSONResponse({"error": f"run {run_id!r} cannot be read ({error.strerror})"}, 404)


@lru_cache(maxsize=16)
def _outlined(log: Path, _: object) -> bytes:
    """Return the outline of a log, made once as long as the file is the same."""
    return outline(log)


def _absent(index: RunIndex, run_id: str) -> str:
    """Return why there is no log of that id."""
    problem = index.problem(run_id)
    return f"run {run_id!r}: {problem}" if problem else f"there is no run {run_id!r} here"


def _wanted_offset(request: Request) -> int:
    """Return the byte offset to continue at: `?after`, else `Last-Event-ID`, else 0."""
    text = request.query_params.get("after", request.headers.get("last-event-id", "0"))
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise StreamError(400, f"after={text[:40]!r} is not a byte offset: use the id of an event")
    return int(text)


def _token() -> str:
    """Return 128 random bits in hex, or the environment's token, which survives a restart."""
    given = os.environ.get(TOKEN_ENV)
    if given is None:
        return secrets.token_hex(16)
    if not re.fullmatch(r"[0-9a-f]{32,128}", given):
        reason = (
            f"{TOKEN_ENV} must be 32 to 128 lower-case hex digits; it has {len(given)} characters."
        )
        raise UsageError(f"{reason} Unset it to get a fresh one.")
    return given


def _announce_control(host: str) -> None:
    """Print that the page may change runs. Raises `UsageError` for a host that others reach."""
    if host not in LOOPBACK:
        raise UsageError(
            f"--allow-control with --host {host}: anyone who reads that network could stop runs."
            " Drop one of them; an SSH tunnel (ssh -L) brings the page to another machine safely."
        )
    print("Control is on: anyone with the address below can pause, save, stop and resume runs.")


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket on one address, with a warning if it is not loopback."""
    if host in ("0.0.0.0", "::", ""):
        raise UsageError(f"--host {host!r} means every network: give the one address to serve on.")
    if not 0 <= port <= 65_535:
        raise UsageError(f"--port {port} is out of bounds: give a number from 0 (any) to 65535.")
    if host not in LOOPBACK:
        warning = f"Warning: {host} can be reached from other machines, without encryption."
        print(f"{warning} Anyone with the address below can read your runs.", file=sys.stderr)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is given.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(64)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _cannot_listen(host, port, error) from None
    return listener


def _cannot_listen(host: str, port: int, error: Exception) -> RunnerError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        used = f"port {port} is in use{_holder(port)}"
        return PortInUse(f"{used}: stop it, or choose another port with --port N.")
    return UsageError(f"cannot serve on {host} port {port}: {error}.")


def _holder(port: int) -> str:
    """Return which process listens on `port`, as far as the system shows."""
    try:
        for connection in psutil.net_connections("inet"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid
            if listens and connection.laddr[1:2] == (port,):
                name = psutil.Process(connection.pid).name()
                return f" by {name} (process {connection.pid})"
    except psutil.Error:
        return ""  # not visible to us: the sentence is complete without it
    return ""
