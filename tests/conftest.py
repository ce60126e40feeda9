"""The real things every test may lean on: a built site, a browser, a server, a plain file host.

Nothing here is a stand-in. `site` is what `build.py build` writes, `chromium` is a browser,
`serve_site` is `python -m gpu_runner serve` in its own process, `static_site` is any static host.
"""

import functools
import gc
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import hypothesis
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    expect,
    sync_playwright,
)

import build
import run_process
from run_process import free_port

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the other processors have tests of their own
SPARED: Final = (
    # Two pages under the address bar, drawn for each window: a third of what opening ours takes.
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
    # What Playwright switches off; of two such flags only the last counts.
    *("AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync"),
    *("DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades"),
    *("LensOverlay", "MediaRouter", "NetworkTimeServiceQuerying", "OptimizationHints"),
    *("PaintHolding", "PreconnectToSearch", "ThirdPartyStoragePartitioning"),
)
CHROMIUM_FLAGS: Final = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    f"--disable-features={','.join(SPARED)}",
    "--font-render-hinting=none",  # letters as wide as in a browser with windows
    # Few functions of Python run long enough to be worth optimizing: starts take two thirds.
    "--js-flags=--wasm-tiering-budget=2000000000",
]
expect.set_options(timeout=60_000)  # what is awaited comes sooner; a busy machine is no failure
BROWSER_FIXTURES: Final = {"chromium", "page", "serve_site", "static_site"}
SLOW_ROOMS: Final = {"browser", "security", "crash"}
ALL_SLOW: Final = re.compile(r"^pytestmark = .*\bmark\.slow\b", re.MULTILINE)
START_SECONDS: Final = 120.0


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of all tests without the slow ones, a file that has no others is not even read."""
    if config.option.markexpr != "not slow" or not collects_all(config):
        return None
    if collection_path.name in SLOW_ROOMS:
        return True
    if collection_path.suffix != ".py":
        return None
    return bool(ALL_SLOW.search(collection_path.read_text("utf-8"))) or None


def collects_all(config: pytest.Config) -> bool:
    """Whether no folder or file is named but the one of all tests."""
    return [Path(one).name for one in config.option.file_or_dir] in ([], ["tests"])


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Nothing of what is imported and collected becomes garbage: do not look for it there.

    Every second worker begins with the last file: what one compiles, the other finds compiled.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    if int(worker.removeprefix("gw")) % 2 and collects_all(session.config):
        files = sorted(Path(__file__).parent.rglob("test_*.py"), reverse=True)
        session.config.args[:] = [str(file) for file in files]
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`: the whole matrix of families, kinds and browsers, not one of each."""
    parser.addoption("--all", action="store_true", help="the tests marked `matrix`, too")


def pytest_configure(config: pytest.Config) -> None:
    """Fuzz with new examples in every run, few of them, and without a stopwatch."""
    examples = 200 if config.option.all else 25
    hypothesis.settings.register_profile("unfrozen", max_examples=examples, deadline=None)
    hypothesis.settings.load_profile("unfrozen")


@pytest.fixture(scope="session")
def share(pytestconfig: pytest.Config) -> int:
    """Of what tests make from seeds, every run takes one in so many; `--all` takes all."""
    return 1 if pytestconfig.option.all else 5


def matrix(values: Iterable[object], *always: object) -> list[object]:
    """Return parameters of a test: those of `always` in every run, the rest with `--all` alone.

    A tuple is one value for each of several parameters.
    """
    found = list(values)
    assert [value for value in found if value in always], f"none of {always} is among {found}"
    return [
        value
        if value in always
        else pytest.param(*value if type(value) is tuple else (value,), marks=pytest.mark.matrix)
        for value in found
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the matrix out unless it is asked for; mark as slow what asks for a browser."""
    items.sort(key=lambda item: item.path.parts)
    if not config.option.all:
        dropped = {item for item in items if item.get_closest_marker("matrix")}
        config.hook.pytest_deselected(items=list(dropped))
        items[:] = [item for item in items if item not in dropped]
    for item in items:
        asked = BROWSER_FIXTURES & set(getattr(item, "fixturenames", ()))
        if asked or SLOW_ROOMS & set(item.path.relative_to(build.ROOT).parts):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Count the lines that fast tests reach: tracing makes long computations take three times."""
    counting, started = sys.gettrace(), threading.gettrace()
    is_counted = type(counting).__module__.startswith("coverage")
    if not is_counted or item.get_closest_marker("slow") is None:
        return (yield)
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(counting)
        threading.settrace(started)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Sum a failure up in its first line: Playwright appends the whole page to its messages."""
    report = yield
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash:
        crash.message = crash.message.partition("\n")[0]
    return report


@pytest.fixture(scope="session")
def whole_site() -> Path:
    """The built site; built once when it is missing or out of date. UNFROZEN_SITE names another."""
    given = os.environ.get("UNFROZEN_SITE")
    return Path(given) if given else build.site()


@pytest.fixture(scope="session")
def sites(whole_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The built site with none but the named chapters: its page opens in a quarter of the work."""

    @functools.cache
    def of(*chapters: str) -> Path:
        if not chapters:
            return whole_site
        site = tmp_path_factory.mktemp("chapters") / "site"
        shutil.copytree(whole_site, site, ignore=shutil.ignore_patterns("index.html.*"))
        page = (whole_site / "index.html").read_text("utf-8")
        head, *rest = re.split(r'(?=<section class="chapter")', page)
        rest[-1], end, foot = rest[-1].partition("</article>")
        named = {re.findall(r'aria-labelledby="([^"]+)"', chapter)[0]: chapter for chapter in rest}
        text = "".join(named[name] for name in chapters)
        links = re.compile(r'<a href="#([^"]+)">(.*?)</a>')
        contents = links.sub(lambda link: link[0 if f' id="{link[1]}"' in text else 2], head)
        (site / "index.html").write_text(contents + text + end + foot, "utf-8")
        return site

    return of


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, sites: Callable[..., Path]) -> Path:
    """The built site, cut down to the CHAPTERS that the module of the tests names, if it does."""
    return sites(*getattr(request.module, "CHAPTERS", ()))


