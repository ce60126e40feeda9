"""A Firefox of the machine, driven over Marionette, the protocol that every Firefox carries.

A message is `length:[0, id, name, parameters]` over TCP, its answer `length:[1, id, error, result]`
(firefox-source-docs, testing/marionette). No driver and no package in between.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import build

START_SECONDS = 60.0
INSTALL = "apt-get update && apt-get install -y --no-install-recommends firefox-esr"
SETTINGS = {
    "marionette.port": 0,
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,none",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


class FirefoxError(Exception):
    """What Firefox answered instead of a result."""


class Firefox:
    """One browser with one window."""

    def __init__(self, port: int) -> None:
        self._line = socket.create_connection(("127.0.0.1", port), timeout=240)
        self._rest = b""
        self._last = 0
        self._hear()  # who it is
        self._say("WebDriver:NewSession", {"capabilities": {}})
        self._say("WebDriver:SetTimeouts", {"script": 200_000, "pageLoad": 60_000})

    def close(self) -> None:
        """Hang up."""
        self._line.close()

    def go(self, url: str) -> None:
        """Open an address and wait until it has loaded."""
        self._say("WebDriver:Navigate", {"url": url})

    def evaluate(self, function: str, *arguments: Any) -> Any:
        """Call a function of the page's own JavaScript; the result of its promise."""
        script = (
            f"const done = arguments[arguments.length - 1];"
            f"Promise.resolve(({function})(...arguments[0])).then("
            f"(value) => done({{ value: value === undefined ? null : value }}),"
            f"(error) => done({{ error: String(error) }}));"
        )
        parameters = {"script": script, "args": [list(arguments)], "sandbox": None}
        answer = self._say("WebDriver:ExecuteAsyncScript", parameters)["value"]
        if answer is None:
            raise FirefoxError("the page was left meanwhile")
        if "error" in answer:
            raise FirefoxError(answer["error"])
        return answer["value"]

    def _say(self, name: str, parameters: dict[str, Any]) -> Any:
        self._last += 1
        data = json.dumps([0, self._last, name, parameters]).encode()
        self._line.sendall(b"%d:%s" % (len(data), data))
        _, _, error, result = self._hear()
        if error:
            raise FirefoxError(f"{name}: {error['message']}")
        return result

    def _hear(self) -> Any:
        while b":" not in self._rest:
            self._rest += self._received()
        length, _, self._rest = self._rest.partition(b":")
        while len(self._rest) < int(length):
            self._rest += self._received()
        message, self._rest = self._rest[: int(length)], self._rest[int(length) :]
        return json.loads(message)

    def _received(self) -> bytes:
        data = self._line.recv(1 << 20)
        if not data:
            raise FirefoxError("Firefox has hung up")
        return data


@cache
def program() -> str | None:
    """This machine's Firefox, else Debian's, installed as Chromium is; None where neither is."""
    found = shutil.which("firefox-esr") or shutil.which("firefox")
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        with build.lock(), suppress(build.BuildError):  # those who are offline do without
            if not shutil.which("firefox-esr"):  # another process may have come first
                build.run_stage("installing Firefox", ["sh", "-c", INSTALL], build.OFFLINE)
            found = shutil.which("firefox-esr")
    return found


@contextmanager
def firefox(path: str) -> Iterator[Firefox]:
    """A Firefox with a profile of its own, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder)
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in SETTINGS.items()]
        (profile / "user.js").write_text("\n".join(lines))
        command = [path, "--headless", "--marionette", "--no-remote", "--profile", folder]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        try:
            with closing(Firefox(_port(profile / "MarionetteActivePort"))) as browser:
                yield browser
        finally:
            process.terminate()
            process.wait(timeout=30)


def _port(file: Path) -> int:
    deadline = time.monotonic() + START_SECONDS
    while not (file.is_file() and file.read_text().strip()):
        if time.monotonic() > deadline:
            raise FirefoxError("Firefox did not open its port")
        time.sleep(0.1)
    return int(file.read_text())
