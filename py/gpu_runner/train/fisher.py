"""The diagonal Fisher that EWC needs: on which rows, estimated once, stored in the run's directory.

Empirical: the mean over rows of the squared gradient of −log p(row), one forward and backward a
row (Kirkpatrick et al., arXiv 1612.00796; empirical because the row's own tokens are its labels,
Kunstner et al., arXiv 1905.12558). It is divided by its mean over all weights: a strength then
means on average what it means for L2-SP, however sure the model is of these rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.atomic import check_files
from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint.sharded_directory import FISHER, publish_sharded
from gpu_runner.checkpoint.training_state import shards_of
from gpu_runner.data import run_data
from gpu_runner.data.dataset import GENERAL
from gpu_runner.data.encode import pad_token
from gpu_runner.data.examples import Example, Joined
from gpu_runner.data.feed import Batch, collate
from gpu_runner.errors import CheckpointError, DataError, UsageError
from gpu_runner.model.blocks import as_written
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim.optimizer import Optimizer
from gpu_runner.plan.plan import RunPlan
from gpu_runner.train.evaluate import Progress, no_progress
from gpu_runner.train.initial_weights import InitialWeights
from gpu_runner.train.penalties import Penalty
from gpu_runner.world import World, as_sharded, local, trained_weights
from gpu_runner.world.sharded_files import WEIGHTS
from unfrozen.training_data import spread
from unfrozen.units import format_bytes

FILE: Final = f"{FISHER}.safetensors"
Tell = Callable[[str, str], None]


def prepare(
    planned: RunPlan,
    model: Any,
    initial_weights: InitialWeights,
    directory: Path,
    *,
    optimizer: Optimizer,
    untrained: bool,
    tell: Tell,
    progress: Progress = no_progress,
) -> Penalty:
    """Return the penalties of a run, and estimate the Fisher if it needs one and has none yet.

    `tell(level, text)` reports what that cost. Raises `UsageError` for a run without examples to
    estimate on, `CheckpointError` when a resumed run has lost its Fisher.
    """
    config = planned.config
    file = _fisher_path(directory)
    if config.ewc and not file.exists():
        if not untrained:
            raise CheckpointError(
                f"{file} is gone, and only untrained weights can estimate it: put it back, or start"
                " a new run."
            )
        _estimate_for(planned, model, directory / FILE, initial_weights.world, tell, progress)
        file = _fisher_path(directory)
    if config.anchor_in_memory and (config.l2sp or config.l2sp_pull or config.ewc):
        copies = 2 if config.ewc else 1
        size = 4 * copies * sum(local(p).numel() for p in trained_weights(model).values())
        what = "θ₀ and the Fisher are" if config.ewc else "θ₀ is"
        tell("info", f"{what} held in memory: {format_bytes(size)} beside what is predicted.")
    by_parameter = optimizer.lr_multipliers()
    return Penalty(
        initial_weights,
        l2sp=config.l2sp,
        l2sp_pull=config.l2sp_pull,
        ewc=config.ewc,
        fisher=file if config.ewc else None,
        shares={n: by_parameter[p] for n, p in trained_weights(model).items()},
        keep=config.anchor_in_memory,
    )


def _fisher_path(directory: Path) -> Path:
    """Return where the Fisher is: in the folder that several processes wrote, else in one file.

    Raises `CheckpointError` where shards are missing or cut off.
    """
    folder = directory / FISHER
    if not folder.exists():
        return directory / FILE
    check_files(folder)
    return folder


def _estimate_for(
    planned: RunPlan, model: Any, file: Path, world: World, tell: Tell, progress: Progress
) -> None:
    what, examples, remarks = rows(planned)
    for text in remarks:
        tell("warn", text)
    if what == GENERAL:
        tell(
            "warn",
            "EWC: the Fisher is estimated on the general rows, so what they score is no longer held"
            " out. Give fisher_data or --replay other rows of the same kind.",
        )
    started = time.monotonic()
    pad_id = pad_token(planned.tokenizer)

    def reported() -> Iterator[Batch]:
        for done, example in enumerate(examples):
            progress(done / len(examples))
            yield collate([example], pad_id).to(planned.device)

    estimate(model, reported(), file, world=world, autocast=planned.autocast)
    seconds = time.monotonic() - started
    size = sum(p.numel() for p in trained_weights(model).values()) * 4
    tell(
        "info",
        f"EWC: the Fisher of {len(examples)} {what} rows took {seconds:.1f} s"
        f" ({1000 * seconds / len(examples):.0f} ms a row) and {format_bytes(size)} on disk.",
    )


def rows(planned: RunPlan) -> tuple[str, Sequence[Example], list[str]]:
    """(which ones, the rows the Fisher is estimated on, what was cut or left out of them).

    At most `fisher_rows`, evenly drawn: those of `fisher_data`, else the replayed ones, else the
    general suites, whose left-out examples the plan has reported. Raises `UsageError` if there are
    none, `DataError` for rows of `fisher_data` that cannot be read.
    """
    config = planned.config
    if config.fisher_data is not None:
        source = config.fisher_data
        read = run_data.load_whole("fisher_data", source, config, planned.encoder)
        return "fisher_data", _spread(read.examples, config.fisher_rows), read.remarks()
    if planned.train.replayed_rows:
        replayed = planned.train.examples[-planned.train.replayed_rows :]
        return "replayed", _spread(tuple(dict.fromkeys(replayed)), config.fisher_rows), []
    suites = [s for name, s in planned.suites.items() if name.startswith(f"{GENERAL}/")]
    general = Joined([suite.examples for suite in suites])
    if not len(general):
        raise UsageError(
            "ewc has no rows to estimate the Fisher on: give fisher_data, --replay or --general."
        )
    return GENERAL, _spread(general, config.fisher_rows), []


def _spread(examples: Sequence[Example], most: int) -> Sequence[Example]:
    """At most so many of them, evenly spaced."""
    return [examples[index] for index in spread(len(examples), most)]


def estimate(
    model: Any,
    batches: Iterable[Batch],
    file: Path,
    *,
    world: World,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> None:
    """Write F of every parameter (fp32, mean 1 over all of them) from batches of one row each.

    Several processes write it into the folder of that name, each what it holds.

    Dropout is off; gradients are gone afterwards. Needs 4 bytes a parameter while it runs, when no
    moments exist yet. Raises `DataError` if the rows have no gradient at all, `SystemFailure` where
    they cannot be written.
    """
    trained = trained_weights(model)
    totals = {
        name: torch.zeros_like(local(p.detach()), dtype=torch.float32)
        for name, p in trained.items()
    }
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            with as_written(model):
                with autocast():
                    total, _ = world.run(loss_sum, model, batch)
                total.backward()
            for name, parameter in trained.items():
                if parameter.grad is not None:
                    totals[name] += local(parameter.grad).float().square()
                parameter.grad = None
    finally:
        model.train(was_training)
    mean = _mean(totals, world)
    if not (mean > 0 and mean < float("inf")):
        raise DataError(
            f"the rows for EWC's Fisher have gradients of mean square {mean}: give others."
        )
    parts = {n: as_sharded(p, (totals.pop(n) / mean).contiguous()) for n, p in trained.items()}
    if world.size > 1:
        publish_sharded(file.with_suffix(""), world, {WEIGHTS: shards_of(parts, world)})
    else:
        checkpoint.write_tensors({name: part.cpu() for name, part in parts.items()}, file)


def _mean(totals: dict[str, Tensor], world: World) -> float:
    pair = torch.tensor(
        [sum(float(s.sum(dtype=torch.float64)) for s in totals.values()),
         sum(s.numel() for s in totals.values())],
        dtype=torch.float64,
    )  # fmt: skip
    total, count = world.sum(pair).tolist()
    return float(total / count)
