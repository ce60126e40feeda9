"""`unfrozen mcp`: plans and runs for an agent, by the Model Context Protocol over stdin and stdout.

    a line of JSON-RPC → the protocol's own package → a tool → `unfrozen.request`, `log.check_run`

A tool computes nothing by itself: it is a command with JSON in and out. One call is computed at a
time, in a thread, so that the protocol always answers. What a client sends is never executed, files
are only read, and an error is one sentence: value, bound, remedy.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import anyio
import mcp_types as types
from anyio.to_thread import run_sync
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from gpu_runner.errors import RunnerError, UsageError
from gpu_runner.installed import installed_version
from gpu_runner.log.check_run import WholeLog, check_run
from gpu_runner.log.tail import LOG_NAME
from unfrozen.__main__ import parser
from unfrozen.answer.shapes import PLAN, PROJECT, RUN_CHECK
from unfrozen.errors import InputError
from unfrozen.request import PlanAnswer, PlannedList, ReadLengths, Request, answer_of
from unfrozen.schema.check import MAX_FILE_LENGTH, check
from unfrozen.schema.json_schema import json_schema, noted
from unfrozen.schema.shapes import (
    BOOLEAN,
    NULL,
    Shape,
    any_of,
    array,
    integer,
    mapping,
    number,
    record,
    string,
)
from unfrozen.schema.shapes import (
    json as any_json,
)
from unfrozen.shell import printable

MOST_LINE_BYTES: Final = 4 * 2**20
MOST_POINTS: Final = 200
"""Points of a series that are sent; between them others are left out."""
_TYPES: Final = (
    ("Mapping", any_json(64, 1_000_000, 1_000_000)),
    ("str", string(MOST_LINE_BYTES)),
    ("float", number()),
    ("int", integer()),
    ("bool", BOOLEAN),
)
_LEFT_OUT: Final = ("typed", "open")
_TEXT: Final = "what the file says, where it is not on this machine; job is then its name"
_NUMBER: Final = any_of(number(), NULL)
_POINTS: Final = array(array(_NUMBER, 2), MOST_POINTS + 1)


def _request_shape(required: tuple[str, ...] = ()) -> Shape:
    """Return the shape of a request: the options of `unfrozen plan`, in its own words."""
    commands: Any = next(each for each in parser()._actions if each.dest == "command").choices
    helps = {
        each.dest: (each.help or "").split("; - reads stdin")[0]
        for each in commands["plan"]._actions
    }
    found = {}
    for field in fields(Request):
        if field.name not in _LEFT_OUT:
            parts = [shape for word, shape in _TYPES if word in str(field.type)]
            shape = parts[0] if len(parts) == 1 else any_of(*parts[::-1])
            found[field.name] = noted(shape, helps.get(field.name, _TEXT))
    return record(found, required=required, closed=True)


_RUN: Final = record(
    {
        "run": noted(string(4096), "A run's id, or the path of its directory."),
        "runs": noted(string(4096), "The directory of the runs, where an id is given."),
    },
    required=("run",),
    closed=True,
)
_FITS: Final = record(
    {
        "fits": noted(BOOLEAN, "Whether it is sure to run; null where no GPU is named."),
        "verdict": noted(string(100), "fits, tight or does not fit."),
        "text": noted(string(MAX_FILE_LENGTH), "The plan as the terminal prints it."),
    },
    required=("text",),
)
_READ: Final = record(
    {
        "check": RUN_CHECK,
        "config": any_json(64, 1_000_000, 1_000_000),
        "losses": noted(
            _POINTS, "Training loss: pairs of step and nats; null: not finite.", "nats"
        ),
        "evals": noted(
            mapping(string(1024), _POINTS, 1000), "Held-out loss of each set by step.", "nats"
        ),
        "newest": noted(mapping(string(1024), _NUMBER, 1000), "The newest value of each metric."),
        "summary": any_json(64, 1_000_000, 1_000_000),
    },
    required=("check", "losses", "evals", "newest"),
)


Call = Callable[[Mapping[str, Any]], dict[str, Any]]
_DESCRIPTIONS: Final = {
    "plan": "Predict memory, time, timeout and price of fine-tuning a language model, from a model"
    " and GPUs, a job, or another trainer's file; with data and GPUs or a budget also which plan to"
    " run, with its command.",
    "fits": "Say whether a fine-tuning job fits its GPUs, in a word and in text.",
    "compare": "Plan one job in several ways side by side: compare is none, zero1, zero2, zero3 or"
    " key=value, with commas between.",
    "read_run": "Read a run: its settings, training loss, held-out losses, newest metrics, and how"
    " it stands.",
    "check_run": "Say how a run stands, what looks wrong with it, what to try first, and which"
    " checkpoint to take.",
}


@dataclass(frozen=True, slots=True)
class AgentTool:
    """A tool: what it says of itself, what it takes and gives, and its function."""

    description: str
    takes: Shape
    gives: dict[str, Any]
    call: Call


def make_tools(
    directory_of: Callable[[str, str | None], Path], read: ReadLengths | None
) -> dict[str, AgentTool]:
    """Return the tools by name; `directory_of` finds a run, `read` the tokens of rows of data."""

    def answered(given: Mapping[str, Any]) -> PlanAnswer:
        for key in ("job", "data"):
            if given.get(key) == "-":
                raise UsageError(f"{key} '-' is stdin, which speaks the protocol: give a file.")
        found = answer_of(Request(**given), read)
        if isinstance(found, PlannedList):
            raise UsageError("job: this file is a list of jobs; give one job a call.")
        return found

    def fits(given: Mapping[str, Any]) -> dict[str, Any]:
        found = answered(given)
        return {"fits": found.fits, "verdict": found.verdict, "text": str(found)}

    def run(given: Mapping[str, Any]) -> Path:
        return directory_of(given["run"], given.get("runs"))

    def planned(given: Mapping[str, Any]) -> dict[str, Any]:
        return answered(given).to_dict()

    plans = {"type": "object", "anyOf": [json_schema(PLAN), json_schema(PROJECT)]}
    tools: dict[str, tuple[Shape, dict[str, Any], Call]] = {
        "plan": (_request_shape(), plans, planned),
        "fits": (_request_shape(), json_schema(_FITS), fits),
        "compare": (_request_shape(("compare",)), json_schema(PLAN), planned),
        "read_run": (_RUN, json_schema(_READ), lambda given: read_run(run(given))),
        "check_run": (
            _RUN,
            json_schema(RUN_CHECK),
            lambda given: check_run(run(given), time.time()),
        ),
    }
    return {name: AgentTool(_DESCRIPTIONS[name], *rest) for name, rest in tools.items()}


def read_run(run: Path) -> dict[str, Any]:
    """Return a run by its log: how it stands, its settings, its series. Raises `RunnerError`."""
    found = check_run(run, time.time())
    log = WholeLog.read(run / LOG_NAME)
    suites = {suite for at in log.evals.values() for suite in at}
    return {
        "check": found,
        "config": log.start.get("config"),
        "losses": _points(log.losses),
        "evals": {
            suite: _points(
                {s: v for s in sorted(log.evals) if (v := log.loss(suite, s)) is not None}
            )
            for suite in sorted(suites)
        },
        "newest": {name: _finite(value) for name, value in log.newest.items()},
        "summary": log.end.get("summary"),
    }


def _points(values: Mapping[int, float]) -> list[list[float | None]]:
    """Return pairs of step and value, the last among them."""
    steps = sorted(values)
    every = -(-len(steps) // MOST_POINTS) or 1
    kept = dict.fromkeys([*steps[::every], *steps[-1:]])
    return [[step, _finite(values[step])] for step in kept]


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


# --- the protocol -------------------------------------------------------------------------------
def serve(tools: Mapping[str, AgentTool]) -> None:
    """Answer until stdin ends. Stdout is the protocol alone; other output goes to stderr."""
    try:
        anyio.run(_serve, tools)
    except* BrokenPipeError:  # the client stopped while it was answered
        pass
    sys.stderr.flush()
    os._exit(0)  # a call whose client is gone may still compute


async def _serve(tools: Mapping[str, AgentTool]) -> None:
    one_at_a_time = anyio.CapacityLimiter(1)

    async def list_tools(*_: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(name, tool) for name, tool in tools.items()])

    async def call_tool(_: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        call = partial(_call, tools, asked.name, asked.arguments or {})
        return await run_sync(call, abandon_on_cancel=True, limiter=one_at_a_time)

    server: Server[Any] = Server(
        "unfrozen",
        version=installed_version(),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    lines = _BoundedLines(os.fdopen(os.dup(0), "rb"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    async with stdio_server(stdin=lines) as (read, write):  # type: ignore[arg-type]
        lines.refuse = write.send
        await server.run(read, write, server.create_initialization_options())


class _BoundedLines:
    """Stdin by lines of bounded length, of which what is no JSON is answered as that."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.refuse: Callable[[SessionMessage], Any] | None = None

    async def __aiter__(self) -> AsyncIterator[str]:
        while line := await run_sync(
            self._file.readline, MOST_LINE_BYTES + 1, abandon_on_cancel=True
        ):
            problem = ""
            if len(line) > MOST_LINE_BYTES:
                problem = f"A message has at most {MOST_LINE_BYTES:,} bytes."
                while line and not line.endswith(b"\n"):
                    line = await run_sync(self._file.readline, MOST_LINE_BYTES)
            elif line.strip():
                problem = _problem_of(line)
            if not problem:
                yield line.decode()
            elif self.refuse is not None:
                error = types.ErrorData(code=types.PARSE_ERROR, message=problem)
                await self.refuse(
                    SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=None, error=error))
                )


