"""The wheels, installed where there is nothing of this repository: they plan, serve and train.

Installing PyTorch anew would take minutes, so packages of others are links to the ones here: those,
and only those, that the metadata of the wheel asks for, directly or through each other.
"""

import io
import json
import random
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from playwright.sync_api import Page, expect
from starlette.requests import Request

from browser.cell_reader import CellReader
from browser.door import door
from browser.run_reader import RunReader
from conftest import wait_for
from gpu_runner.serve.site import SiteTable, spliced
from release import wheel as maker
from run_process import free_port

pytestmark = pytest.mark.slow

TOKEN: Final = "a" * 32
TRAIN: Final = ("train", "--model", "demo", "--steps", "6", "--eval-rows", "4")


@pytest.fixture(scope="module")
def packages(site: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The sdists and the wheels of this repository as it is, packed fast: a tenth larger."""
    folder = tmp_path_factory.mktemp("package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maker, "XZ_PRESET", 0)
        patch.setattr(maker, "XZ_MAX_RATIO", 0.95)
        maker.stage(site, folder / "stage")
    return maker.build(folder / "stage", folder / "out")


def wheel_of(packages: list[Path], name: str) -> Path:
    (found,) = (path for path in packages if path.match(f"{name}-*.whl"))
    return found


@pytest.fixture(scope="module")
def wheels(packages: list[Path]) -> list[Path]:
    return [wheel_of(packages, name) for name in ("unfrozen", "unfrozen_planner")]


def needed(asked: list[str], extras: tuple[str, ...] = ("",)) -> dict[str, Requirement]:
    """Every package that these requirements bring, by its name, as far as it is installed here."""
    found: dict[str, Requirement] = {}
    waiting = [(Requirement(line), extras) for line in asked]
    while waiting:
        one, wanted = waiting.pop()
        if one.marker and not any(one.marker.evaluate({"extra": extra}) for extra in wanted):
            continue
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        if name in found or name.startswith("unfrozen"):
            continue
        try:
            more = distribution(name).requires or []
        except PackageNotFoundError:  # for a kind of machine that this one is not
            continue
        found[name] = one
        waiting += [(Requirement(line), ("", *one.extras)) for line in more]
    return found


def link(names: list[str], target: Path) -> None:
    """Put the files of installed packages into another environment's folder, as links."""
    for found in map(distribution, names):
        for top in {file.parts[0] for file in found.files or []} - {".."}:
            source = Path(str(found.locate_file(top)))
            if source.exists() and not (target / top).exists():
                (target / top).symlink_to(source)


class Installed:
    """An environment of its own with wheels in it, and a reader's home without anything.

    The base is installed by pip, what has extras by uv.
    """

    def __init__(self, folder: Path, wheels: list[Path], extras: tuple[str, ...]) -> None:
        venv.create(folder / "env", with_pip=False, symlinks=True)
        self.bin = folder / "env" / "bin"
        self.home = folder / "home"
        self.home.mkdir()
        (self.packages,) = (folder / "env").glob("lib/*/site-packages")
        python = ["--python", str(self.bin / "python")]
        tool = ["uv", "pip", "install", *python] if extras else ["pip", *python, "install"]
        words = ["--quiet", "--no-deps", "--no-index", "--no-compile", *map(str, wheels)]
        install = [sys.executable, "-m", *tool, *words]
        subprocess.run(install, check=True, env=self.environment)
        infos = self.packages.glob("unfrozen*.dist-info/METADATA")
        lines = [line for info in infos for line in info.read_text().splitlines()]
        asked = [line.removeprefix("Requires-Dist: ") for line in lines if "Requires-Dist" in line]
        self.needed = needed(asked, ("", *extras))
        link(sorted(self.needed), self.packages)

    @property
    def environment(self) -> dict[str, str]:
        """What a reader's shell has: nothing that leads to the repository."""
        kept = {"PATH": f"{self.bin}:/usr/bin:/bin", "LANG": "C.UTF-8", "COLUMNS": "200"}
        return kept | {"HOME": str(self.home), "UNFROZEN_TOKEN": TOKEN, "OMP_NUM_THREADS": "2"}

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`unfrozen …`, typed in the reader's home."""
        return subprocess.run(
            ["unfrozen", *words],
            executable=str(self.bin / "unfrozen"),
            capture_output=True,
            text=True,
            cwd=self.home,
            env=self.environment,
            check=False,
        )

    def python(self, code: str) -> str:
        """What a program prints, run in the reader's home by the Python of this environment."""
        command = [str(self.bin / "python"), "-c", code]
        given = {"cwd": self.home, "env": self.environment, "text": True, "check": True}
        return subprocess.run(command, capture_output=True, **given).stdout

    @property
    def version(self) -> str:
        """The version in the name of what is installed."""
        (info,) = self.packages.glob("unfrozen_planner-*.dist-info")
        return info.name.removesuffix(".dist-info").partition("-")[2]

    def log(self) -> list[dict[str, object]]:
        """The events of its only run, where a system keeps a user's data."""
        (path,) = self.home.rglob("events.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def planner(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install unfrozen_planner-….whl`."""
    wheel = wheel_of(packages, "unfrozen_planner")
    return Installed(tmp_path_factory.mktemp("planner"), [wheel], ())


@pytest.fixture(scope="module")
def base(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """`pip install packages/*.whl`."""
    return Installed(tmp_path_factory.mktemp("base"), wheels, ())


@pytest.fixture(scope="module")
def full(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The same with the extra `train`, into the same home."""
    return Installed(tmp_path_factory.mktemp("full"), wheels, ("train",))


@pytest.fixture(scope="module")
def address(base: Installed, full: Installed) -> Iterator[str]:
    """`unfrozen serve` of the base, where it finds what the other one trains."""
    port = free_port()
    runs = full.home / ".local" / "share" / "unfrozen" / "runs"
    command = [str(base.bin / "unfrozen"), "serve", "--no-open", "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--runs", str(runs)],
        cwd=base.home,
        env=base.environment,
        stdout=subprocess.DEVNULL,
    )
    wait_for(f"http://127.0.0.1:{port}/")
    yield f"http://127.0.0.1:{port}/#t={TOKEN}"
    server.terminate()
    server.wait(timeout=60)


def test_all_packages_are_small_enough_and_no_file_is_in_two(
    packages: list[Path], wheels: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(maker.MAX_BYTES, "unfrozen", maker.MAX_BYTES["unfrozen"] * 11 // 10)
    maker.check_sizes(packages)
    names = [name for wheel in wheels for name in zipfile.ZipFile(wheel).namelist()]
    assert len(names) == len(set(names))
    assert sum(name.endswith("model.safetensors") for name in names) == 1
    assert "gpu_runner/page/pyodide/pyodide.asm.wasm.xz" in names
    assert not [
        name for name in names if name.endswith((".gz", ".br"))
    ]  # compressed twice, for nothing
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]
    inside: set[str] = set()
    for sdist in (path for path in packages if path.name.endswith(".tar.gz")):
        with tarfile.open(sdist) as archive:
            inside |= {name.partition("/")[2] for name in archive.getnames()}
    assert {"py/gpu_runner/page/index.html", "py/unfrozen/__main__.py"} < inside


def test_the_planner_alone_plans_and_says_where_the_other_commands_are(planner: Installed) -> None:
    assert planner.needed == {}
    planned = planner("plan", "--model", "Qwen/Qwen3-8B", "--gpus", "8xH100", "--json")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert planner("--version").stdout.split() == ["unfrozen", planner.version]
    refused = planner("serve")
    assert refused.returncode == 2
    assert "the other commands come with the wheel of unfrozen" in refused.stderr
    code = "import json, unfrozen\n"
    code += "found = unfrozen.plan(model='Qwen/Qwen3-8B', gpus='8xH100')\n"
    code += "try: unfrozen.watch\nexcept ImportError as error: print(error)\n"
    code += "print(json.dumps(found.to_dict()))"
    said = planner.python(code).splitlines()
    assert said[0] == "unfrozen.watch needs gpu_runner: install the wheel of unfrozen"
    assert json.loads(said[1]) == json.loads(planned.stdout)


def test_what_the_page_and_the_runner_share_is_cut_out_and_put_back(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"AAAA")
    (tmp_path / "b").write_bytes(b"BB")
    shared = {"a": b"AAAA", "b": b"BB"}
    for data in (b"AAAA", b"xAAAAyBBz", b"BBAAAABB"):
        parts = maker.split(data, shared)
        assert not [part for part in parts if part.get("base64") == "QUFBQQ=="]
        assert spliced(json.dumps(parts).encode(), tmp_path) == data
    assert maker.split(b"none of them", shared) == []


def test_a_zip_of_the_page_is_packed_by_xz_and_served_with_the_same_files(tmp_path: Path) -> None:
    shared = random.Random(0).randbytes(60_000).hex()  # farther back than deflate looks
    content = {f"{name}.py": name + shared for name in "abcdefgh"}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for name, text in content.items():
            zipped.writestr(name, text)
    packed = maker.compress(archive.getvalue(), is_zip=True)
    assert 0 < len(packed) < len(archive.getvalue()) / 8
    (tmp_path / "unfrozen.zip.xz").write_bytes(packed)
    table = SiteTable(tmp_path)
    for _ in range(2):  # unpacked when it is first asked for, then there
        scope = {"type": "http", "path": "/unfrozen.zip", "headers": [], "method": "GET"}
        answer = table.answer(Request(scope))
        assert answer.status_code == 200
        with zipfile.ZipFile(io.BytesIO(bytes(answer.body))) as served:
            assert {name: served.read(name).decode() for name in content} == content
    assert maker.compress(random.Random(1).randbytes(200_000), is_zip=False) == b""


def test_a_package_that_grew_too_large_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unfrozen_planner-1.whl").write_bytes(b"x" * 11)
    monkeypatch.setitem(maker.MAX_BYTES, "unfrozen-planner", 10)
    said = r"unfrozen_planner-1\.whl is 0\.0 MB, the limit is 1e-05 MB"
    with pytest.raises(maker.PackageError, match=said):
        maker.check_sizes([tmp_path / "unfrozen_planner-1.whl"])


def test_the_base_is_empty_of_pytorch_and_of_this_repository(base: Installed) -> None:
    assert not {"torch", "transformers", "numpy"} & base.needed.keys()
    code = "import sys, gpu_runner, unfrozen, starlette, typer; print(gpu_runner.__file__)\n"
    code += "import importlib.util as u; print([n for n in ('torch', 'numpy') if u.find_spec(n)])"
    said = base.python(code).splitlines()
    assert said[0].startswith(str(base.packages))
    assert said[1] == "[]"


def test_the_base_plans_and_says_what_training_needs(base: Installed) -> None:
    assert "unfrozen train --model demo" in base().stdout
    assert "Runs are in ~/.local/share/unfrozen/runs." in base().stdout
    planned = base("plan", "--model", "Llama-3.1-8B", "--gpu", "H100")
    assert planned.returncode == 0, planned.stderr
    refused = base(*TRAIN)
    assert refused.returncode == 10
    assert "this needs torch and transformers, not installed here: python -m pip install" in (
        refused.stderr
    )
    lacks = base("doctor")
    assert lacks.returncode == 10
    assert "Not ready: torch, transformers," in lacks.stdout
    lock = base.packages / "gpu_runner" / "requirements.txt"
    pip = f"python -m pip install --require-hashes --no-deps -r {lock}"
    assert lacks.stdout.endswith(f"Or all at once: {pip} && python -m pip install 'torch>=2.12'\n")
    dry = [sys.executable, *pip.split()[1:], "--dry-run", "--no-index", "--quiet"]
    assert subprocess.run(dry, capture_output=True, check=False).returncode == 0


def test_the_whole_article_is_there_offline(address: str, page: Page, site: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.allowed_errors.append("python/snapshot.bin")  # type: ignore[attr-defined]  # not packaged
    reader = CellReader(page, address)
    assert reader.run_as_is("memory-table")["ok"]
    assert page.locator(".chapter").count() >= 10
    origin = address.partition("/#")[0]
    assert asked
    assert not [url for url in asked if not url.startswith((origin, "data:", "blob:"))]
    for path in ("demo/model/model.safetensors", "pyodide/pyodide-lock.json"):
        assert page.request.get(f"{origin}/{path}").body() == (site / path).read_bytes(), path
    for path in (site / "pyodide").glob("*.whl"):
        served = page.request.get(f"{origin}/pyodide/{path.name}").body()
        assert served == path.read_bytes(), path.name
    command = page.locator("pre", has_text="train --model demo").first
    expect(command).to_have_text("unfrozen train --model demo")


def test_what_it_trains_appears_in_the_page(full: Installed, address: str, page: Page) -> None:
    page.goto(door(address, "runs"))
    done = full(*TRAIN)
    # Libraries that come with it have much to say of other machines, torchao first of all.
    assert (done.returncode, done.stderr) == (0, "")
    assert "/.local/share/unfrozen/runs/" in done.stdout
    assert f"To see it in the page: {door(address, 'runs').split('#')[0]}?run=" in done.stdout
    watcher = RunReader(page)
    watcher.wait_notice("finished")
    assert watcher.brief["step"] == 6
    assert watcher.state["events"] == len(full.log())
