"""Files and folders that appear whole, and take nobody else's place."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from foreign_folders import (
    FOREIGN,
    a_file,
    contents,
    extension,
    with_a_file_more,
    write_two,
)
from gpu_runner import atomic
from gpu_runner.errors import CheckpointError, SystemFailure
from nobody import as_nobody
from unfrozen.plain import NotPlain


def test_a_published_folder_is_whole_and_verified(tmp_path: Path) -> None:
    saved = atomic.publish(tmp_path / "m", write_two)
    atomic.verify(saved.path)
    assert saved.size_bytes == 7
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        write_two(directory)
        raise OSError(28, "No space left on device")

    with pytest.raises(SystemFailure, match=r"No space left on device.*Make room"):
        atomic.publish(tmp_path / "m", fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_what_is_not_ours_is_refused_and_nothing_of_it_is_gone(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(
        SystemFailure, match=rf"m is there and is not replaced: .*{FOREIGN[make]}.*"
    ):
        atomic.publish(tmp_path / "m", write_two, private=False, of="mine")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("file", ["a.bin", "b.bin"])
def test_a_private_one_is_made_anew_where_a_file_is_damaged_but_not_where_there_is_one_more(
    file: str, tmp_path: Path
) -> None:
    atomic.publish(tmp_path / "m", write_two)
    (tmp_path / "m" / file).write_bytes(b"x" if file == "a.bin" else b"xxxx")
    atomic.verify(atomic.publish(tmp_path / "m", write_two).path)
    (tmp_path / "m" / file).unlink()
    (tmp_path / "m" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(SystemFailure, match=r"notes\.txt is not in manifest\.json"):
        atomic.publish(tmp_path / "m", write_two)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", [".", "..", "", "/", "~"])
def test_the_working_directory_its_parents_and_a_home_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(SystemFailure, match=r"is not replaced: .* Move it away"):
        atomic.publish(Path(name).expanduser(), write_two)
    assert contents(tmp_path) == {"a": "", "a/b": ""}


def test_a_folder_that_nothing_may_be_written_to_is_refused(shared: Path) -> None:
    shared.chmod(0o555)
    with as_nobody(), pytest.raises(SystemFailure, match="Permission denied"):
        atomic.publish(shared / "m", write_two)
    shared.chmod(0o755)
    assert contents(shared) == {}


def test_an_empty_folder_is_filled_and_keeps_its_rights(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m").chmod(0o2775)
    atomic.verify(atomic.publish(tmp_path / "m", write_two).path)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o2775


def test_a_parent_may_be_a_link_and_siblings_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("m.tmp", "m.old", "m.new", ".m", ".m.0123abcd.unfinished", ".m.0123abcd.replaced"):
        (tmp_path / "real" / name).mkdir()
        (tmp_path / "real" / name / "thesis.txt").write_text("all of it")
    before = contents(tmp_path)
    for _ in range(2):
        atomic.verify(atomic.publish(tmp_path / "link" / "m", write_two).path)
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {Path(name).parts[1] for name in after.keys() - before.keys()} == {"m"}


@pytest.mark.parametrize("swaps", [True, False], ids=["at once", "one after the other"])
def test_a_folder_of_the_same_name_is_replaced(
    swaps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not swaps:
        monkeypatch.setattr(sys, "platform", "darwin")
    atomic.publish(tmp_path / "m", write_two)
    saved = atomic.publish(tmp_path / "m", lambda directory: (directory / "c.bin").touch())
    atomic.verify(saved.path)
    assert {path.name for path in saved.path.iterdir()} == {"c.bin", "manifest.json"}
    assert list(tmp_path.iterdir()) == [saved.path]


def test_one_that_comes_while_it_is_written_stays(tmp_path: Path) -> None:
    def fill(directory: Path) -> None:
        write_two(directory)
        a_file(tmp_path)

    with pytest.raises(SystemFailure, match="it is a file"):
        atomic.publish(tmp_path / "m", fill)
    assert contents(tmp_path) == {"m": b"mine"}


WRITER = """
import os, signal, sys
from pathlib import Path
from gpu_runner import atomic
def fill(directory):
    (directory / "a.bin").write_bytes(b"new")
    print(directory.name, flush=True)
    {act}
