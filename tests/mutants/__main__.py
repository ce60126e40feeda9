"""Plant a bug in each numeric literal of `py/unfrozen/memory` and `plan/timing`, and run the tests.

    python3 build.py test --mutants [file or folder to plant in, or of tests to run …]

One run with coverage finds which tests reach which line; then each mutant is a fork of a process
that has collected all tests, in which those that reach it run until one fails: the fast ones, which
`build.py check` runs, then the slow ones of `build.py test`. Tests that work in other processes, as
in a browser, are not among them: the whole suite catches no fewer. Exit code 1: fewer are caught
than the bars say, or one survives unexplained.
"""

import gc
import json
import os
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import coverage
import hypothesis
import pytest

from mutants.explained import EXPLAINED
from mutants.graft import caches, graft
from mutants.literals import Mutant, mutants, reached_from, used, users

ROOT: Final = Path(__file__).parents[2]
CORE: Final = ROOT / "py" / "unfrozen"
PLANTED: Final = ("py/unfrozen/memory", "py/unfrozen/plan/timing")
READERS: Final = ("memory", "plan", "planner")  # what reads their constants
TESTS: Final = ("tests/unfrozen", "tests/measurements", "tests/gpu_runner/memory")
BAR, CHECK_BAR = 0.98, 0.90
EXAMPLES: Final = 5  # of a fuzzed test: what asserts bytes and seconds needs none
PROCESSES: Final = int(os.environ.get("MUTANTS") or os.cpu_count() or 1)
CHECK, TEST, NONE = "check", "test", "none"
REWRITTEN: Final = "-Wignore::pytest.PytestAssertRewriteWarning"  # imported before pytest begins


@dataclass
class Reach:
    """Which tests reach which lines of the core, how long each takes, and which are slow."""

    lines: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    seconds: dict[str, float] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    kills: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        lines: dict[str, dict[str, list[str]]],
        seconds: dict[str, float],
        slow: list[str],
        failed: list[str],
    ) -> None:
        """Add what some of the tests reach: files with their lines and the names of tests."""
        for file, of in lines.items():
            for line, names in of.items():
                self.lines[file, int(line)].update(names)
        self.seconds.update(seconds)
        self.slow.update(slow)
        self.failed.update(failed)

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that reach a mutant: fast ones first, those first that catch most a second."""
        places: Iterable[tuple[Path, Iterable[int]]] = [(mutant.path, mutant.lines)]
        found = set[str]()
        if mutant.names:
            files = [file for room in READERS for file in sorted((CORE / room).rglob("*.py"))]
            names = users(mutant.names, files)
            places = [*places, *reached_from(names, files)]
            tests = {name.partition("::")[0] for name in self.seconds}
            found = {test for test in tests if names & used(ROOT / test)}
        for path, lines in places:
            found = found.union(*(self.lines[str(path), line] for line in lines))
        whole = {name for name in found if "::" not in name}
        chosen = [n for n in self.seconds if n in found or n.partition("::")[0] in whole]
        return sorted(
            (name for name in chosen if name not in self.failed),
            key=lambda n: (n in self.slow, (self.seconds[n] + 0.01) / (1 + self.kills[n])),
        )


class Session:
    """A pytest session that collects as `build.py test` does, and gives the tests to `work`."""

    def __init__(self, work: "Callable[[Session, dict[str, pytest.Item]], None]") -> None:
        self.work, self.failed = work, list[str]()

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        """Let the same tests fail each time."""
        hypothesis.settings.register_profile(
            "mutants", max_examples=EXAMPLES, deadline=None, derandomize=True, database=None
        )
        hypothesis.settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do the work in place of running every test."""
        session.config.pluginmanager.unregister(name="terminalreporter")
        self.work(self, {item.nodeid: item for item in session.items})
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failed test."""
        if report.failed:
            self.failed.append(report.nodeid)

    def run(self, items: list[pytest.Item], *, to_the_end: bool = False) -> None:
        """Run tests until one fails, or all of them."""
        for index, item in enumerate(items):
            following = items[index + 1] if index + 1 < len(items) else None
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed and not to_the_end:
                return


class Mapper:
    """A plugin that notes which lines of the core each test reaches.

    What a fixture of a whole module runs belongs to each test of it, so it has the file's name.
    """

    def __init__(self) -> None:
        measured = [f"{CORE}/{room}/*" for room in READERS]
        self.coverage = coverage.Coverage(None, include=measured, config_file=False)
        self.name, self.seconds = "", dict[str, float]()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Count and time one test."""
        self.name, start = item.nodeid, time.perf_counter()
        clear_caches()
        self.coverage.start()
        self.coverage.switch_context(self.name)
        try:
            return (yield)
        finally:
            self.coverage.stop()
            self.seconds[self.name] = time.perf_counter() - start

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, object, object]:
        """Count what a shared fixture reaches for all tests of the file."""
        if fixturedef.scope == "function":
            return (yield)
        self.coverage.switch_context(self.name.partition("::")[0])
        try:
            return (yield)
        finally:
            self.coverage.switch_context(self.name)

    def lines(self) -> dict[str, dict[int, list[str]]]:
        """The tests of each line of each file."""
        data = self.coverage.get_data()
        return {file: data.contexts_by_lineno(file) for file in data.measured_files()}


