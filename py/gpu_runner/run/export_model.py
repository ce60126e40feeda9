"""A run's model as one directory that transformers loads, whatever wrote it.

A checkpoint in shards is read layer by layer and written file by file, so that neither the number
of processes that wrote it nor the memory of this machine matters.
"""

from __future__ import annotations

from pathlib import Path

from gpu_runner.checkpoint import directory as checkpoint
from gpu_runner.checkpoint.directory import Saved
from gpu_runner.errors import CheckpointError, UsageError
from gpu_runner.model import sharded_load
from gpu_runner.model.load import DTYPES, Source, load_tokenizer, read_config
from gpu_runner.model.save import save_around, save_weights
from gpu_runner.model.sharded_load import WholeOnly
from gpu_runner.run.run_models import model_place


def export_model(
    run: Path, out: Path | None = None, dtype: str | None = None, step: int | None = None
) -> Saved:
    """Write the model of `run` to `out`, or to `export/hf` in the run.

    That of the finished run; of one that is not, or with `step`, that of a checkpoint. `dtype` is
    that of its files, its own if None. Raises `CheckpointError` where there is no such model, or it
    is not as it was saved; `UsageError`, `ModelLoadError`; `SystemFailure` where it cannot be
    written.
    """
    if dtype not in (None, *DTYPES):
        raise UsageError(f"--dtype {dtype!r} is unknown: choose {' or '.join(DTYPES)}.")
    place = model_place(run, step)
    source = Source("directory", run.name, str(place))
    own, _ = read_config(source)
    tokenizer = load_tokenizer(source)
    narrow = str(getattr(own, "dtype", "")).removeprefix("torch.") == "bfloat16"
    try:
        found = sharded_load.begin(source, tokenizer, "bf16" if narrow else "fp32")
    except WholeOnly as why:
        raise CheckpointError(f"{place} cannot be exported: {why}.") from None
    wide = DTYPES[dtype] if dtype else None

    def fill(directory: Path) -> None:
        save_around(found.model, tokenizer, directory, wide)
        with found.tensors() as whole_of:
            save_weights(found.model, directory, whole_of, wide)

    where = out or run / "export" / "hf"
    return checkpoint.publish(where, fill, private=False)
