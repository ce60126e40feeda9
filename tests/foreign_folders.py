"""Folders and files that somebody else has, where a command is told to write."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from gpu_runner import atomic


def write_two(directory: Path) -> None:
    (directory / "a.bin").write_bytes(b"abc")
    (directory / "b.bin").write_bytes(b"defg")


def contents(place: Path) -> dict[str, str | bytes]:
    """Everything below a folder: what a link leads to, what a file holds, "" for a folder."""
    return {
        str(path.relative_to(place)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else ""
        for path in place.rglob("*")
    }


def extension(place: Path) -> None:
    (place / "m" / "src").mkdir(parents=True)
    (place / "m" / "manifest.json").write_text('{"manifest_version": 3, "name": "mine"}')
    (place / "m" / "src" / "background.js").write_text("let mine;")


def web_app(place: Path) -> None:
    extension(place)
    (place / "m" / "manifest.json").write_text('{"files": {"index.html": {"type": "x"}}}')


def repository(place: Path) -> None:
    (place / "m").mkdir()
    subprocess.run(["git", "init", "-q", place / "m"], check=True)


def other_model(place: Path) -> None:
    atomic.publish(place / "m", write_two, of="another-run")


def with_a_file_more(place: Path) -> None:
    atomic.publish(place / "m", write_two, of="mine")
    (place / "m" / "notes.txt").write_text("mine")


def with_a_folder_more(place: Path) -> None:
    atomic.publish(place / "m", write_two, of="mine")
    (place / "m" / "notes").mkdir()


def changed_in_place(place: Path) -> None:
    atomic.publish(place / "m", write_two, of="mine")
    (place / "m" / "a.bin").write_bytes(b"xyz")


def link_to_a_folder(place: Path) -> None:
    atomic.publish(place / "elsewhere", write_two, of="mine")
    (place / "m").symlink_to("elsewhere")


def link_to_nothing(place: Path) -> None:
    (place / "m").symlink_to("nowhere")


def a_file(place: Path) -> None:
    (place / "m").write_text("mine")


FOREIGN: dict[Callable[[Path], None], str] = {
    extension: r"no readable manifest\.json \('files'\)",
    web_app: "it names no files, or names them wrongly",
    repository: r"no readable manifest\.json",
    other_model: "it is of another-run, not of mine",
    with_a_file_more: r"notes\.txt is not in manifest\.json: it was not saved here",
    with_a_folder_more: r"notes is not in manifest\.json",
    changed_in_place: r"a\.bin is not the file that was saved",
    link_to_a_folder: "it is a link to elsewhere",
    link_to_nothing: "it is a link to nowhere",
    a_file: "it is a file",
}
