"""Nothing of anybody's is overwritten or removed: one module writes and removes, with its rules."""

import ast
from pathlib import Path

import pytest

from house.tree import ROOT, nodes, tracked

WRITER = "py/gpu_runner/atomic.py"
CALLS = {"rmtree", "unlink", "remove", "rmdir", "replace", "rename", "renames", "move", "link_to"}
CALLS |= {
    "write_text",
    "write_bytes",
    "copy",
    "copy2",
    "copyfile",
    "copytree",
    "truncate",
    "mkstemp",
}
CALLS |= {"ftruncate", "mkdtemp", "save_file", "savez", "removedirs"}
OF_TEXTS_TOO = {"replace", "remove", "copy", "move", "truncate"}
"""Methods of texts and lists too: only those of os and shutil count, and `path.replace(other)`."""

OWN_FOLDER = "a folder that the build has made itself, in the repository or new"
EXPLAINED = {
    ("py/gpu_runner/checkpoint/directory.py", "save_file"): "into a path that new_files gives",
    ("py/gpu_runner/checkpoint/directory.py", "rename"): "sets a damaged checkpoint aside",
    ("py/gpu_runner/cli/commands.py", "rmtree"): "a run whose name the user has typed to delete it",
    ("py/gpu_runner/model/save.py", "write_bytes"): "into the folder that publish gives",
    ("py/gpu_runner/run/fine_tune.py", "rmtree"): "the folder that this process has just made",
    ("py/gpu_runner/run/checkpointer.py", "rmdir"): "fails where anything is left in it",
    ("py/gpu_runner/log/writer.py", "ftruncate"): "takes back its own torn line, or its reserve",
    ("py/gpu_runner/serve/launch.py", "open_plain"): "what the last launch printed",
    ("py/gpu_runner/serve/publish.py", "write_text"): "into a new or an empty folder",
    ("py/gpu_runner/serve/publish.py", "write_bytes"): "into a new or an empty folder",
    ("py/gpu_runner/serve/publish.py", "copyfile"): "into a new or an empty folder",
    ("py/gpu_runner/serve/publish.py", "unlink"): "what it has copied itself",
    ("py/gpu_runner/serve/publish.py", "open"): "into a new or an empty folder",
    ("py/unfrozen/hub.py", "write_text"): "into a new folder of its own",
    ("py/unfrozen/hub.py", "replace"): "a file that only it writes, named by a hash",
    ("web/site_builder", ""): OWN_FOLDER,
    ("web/release", ""): OWN_FOLDER,
}


def writes(node: ast.AST) -> str:
    """The name of a call that can overwrite or remove what is on disk; "" for another call."""
    if not isinstance(node, ast.Call):
        return ""
    function, arguments = node.func, [ast.unparse(argument) for argument in node.args]
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in ("open", "fdopen", "open_plain"):
        modes = [*arguments, keywords.get("mode", "")]
        opens = any(mode.strip("'\"") in ("w", "wb", "w+", "wb+", "r+", "r+b") for mode in modes)
        return name if (opens and owner != "os") or any("O_TRUNC" in mode for mode in modes) else ""
    one_path = name == "replace" and owner and len(arguments) == 1 and not keywords
    of_files = name not in OF_TEXTS_TOO or owner in ("os", "shutil") or one_path
    return name if name in CALLS and of_files else ""


def writers() -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for path in tracked("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(("py/", "web/")) and name != WRITER:
            for node in nodes(path):
                if call := writes(node):
                    found.setdefault((name, call), []).append(getattr(node, "lineno", 0))
    return found


def explained(name: str, call: str) -> bool:
    """Whether the list has a reason for a call in a file, or for its folder."""
    folder = "/".join(Path(name).parts[:2])
    return (name, call) in EXPLAINED or (folder, "") in EXPLAINED


def test_only_one_module_overwrites_or_removes_what_is_on_disk() -> None:
    other = [
        f"{name}:{line}: {call}"
        for (name, call), lines in writers().items()
        if not explained(name, call)
        for line in lines
    ]
    assert not other, f"use gpu_runner.atomic, or give the reason in {Path(__file__).name}"


def test_no_reason_is_left_of_a_call_that_is_gone() -> None:
    found = writers()
    folders = {("/".join(Path(name).parts[:2]), "") for name, _ in found}
    assert EXPLAINED.keys() <= found.keys() | folders


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("shutil.rmtree(place)", "rmtree"),
        ("shutil.rmtree(place, ignore_errors=True)", "rmtree"),
        ("path.unlink(missing_ok=True)", "unlink"),
        ("os.replace(one, two)", "replace"),
        ("temporary.replace(path)", "replace"),
        ("path.rename(other)", "rename"),
        ("open(path, 'w')", "open"),
        ("path.open('wb', buffering=0)", "open"),
        ("path.open(mode='w')", "open"),
        ("os.open(path, os.O_WRONLY | os.O_TRUNC)", "open"),
        ("path.write_text(text)", "write_text"),
        ("path.open('xb')", ""),
        ("path.open('a')", ""),
        ("text.replace('a', 'b')", ""),
        ("dataclasses.replace(one, two=2)", ""),
        ("replace(one)", ""),
        ("path.open()", ""),
    ],
)
def test_a_call_that_can_overwrite_is_known_from_one_that_cannot(text: str, call: str) -> None:
    assert writes(ast.parse(text, mode="eval").body) == call