def our_modules() -> list[ModuleType]:
    """The modules of this repository that are imported."""
    files = [(module, getattr(module, "__file__", None)) for module in sys.modules.values()]
    return [module for module, file in files if file and is_ours(Path(file))]


def is_ours(path: Path) -> bool:
    """Whether a file is one of this repository, not of .venv."""
    return path.is_relative_to(ROOT) and ".venv" not in path.parts


def clear_caches() -> None:
    """Empty the caches of our functions: each test computes what it asserts."""
    for cached in caches(our_modules()):
        cached.cache_clear()


def forked(work: Callable[[], str]) -> tuple[int, int]:
    """Do work in a process of its own; its id, and the pipe that takes what the work returns."""
    read, write = os.pipe()
    if pid := os.fork():
        os.close(write)
        return pid, read
    code = 70  # of an error here
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1):
            os.dup2(null, stream)
        os.write(write, work().encode())
        code = 0
    finally:
        os._exit(code)


def measure(session: Session, items: dict[str, pytest.Item]) -> Reach:
    """Run all tests once, in other processes, and note what they reach."""

    def work(tests: list[pytest.Item]) -> str:
        mapper = Mapper()
        tests[0].config.pluginmanager.register(mapper)
        session.run(tests, to_the_end=True)
        slow = [item.nodeid for item in tests if item.get_closest_marker("slow")]
        return json.dumps((mapper.lines(), mapper.seconds, slow, session.failed))

    reach, pipes = Reach(), []
    files = sorted({item.path for item in items.values()})
    for first in range(PROCESSES):
        some = {*files[first::PROCESSES]}
        tests = [item for item in items.values() if item.path in some]
        pipes.append(forked(lambda: work(tests))[1] if tests else None)  # noqa: B023
    for read in filter(None, pipes):
        with os.fdopen(read) as pipe:
            reach.add(*json.loads(pipe.read()))
        os.wait()
    return reach