@pytest.fixture(scope="session")
def node() -> str:
    """The Node that renders and tests JavaScript, with the packages of the lock installed."""
    return str(build.front_end())


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for the whole session."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(build.chromium()), args=CHROMIUM_FLAGS
        )
        for opens in ("new_context", "new_page"):  # what is kept offline has tests of its own
            blocked = functools.partial(getattr(browser, opens), service_workers="block")
            setattr(browser, opens, blocked)
        yield browser
        browser.close()


@contextmanager
def watched_page(context: BrowserContext) -> Iterator[Page]:
    """A page of `context`. Errors on the console or in scripts fail who leaves the block.

    A test that provokes an error appends a part of its text to `page.allowed_errors`.
    """
    page = context.new_page()
    errors: list[str] = []
    page.allowed_errors = []  # type: ignore[attr-defined]

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"{message.text} ({message.location.get('url', '')})")

    def note_exception(error: Error) -> None:
        errors.append(f"uncaught: {error.message}\n{error.stack}")

    page.on("console", note_console)
    page.on("pageerror", note_exception)
    yield page
    allowed: list[str] = page.allowed_errors  # type: ignore[attr-defined]
    context.close()
    unexpected = [text for text in errors if not any(part in text for part in allowed)]
    assert not unexpected, "the page reported errors:\n" + "\n".join(unexpected)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may look into, which those of `tmp_path` are not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page in its own context, watched for errors."""
    with watched_page(chromium.new_context()) as found:
        yield found


@dataclass
class Server:
    """A real `python -m gpu_runner serve` that a test may kill and start again at will."""

    site: Path
    runs: Path
    log: Path
    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    options: tuple[str, ...] = ()
    """More of the command line of `serve`."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What the server prints for its reader: the page with the token in the fragment."""
        return f"{self.origin}/#t={self.token}"

    def start(self) -> None:
        """Start the process and wait until its line with the URL has been printed."""
        command = [sys.executable, "-m", "gpu_runner", "serve", "--no-open"]
        command += ["--site", str(self.site), "--runs", str(self.runs), "--port", str(self.port)]
        command += self.options
        environment = {**os.environ, "UNFROZEN_TOKEN": self.token, "PYTHONUNBUFFERED": "1"}
        self.log.write_bytes(b"")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=build.ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while self.url not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server the polite way (SIGTERM) and wait for it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=60)
            self.process = None

    def kill(self) -> None:
        """End the server as a power cut would: SIGKILL, no goodbye on open streams."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=60)
            self.process = None

    def restart(self) -> None:
        """Stop (when it still runs) and start again: same port, same token, same runs."""
        self.stop()
        self.start()


@contextmanager
def quick(server: Server) -> Iterator[Server]:
    """Another server of the same site and runs, which waits less: see `serve_quickly`."""
    other = replace(server, port=free_port(), process=None)
    words = ["--site", str(other.site), "--runs", str(other.runs), "--port", str(other.port)]
    given = [*words, *other.options], other.token
    child = run_process.children().Process(target=run_process.serve_quickly, args=given)
    child.start()
    wait_for(f"{other.origin}/")
    yield other
    child.terminate()
    child.join()


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[Path, Server]]:
    """The servers that were started, by the site they serve."""
    started: dict[Path, Server] = {}
    yield started
    for server in started.values():
        server.stop()


@pytest.fixture(scope="module")
def serve_site(
    site: Path, servers: dict[Path, Server], tmp_path_factory: pytest.TempPathFactory
) -> Server:
    """The site and a runs folder of its own behind a running server (`.url .token .runs .port`)."""
    if site not in servers:
        folder = tmp_path_factory.mktemp("serve")
        (folder / "runs").mkdir(mode=0o700)
        servers[site] = Server(site=site, runs=folder / "runs", log=folder / "server.log")
        servers[site].start()
    return servers[site]


@dataclass(frozen=True)
class StaticSite:
    """The built site below a path of a file server that knows nothing about Unfrozen."""

    url: str


@pytest.fixture(scope="session")
def static_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """`python -m http.server`: its folder, and its URL."""
    folder = tmp_path_factory.mktemp("static")
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port)]
    command += ["--bind", "127.0.0.1", "--directory", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    wait_for(url)
    yield folder, url
    process.terminate()
    process.wait(timeout=60)


@pytest.fixture(scope="module")
def static_site(site: Path, static_host: tuple[Path, str]) -> StaticSite:
    """The site on a host that knows only files."""
    return below(static_host, site)


def below(static_host: tuple[Path, str], site: Path) -> StaticSite:
    """Lay a site below `/some/…/` of that host, as a project page would be."""
    folder, url = static_host
    place = folder / "some" / site.parent.name
    if not place.exists():
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(site.resolve(), target_is_directory=True)
    return StaticSite(f"{url}some/{place.name}/")


def wait_for(url: str) -> None:
    """Return once `url` answers with 200; fail the test after a minute without an answer."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urlopen(url, timeout=60) as answer:
                answer.read()
                return
        except (URLError, ConnectionError):
            if time.monotonic() > deadline:
                pytest.fail(f"nothing answers at {url}")
            time.sleep(0.05)
