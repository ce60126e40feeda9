"""What was found and on what machine, as JSON or Markdown: worth sending, and with nothing private.

No path, no host name: versions, the card, and a line a check, which of a failed one is its error.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

import torch

from gpu_runner.errors import SystemFailure
from gpu_runner.installed import installed_version
from gpu_runner.machine.doctor import allocator, driver
from gpu_runner.model.attention import OLDEST
from gpu_runner.plan.machine import computes_bf16

Verdict = Literal["passed", "failed", "skipped"]
PACKAGES: Final = ("transformers", "triton", "bitsandbytes", "torchao", "numpy", "safetensors")
MARKS: Final[dict[Verdict, str]] = {"passed": "✓", "failed": "✗", "skipped": "·"}


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """One check: its sentence, figure and bound, seconds, and why it was skipped or broke."""

    words: str
    verdict: Verdict
    error: float | None = None
    bound: float | None = None
    note: str = ""
    seconds: float = 0.0

    @property
    def figure(self) -> str:
        """The figure beside its bound, in words."""
        if self.error is None or self.bound is None:
            return self.note
        most = f"at most {self.bound:.0e}" if self.bound else "must be exact"
        found = f"{self.error:.1e} ({most})" if self.error else "exactly"
        return f"{found}, {self.note}" if self.note else found


def machine(device: torch.device) -> dict[str, Any]:
    """Versions, and what is known of the processor or the card."""
    found: dict[str, Any] = {
        "unfrozen": installed_version(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "torch": str(torch.__version__),
        **{name: held for name in PACKAGES if (held := _installed(name))},
        "device": device.type,
        "threads": torch.get_num_threads(),
    }
    return found | (card(device) if device.type == "cuda" else {})


def card(device: torch.device) -> dict[str, Any]:
    """A CUDA card: name, capability, memory, driver, and the libraries beside it."""
    held = torch.cuda.get_device_properties(device)
    capability = (held.major, held.minor)
    return {
        "card": held.name,
        "cards": torch.cuda.device_count(),
        "capability": f"{held.major}.{held.minor}",
        "memory_bytes": held.total_memory,
        "driver": driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),
        "bf16": computes_bf16(device),
        "flash_attention": capability >= OLDEST,
        "allocator": allocator(),
    }


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def write(path: Path, about: dict[str, Any], outcomes: Sequence[CheckOutcome]) -> None:
    """The report, by its ending. Raises `SystemFailure` where it cannot be written."""
    text = as_json(about, outcomes) if path.suffix == ".json" else as_markdown(about, outcomes)
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise SystemFailure(f"--report {path}: cannot be written ({error.strerror}).") from None


def as_json(about: dict[str, Any], outcomes: Iterable[CheckOutcome]) -> str:
    """Machine and checks; a number that is not finite as the word for it."""

    def plain(value: Any) -> Any:
        finite = not isinstance(value, float) or abs(value) < float("inf")
        return value if finite else str(value)

    checks = [{name: plain(v) for name, v in asdict(one).items()} for one in outcomes]
    return json.dumps({"machine": about, "checks": checks}, indent=1, ensure_ascii=False) + "\n"


def as_markdown(about: dict[str, Any], outcomes: Iterable[CheckOutcome]) -> str:
    """The same as two tables."""
    lines = ["# Selftest", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(str(value))} |" for name, value in about.items()]
    lines += ["", "| | check | figure | seconds |", "|---|---|---|---:|"]
    for one in outcomes:
        cells = MARKS[one.verdict], _cell(one.words), _cell(one.figure), f"{one.seconds:.1f}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