class Sweep:
    """Mutants at work, as many at once as there are processors, and what became of them."""

    def __init__(self, session: Session, items: dict[str, pytest.Item], reach: Reach) -> None:
        self.session, self.items, self.reach = session, items, reach
        self.running: dict[int, tuple[Mutant, int]] = {}
        self.by: dict[Mutant, str] = {}
        self.test: dict[Mutant, str] = {}

    def run(self, planted: list[Mutant]) -> None:
        """Try all mutants; no process looks for garbage, and so copies, what all share."""
        gc.freeze()
        start, modules = time.monotonic(), {m.__file__: m for m in our_modules()}
        for count, mutant in enumerate(planted):
            if len(self.running) == PROCESSES:
                self.reap()
            if count % 100 == 99:
                print(f"  {count + 1} planted, {time.monotonic() - start:.0f} s", flush=True)
            module, tests = modules[str(mutant.path)], self.reach.tests(mutant)
            pid, read = forked(lambda: self.outcome(mutant, module, tests))  # noqa: B023
            self.running[pid] = mutant, read
        while self.running:
            self.reap()

    def outcome(self, mutant: Mutant, module: ModuleType, tests: list[str]) -> str:
        """Plant a mutant and run its tests: what catches it, and by which test."""
        seconds = 60 + 5 * int(sum(map(self.reach.seconds.__getitem__, tests)))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # of a loop that does not end
        try:
            count = graft(module, mutant.code())
        except Exception as error:
            return f"{CHECK}\n{error!r} on import"
        if not count:
            raise RuntimeError(f"nothing changes with {mutant}")
        clear_caches()
        for by, is_slow in ((CHECK, False), (TEST, True)):
            chosen = [self.items[name] for name in tests if (name in self.reach.slow) is is_slow]
            self.session.run(chosen)
            if self.session.failed:
                return f"{by}\n{self.session.failed[0]}"
        return f"{NONE}\n{len(tests)} tests reach it"

    def reap(self) -> None:
        """Wait for one mutant and note what caught it; one that ended its process was caught."""
        pid, status = os.wait()
        mutant, read = self.running.pop(pid)
        with os.fdopen(read) as pipe:
            by, _, test = pipe.read().partition("\n")
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise SystemExit(f"{mutant} could not be planted: see above.")
        self.by[mutant], self.test[mutant] = by or TEST, test or f"signal {status}"
        self.reach.kills[test] += 1
        if by == NONE and not explained(mutant):
            print(f"  {by:5} {described(mutant)}: {test}", flush=True)


def explained(mutant: Mutant) -> str:
    """Why no test can tell a mutant from the original, if none can."""
    return EXPLAINED.get((mutant.path.name, mutant.text), "")


def described(mutant: Mutant) -> str:
    """Where a mutant is, and what it changes."""
    place = f"{mutant.path.relative_to(ROOT)}:{mutant.line}"
    return f"{place} {mutant.old} → {mutant.new} in `{mutant.text}`"


def report(sweep: Sweep) -> int:
    """Print what `check` does not catch, and the figures; 1 if they are below the bars."""
    planted, unexplained = len(sweep.by), 0
    for mutant, by in sorted(sweep.by.items(), key=lambda pair: (pair[0].path, pair[0].line)):
        unexplained += by == NONE and not explained(mutant)
        if by != CHECK:
            print(f"  {by:5} {described(mutant)}: {explained(mutant) or sweep.test[mutant]}")
    count = Counter(sweep.by.values())
    by_check, by_test = count[CHECK], count[CHECK] + count[TEST]
    print(f"{planted} planted.")
    print(f"caught by build.py test:  {by_test} ({by_test / planted:.1%}; bar {BAR:.0%})")
    print(f"caught by build.py check: {by_check} ({by_check / planted:.1%}; bar {CHECK_BAR:.0%})")
    print(f"survivors: {planted - by_test}, {unexplained} of them unexplained")
    return int(by_test < BAR * planted or by_check < CHECK_BAR * planted or unexplained > 0)


def main(arguments: list[str]) -> int:
    """Plant and test; the exit code."""
    sources = [path for path in arguments if (ROOT / path).is_relative_to(CORE)]
    tests = [path for path in arguments if path not in sources] or TESTS
    folders = [ROOT / path for path in sources or PLANTED]
    files = sorted(
        f for path in folders for f in ([path] if path.is_file() else path.rglob("*.py"))
    )
    planted = [mutant for file in files for mutant in mutants(file)]
    codes = [1]

    def work(session: Session, items: dict[str, pytest.Item]) -> None:
        print(f"\n  {len(planted)} literals; finding which tests reach them …", flush=True)
        reach = measure(session, items)
        print(f"  {len(items)} tests, {sum(reach.seconds.values()):.0f} s", flush=True)
        if reach.failed:
            print(f"  left out, for they fail as it is: {', '.join(reach.failed)}")
        sweep = Sweep(session, items, reach)
        sweep.run(planted)
        codes[0] = report(sweep)

    pytest.main(["-q", "-pno:cacheprovider", REWRITTEN, *tests], plugins=[Session(work)])
    return codes[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
