"""No file of somebody else is read without bounds: one module opens them."""

import ast
from pathlib import Path

from house.tree import ROOT, nodes, tracked

READER = "py/unfrozen/plain.py"
CALLS = {"read_text", "read_bytes", "ParquetFile", "connect", "fromfile", "memmap", "safe_open"}
WRITES = {"w", "wb", "x", "xb", "a", "ab", "w+", "r+", "r+b"}

OF_THE_SYSTEM = "a file of /proc, /sys or the driver"
OF_THE_PACKAGE = "a file of the installed package or site"
EXPLAINED = {
    ("py/gpu_runner/atomic.py", "open"): "a file whose size its manifest has, or a folder",
    ("py/gpu_runner/checkpoint/origins.py", "open"): "files of a model, whose kinds `find` checks",
    ("py/gpu_runner/data/cache.py", "open"): "a plain file of any size, a part at a time",
    ("py/gpu_runner/data/examples.py", "memmap"): "a cache whose sizes its manifest has",
    ("py/gpu_runner/data/rows.py", "open"): "a plain file, at most MOST_CHARACTERS of it at a time",
    ("py/gpu_runner/data/rows.py", "ParquetFile"): "a plain file, a batch at a time",
    ("py/gpu_runner/cli/commands.py", "read_text"): OF_THE_PACKAGE,
    ("py/gpu_runner/installed.py", "open"): OF_THE_PACKAGE,
    ("py/gpu_runner/installed.py", "read_text"): OF_THE_PACKAGE,
    ("py/gpu_runner/log/commands.py", "open"): "a folder, to flush it",
    ("py/gpu_runner/machine/description.py", "read_text"): OF_THE_SYSTEM,
    ("py/gpu_runner/model/meta_tensors.py", "read_text"): "source of an installed package",
    ("py/gpu_runner/outgoing.py", "read_text"): "a folder that was verified",
    ("py/gpu_runner/plan/machine.py", "read_text"): OF_THE_SYSTEM,
    ("py/gpu_runner/serve/publish.py", "read_text"): OF_THE_PACKAGE,
    ("py/gpu_runner/serve/publish.py", "read_bytes"): OF_THE_PACKAGE,
    ("py/gpu_runner/serve/site.py", "read_bytes"): OF_THE_PACKAGE,
    ("py/gpu_runner/system/limits.py", "read_text"): OF_THE_SYSTEM,
    ("py/gpu_runner/train/reference.py", "fromfile"): "a folder whose sizes its manifest has",
    ("py/gpu_runner/train/reference.py", "memmap"): "a folder whose sizes its manifest has",
    ("py/gpu_runner/watch/evaluation.py", "open"): "what this process has just written",
    ("py/gpu_runner/world/peers.py", "read_text"): OF_THE_SYSTEM,
    ("py/gpu_runner/world/sharded_files.py", "safe_open"): "a plain file, mapped",
    ("py/unfrozen/hub.py", "open"): "the hub's answer, up to a limit, in a limited time",
}


def reads(node: ast.AST) -> str:
    """The name of a call that opens or reads a file by its path; "" for another call."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
    texts = [ast.unparse(one) for one in (*node.args, *(word.value for word in node.keywords))]
    if name != "open":
        return name if name in CALLS else ""
    ours = owner in ("webbrowser", "streams", "Gpus", "CachedSource")
    modes = {text.strip("'\"") for text in texts}
    writes = modes & WRITES or any("O_" in text and "RDONLY" not in text for text in texts)
    flags = owner == "os" and texts[1:2] == ["flags"]
    return "" if ours or writes or flags or "os.devnull" in texts else "open"


def test_one_module_opens_what_others_wrote_and_every_other_place_has_its_reason() -> None:
    found: dict[tuple[str, str], list[int]] = {}
    for path in tracked("*.py"):
        name = path.relative_to(ROOT).as_posix()
        for node in nodes(path) if name.startswith("py/") and name != READER else ():
            if call := reads(node):
                found.setdefault((name, call), []).append(getattr(node, "lineno", 0))
    other = {f"{name}:{lines}: {call}" for (name, call), lines in found.items()
             if (name, call) not in EXPLAINED}  # fmt: skip
    assert not other, f"use unfrozen.plain, or give the reason in {Path(__file__).name}"
    assert EXPLAINED.keys() <= found.keys(), "a reason is left of a call that is gone"
