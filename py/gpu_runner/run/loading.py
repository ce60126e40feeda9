"""The model of a run: by each process as far as it will hold it, its blocks as they are to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text

from gpu_runner.model import added_tokens, blocks, sharded_load
from gpu_runner.model.fused_blocks import fuses
from gpu_runner.model.load import Source, load
from gpu_runner.model.sharded_load import WholeOnly
from gpu_runner.plan.plan import RunPlan
from gpu_runner.text import printable
from gpu_runner.world import World


def loaded(
    planned: RunPlan, source: Source, world: World, console: Console
) -> tuple[Any, list[str]]:
    """The model, and what is to be said of how it was read.

    Of several processes each reads what it will hold, and the model is cut already. Where that
    cannot be, each reads all of it into the memory of its host, and it is cut by `prepare`.
    """
    with console.status(Text(printable(f"loading {source.name}"))):
        if world.size == 1 and not sharded_load.written_in_parts(Path(source.place)):
            return _loaded_whole(planned, source, planned.device), []
        try:
            if planned.vocabulary is not None and source is planned.source:
                raise WholeOnly("tokens are added to it")
            found = sharded_load.begin(source, planned.tokenizer, planned.config.params)
        except WholeOnly as why:
            model = _loaded_whole(planned, source, torch.device("cpu"))
            return model, [_read_whole(source, why)] if world.size > 1 else []
        _prepare_blocks(planned, found.model)
        world.shard(found.model, gathered_in(planned))
        found.fill(world.device)
        return found.model, []


def _loaded_whole(planned: RunPlan, source: Source, device: torch.device) -> Any:
    new, untrained = planned.vocabulary, source is planned.source
    added = len(new.added) if new and untrained else 0
    model = load(source, planned.tokenizer, planned.config.params, device, added)
    if new:
        added_tokens.grow(model, new, untrained=untrained)
    _prepare_blocks(planned, model)
    return model


def _prepare_blocks(planned: RunPlan, model: Any) -> None:
    blocks.check(model.config)
    config = planned.config
    fused = fuses(config, planned.shape)
    blocks.prepare(model, config.checkpointing, compiled=config.compile, fused=fused)


def gathered_in(planned: RunPlan) -> torch.dtype | None:
    """The precision in which blocks are gathered; None: that of the parameters."""
    return torch.bfloat16 if planned.compute != planned.config.params else None


def _read_whole(source: Source, why: WholeOnly) -> str:
    text = f"Every process reads all of {source.name} before it keeps its part: {why}."
    return f"{text} The host needs that much memory for each of them while the model is loaded."
