"""What each of several processes reads and holds of a model; for tests that look at all of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpu_runner.config.bounds import Precision
from gpu_runner.model import sharded_load
from gpu_runner.model.load import find, load, load_tokenizer
from gpu_runner.world import World, join, local, part_and_count, rows_of


@dataclass(frozen=True, slots=True)
class Reading:
    """Models to read, each process its part of each, and where to leave what was seen."""

    models: tuple[Path, ...]
    seen: Path
    params: Precision = "fp32"
    parts: int | None = None
    compared: bool = True
    """Whether each process also loads the whole model, and compares."""


def read(reading: Reading) -> None:
    """One process: `seen`/rank.json tells of every model what it read, and where it differs."""
    torch.set_num_threads(1)
    world = join(torch.device("cpu"), reading.parts)
    try:
        found = {folder.name: _read(folder, reading, world) for folder in reading.models}
        (reading.seen / f"{world.rank}.json").write_text(json.dumps(found))
    finally:
        world.close()


def _read(folder: Path, reading: Reading, world: World) -> dict[str, Any]:
    source = find(str(folder))
    tokenizer = load_tokenizer(source)
    found = sharded_load.begin(source, tokenizer, reading.params)
    world.shard(found.model, None)
    found.fill(world.device)
    parameters = dict(found.model.named_parameters())
    told = {
        "bytes_read": found.stored.bytes_read,
        "held_bytes": sum(
            local(p.detach()).untyped_storage().nbytes() for p in parameters.values()
        ),
        "part": part_and_count(next(iter(parameters.values()))),
        "different": [],
    }
    if reading.compared:
        whole = load(source, tokenizer, reading.params, torch.device("cpu"))
        told["different"] = _different(whole, found.model)
        told["same_pass"] = _same_pass(whole, found.model, world)
    return told


def _different(whole: Any, cut: Any) -> list[str]:
    """Names of what is not, to the last bit, the rows of the whole."""
    found = []
    parameters = dict(cut.named_parameters())
    expected = dict(whole.named_parameters())
    found += sorted(parameters.keys() ^ expected.keys())
    for name, parameter in parameters.items():
        rows = expected[name].detach()[rows_of(parameter)]
        if not torch.equal(local(parameter.detach()), rows) or parameter.dtype != rows.dtype:
            found.append(name)
    buffers, others = (dict(model.named_buffers()) for model in (whole, cut))
    found += [n for n, b in buffers.items() if n not in others or not torch.equal(b, others[n])]
    return found


def _same_pass(whole: Any, cut: Any, world: World) -> bool:
    """Whether both compute the same, also after a pass, when FSDP has taken the parameters over."""
    ids = torch.arange(8).view(1, 8)

    def logits(model: Any) -> torch.Tensor:
        found: torch.Tensor = model(input_ids=ids).logits
        return found

    with torch.no_grad():
        expected = logits(whole)
        first, second = (world.run(logits, cut) for _ in range(2))
    return bool(torch.equal(first, expected) and torch.equal(second, expected))
