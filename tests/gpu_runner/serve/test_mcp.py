"""An agent asks by the Model Context Protocol: its own client, and hostile ones, over processes."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from gpu_runner.log.check_run import check_run
from gpu_runner.log.tail import LOG_NAME
from gpu_runner.serve.mcp import MOST_LINE_BYTES, make_tools
from house.tree import ROOT
from unfrozen.request import plan

TOOLS = ["plan", "fits", "compare", "read_run", "check_run"]
SERVER = [sys.executable, "-m", "gpu_runner", "mcp", "--runs"]
HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "demo").mkdir()
    recording = (ROOT / "web" / "recordings" / "demo.jsonl").read_bytes()
    (folder / "demo" / LOG_NAME).write_bytes(recording)
    return folder


def with_client(runs: Path, use: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        server = StdioServerParameters(command=SERVER[0], args=[*SERVER[1:], str(runs)], cwd=ROOT)
        async with Client(stdio_client(server)) as client:
            with anyio.fail_after(120):
                await use(client)

    with ThreadPoolExecutor(1) as pool:  # the thread of a browser's tests has a loop of its own
        pool.submit(anyio.run, main).result()


def test_the_protocols_own_client_gets_what_the_commands_give(runs: Path) -> None:
    async def use(client: Client) -> None:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == TOOLS
        for tool in listed:
            for schema in (tool.input_schema, tool.output_schema):
                Draft202012Validator.check_schema(schema)
        inputs = listed[0].input_schema["properties"]
        assert inputs["budget"]["anyOf"][0]["type"] == "number"
        assert "which GPUs" in inputs["budget"]["description"]

        async def call(name: str, **given: Any) -> Any:
            found = await client.call_tool(name, given)  # checks it against the output schema
            assert not found.is_error, found.content
            assert json.loads(found.content[0].text) == found.structured_content
            return found.structured_content

        job = {"model": "Llama-3.1-8B", "gpu": "H100"}
        same = json.loads(json.dumps(plan(**job).to_dict()))
        assert await call("plan", **job) == same
        data = {"data": "10,000 x 3 x 512", "gpus": "8xH100"}
        assert (await call("plan", model="Qwen2.5-7B", **data))["plan"]["rent"]["flavors"]
        assert (await call("fits", **job))["verdict"] == "does not fit"
        file = {"job": "axolotl.yml", "text": "base_model: Qwen/Qwen2.5-7B\nadapter: lora\n"}
        assert (await call("plan", **file))["read"]["format"] == "axolotl"
        found = await call("compare", compare="zero2,zero3", **job | {"gpu": "8xH100"})
        assert list(found["compare"]) == ["zero2", "zero3"]
        checked = await call("check_run", run="demo")
        assert checked == check_run(runs / "demo", time.time())
        read = await call("read_run", run=str(runs / "demo"))
        assert (read["check"], read["losses"][-1][0]) == (checked, 200)
        assert read["config"]["lr"] == 0.001

    with_client(runs, use)


def test_what_cannot_be_answered_is_an_error_in_words_and_the_next_call_is_served(
    runs: Path,
) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("train", {}, "There is no tool 'train': there are plan"),
        ("plan", {}, "there is nothing to plan"),
        ("plan", {"model": 3}, "model: got 3; it must be"),
        ("plan", {"modle": "x"}, "modle is an unknown key; known keys are job"),
        ("plan", {"job": "-"}, "stdin, which speaks the protocol"),
        ("plan", {"job": "/dev/zero"}, "it is a device"),
        ("plan", {"model": "Llama-3.1-8B", "data": "-", "gpus": "H100"}, "stdin"),
        ("plan", {"job": {"model": "Llama-3.1-8B", "recipe": {"lr": 1}}}, "recipe.lr"),
        ("plan", {"text": "{"}, "not JSON"),
        ("plan", {"job": {}, "text": "{}"}, "two jobs"),
        ("plan", {"job": [{"model": "Llama-3.1-8B"}]}, "one job a call"),
        ("compare", {"model": "Llama-3.1-8B"}, "compare is missing"),
        ("check_run", {"run": "../../etc"}, "is not a run: it has no events.jsonl"),
        ("check_run", {"run": "a" * 300}, "File name too long"),
        ("check_run", {"run": "a\0b"}, "embedded null byte"),
        ("read_run", {"run": __file__}, "is a file"),
        ("read_run", {"run": "$(touch /tmp/x); `id`"}, "is not a run"),
        ("plan", {"model": "x" * 10_000}, "no file can be called so (File name too long)"),
        ("plan", {"job": "x" * 10_000}, "no file can be called so"),
    ]

    async def use(client: Client) -> None:
        for name, given, part in wrong:
            found = await client.call_tool(name, given)
            assert found.is_error, name
            assert part in found.content[0].text, found.content[0].text[:300]
        found = await client.call_tool("fits", {"model": "Llama-3.1-8B", "gpu": "H100"})
        assert not found.is_error

    with_client(runs, use)


@pytest.fixture
def server(runs: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*SERVER, str(runs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin
    assert process.stdout
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def say(process: subprocess.Popen[bytes], line: bytes | dict[str, Any]) -> None:
    assert process.stdin
    data = line if isinstance(line, bytes) else json.dumps(line).encode()
    process.stdin.write(data + b"\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout
    found: dict[str, Any] = json.loads(process.stdout.readline())
    assert found["jsonrpc"] == "2.0"
    return found


def calling(number: int, name: str = "check_run", **given: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": given or {"run": "demo"}}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def test_nonsense_is_answered_as_that_and_stdout_stays_the_protocols(
    server: subprocess.Popen[bytes],
) -> None:
    say(server, HELLO)
    assert hear(server)["result"]["serverInfo"]["name"] == "unfrozen"
    hostile = [
        *(b"nonsense", b"{", b"[1, 2]", b'"x"', b'{"id": {}, "method": 3}', b"\xff\xfe", b"\0"),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000),
    ]
    for line in hostile:
        say(server, line)
        assert "no message of JSON-RPC" in hear(server)["error"]["message"]
    say(server, b" " * (3 * MOST_LINE_BYTES))
    assert f"at most {MOST_LINE_BYTES:,} bytes" in hear(server)["error"]["message"]
    say(server, {"jsonrpc": "2.0", "id": 1, "method": "tools/nothing"})
    assert hear(server)["error"]["message"] == "Method not found"
    say(server, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": 3}})
    assert "error" in hear(server)
    say(server, calling(3))
    assert hear(server)["result"]["structuredContent"]["run"] == "demo"


def test_a_thousand_calls_at_once_are_all_answered(server: subprocess.Popen[bytes]) -> None:
    say(server, HELLO)
    hear(server)
    count = 1000
    for number in range(1, count + 1):
        say(server, calling(number, run="nothing"))
    assert {hear(server)["id"] for _ in range(count)} == {*range(1, count + 1)}


def test_a_client_that_stops_in_the_middle_ends_the_server(
    server: subprocess.Popen[bytes],
) -> None:
    say(server, HELLO)
    hear(server)
    say(server, calling(1, "plan", model="Qwen2.5-7B", data="10,000,000 x 3 x 512", budget=1e6))
    assert server.stdin
    server.stdin.write(b'{"jsonrpc": "2.0", "id": 2, "meth')
    server.stdin.close()
    assert server.wait(timeout=60) == 0


def test_a_client_that_reads_no_more_ends_the_server_without_a_traceback(runs: Path) -> None:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([*SERVER, str(runs)], cwd=ROOT, **pipes) as process:
        say(process, HELLO)
        hear(process)
        assert process.stdin
        assert process.stdout
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            for number in range(20):
                say(process, calling(number + 1, run="nothing"))
        assert process.wait(timeout=60) == 0
        assert process.stderr
        assert b"Traceback" not in process.stderr.read()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def test_without_the_package_the_command_says_what_to_type() -> None:
    hidden = "import importlib.util as u; f = u.find_spec\n"
    hidden += "u.find_spec = lambda name, *more: None if name == 'mcp' else f(name, *more)\n"
    code = f"{hidden}import sys; from gpu_runner.cli.command_line import main; main(['mcp'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (10, "")
    assert "this needs mcp, not installed here: " in done.stderr
    assert "-m pip install 'mcp>=2'" in done.stderr


def test_the_tools_are_those_that_the_outside_relies_on() -> None:
    assert list(make_tools(lambda run, _: Path(run), None)) == TOOLS