atomic.publish(Path(sys.argv[1]), fill)
"""


def writer(place: Path, act: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", WRITER.format(act=act), str(place)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True)


def test_one_that_was_killed_leaves_the_old_one_and_the_next_removes_the_rest(
    tmp_path: Path,
) -> None:
    atomic.publish(tmp_path / "m", write_two)
    before = contents(tmp_path)
    with writer(tmp_path / "m", "os.kill(os.getpid(), signal.SIGKILL)") as killed:
        assert killed.stdout is not None
        left = killed.stdout.readline().strip()
    assert killed.returncode == -signal.SIGKILL
    assert left in {path.name for path in tmp_path.iterdir()}
    assert {name: data for name, data in contents(tmp_path).items() if left not in name} == before
    atomic.verify(tmp_path / "m")
    atomic.publish(tmp_path / "m", write_two)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_a_living_process_writes_is_left_to_it(tmp_path: Path) -> None:
    with writer(tmp_path / "m", "signal.pause()") as living:
        assert living.stdout is not None
        left = living.stdout.readline().strip()
        atomic.publish(tmp_path / "n", write_two)
        atomic.sweep(tmp_path)
        assert (tmp_path / left / "a.bin").read_bytes() == b"new"
        living.kill()
    atomic.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["n"]


def test_one_on_its_way_out_is_put_back_where_no_other_came(tmp_path: Path) -> None:
    atomic.publish(tmp_path / "m", write_two).path.rename(tmp_path / ".m.0123abcd.replaced")
    atomic.sweep(tmp_path)
    atomic.verify(tmp_path / "m")


def test_only_what_was_written_is_removed(tmp_path: Path) -> None:
    assert atomic.remove_folder(atomic.publish(tmp_path / "m", write_two).path)
    with_a_file_more(tmp_path)
    extension(tmp_path / "other")
    before = contents(tmp_path)
    assert not atomic.remove_folder(tmp_path / "m")
    assert not atomic.remove_folder(tmp_path / "other" / "m")
    with pytest.raises(NotPlain):
        atomic.remove_file(tmp_path / "m")
    atomic.remove_file(tmp_path / "never there")
    assert contents(tmp_path) == before


def test_what_is_not_private_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        write_two(directory)
        (directory / "b.bin").chmod(0o600)  # as safetensors writes

    before = os.umask(0o027)
    try:
        others = atomic.publish(tmp_path / "model", write, private=False).path
        mine = atomic.publish(tmp_path / "step-000001", write).path
        atomic.write_file(tmp_path / "public", "")
        atomic.write_file(tmp_path / "secret", "", private=True)
    finally:
        os.umask(before)
    assert {path.name for path in others.iterdir()} == {"a.bin", "b.bin", "manifest.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in others.iterdir()} == {0o640}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (others, mine)] == [0o750, 0o700]
    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("public", "secret")]
    assert rights == [0o640, 0o600]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    for text in ("first", ["sec", "ond"]):
        atomic.write_file(file, text)

    def lines() -> object:
        yield "half"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        atomic.write_file(file, lines())  # type: ignore[arg-type]
    (tmp_path / "link").symlink_to("a.txt")
    with pytest.raises(NotPlain, match="it is a link, not a file"):
        atomic.write_file(tmp_path / "link", "fourth")
    assert contents(tmp_path) == {"a.txt": b"second", "link": "a.txt"}


def test_two_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"

    def write(beside: str) -> None:
        with atomic.new_files(one, two) as places:
            for place in places:
                place.write_text("ours")
            if beside:
                two.write_text(beside)

    with pytest.raises(FileExistsError):
        write("mine")
    with pytest.raises(FileExistsError, match="it exists already: give another name"):
        write("")
    assert contents(tmp_path) == {"two": b"mine"}
    two.unlink()
    write("")
    assert contents(tmp_path) == {"one": b"ours", "two": b"ours"}


def test_a_file_that_was_not_saved_there_is_refused_by_name(tmp_path: Path) -> None:
    saved = atomic.publish(tmp_path / "step-000001", write_two).path
    (saved / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin is not in manifest\.json"):
        atomic.verify(saved)


def test_two_files_that_changed_places_are_refused_by_name(tmp_path: Path) -> None:
    def two_alike(directory: Path) -> None:
        (directory / "a.bin").write_bytes(b"abc")
        (directory / "b.bin").write_bytes(b"xyz")

    saved = atomic.publish(tmp_path / "step-000001", two_alike).path
    (saved / "a.bin").rename(saved / "c.bin")
    (saved / "b.bin").rename(saved / "a.bin")
    (saved / "c.bin").rename(saved / "b.bin")
    with pytest.raises(CheckpointError, match=r"a\.bin is not the file that was saved"):
        atomic.verify(saved)


def test_a_manifest_may_not_point_outside(tmp_path: Path) -> None:
    saved = atomic.publish(tmp_path / "step-000001", write_two).path
    text = (saved / "manifest.json").read_text().replace("a.bin", "../a.bin")
    (saved / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match="names them wrongly"):
        atomic.verify(saved)


def test_folders_inside_are_kept(tmp_path: Path) -> None:
    def nested(directory: Path) -> None:
        (directory / "inner").mkdir()
        write_two(directory / "inner")

    saved = atomic.publish(tmp_path / "step-000001", nested)
    atomic.verify(saved.path)
    (saved.path / "inner" / "b.bin").unlink()
    with pytest.raises(CheckpointError, match=r"inner/b\.bin is missing"):
        atomic.verify(saved.path)