def _problem_of(line: bytes) -> str:
    """Return why a line is no message; "" for one."""
    try:
        types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return "This line is no message of JSON-RPC 2.0: send one JSON object a line."
    return ""


def _described(name: str, tool: AgentTool) -> types.Tool:
    return types.Tool(
        name=name,
        description=tool.description,
        input_schema=json_schema(tool.takes),
        output_schema=tool.gives,
        annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )


def _call(
    tools: Mapping[str, AgentTool], name: str, given: Mapping[str, Any]
) -> types.CallToolResult:
    """Return the answer of a tool, or its error in a sentence, which the agent can act on."""
    try:
        if name not in tools:
            raise UsageError(f"There is no tool {name[:80]!r}: there are {', '.join(tools)}.")
        checked = check(tools[name].takes, given, "the arguments")
        if checked.problem:
            raise UsageError(f"{checked.problem}.")
        found = tools[name].call({k: v for k, v in checked.value.items() if v is not None})
        text, failed = json.dumps(found, allow_nan=False), False
    except (RunnerError, InputError) as error:
        found, text, failed = None, str(error), True
    except Exception as error:
        text = f"{type(error).__name__}: {error}: a bug in Unfrozen"
        print(printable(f"unfrozen mcp: {name}: {text}"), file=sys.stderr)
        found, failed = None, True
    content: list[Any] = [types.TextContent(type="text", text=text)]
    return types.CallToolResult(content=content, structured_content=found, is_error=failed)
