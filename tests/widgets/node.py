"""The widgets' pure JavaScript, called from Python: one Node process for all tests."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import build
from unfrozen.schema import page_schema

HERE: Final = Path(__file__).parent
SVG: Final = "{http://www.w3.org/2000/svg}"


class JavaScriptError(Exception):
    """What the called function threw."""


class Node:
    """A running Node that answers one call a line."""

    def __init__(self) -> None:
        program = shutil.which("node") or str(build.ROOT / ".venv" / "bin" / "node")
        self.process = subprocess.Popen(
            [program, str(HERE / "call.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "EVENT_SCHEMA": json.dumps(page_schema())},
        )

    def ask(self, module: str, name: str, args: tuple[Any, ...], as_html: bool) -> Any:
        """Send one call and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        call = {"module": module, "name": name, "args": args, "asHtml": as_html}
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise JavaScriptError(answer["error"])
        return answer.get("result")

    def call(self, module: str, name: str, *args: Any) -> Any:
        """The result of an exported function of web/MODULE.js."""
        return self.ask(module, name, args, as_html=False)

    def html(self, module: str, name: str, *args: Any) -> str:
        """As `call`, for a function that returns a tree: the tree printed as HTML."""
        return str(self.ask(module, name, args, as_html=True))

    def tree(self, module: str, name: str, *args: Any) -> ElementTree.Element:
        """As `html`, parsed: what a view prints is well-formed XML."""
        return ElementTree.fromstring(self.html(module, name, *args))

    def stop(self) -> None:
        """End the process and close its pipes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def example(name: str) -> dict[str, Any]:
    """One of the figures of examples.json."""
    found: dict[str, Any] = json.loads((HERE / "examples.json").read_text(encoding="utf-8"))[name]
    return found


def with_class(tree: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """All elements that carry a class."""
    return [each for each in tree.iter() if name in each.get("class", "").split()]


def texts(elements: list[ElementTree.Element]) -> list[str]:
    """The text of each element with everything in it."""
    return ["".join(each.itertext()) for each in elements]
