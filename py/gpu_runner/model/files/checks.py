"""What would let a run start from half-random weights, or crash in it, is refused before."""

from __future__ import annotations

from typing import Any

from gpu_runner.errors import ModelLoadError
from unfrozen.model import ModelConfig


def check_vocabulary(name: str, tokens: int, rows: int) -> None:
    """Refuse a tokenizer with more `tokens` than the embedding has `rows`."""
    if tokens > rows:
        raise ModelLoadError(
            f"{name}: the tokenizer has {tokens:,} tokens, the embedding {rows:,} rows:"
            " ids beyond it would crash the model. Use the tokenizer that belongs to this model."
        )


def check_weights(name: str, report: dict[str, Any]) -> None:
    """Refuse weights that are missing, unexpected or mismatched, by the library's `report`."""
    for what, remedy in (
        ("missing", "the file is incomplete, or the configuration belongs to another model"),
        ("unexpected", "the configuration belongs to another model"),
        ("mismatched", "the configuration's sizes are not those of the file"),
    ):
        names = sorted(map(str, report.get(f"{what}_keys") or ()))
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise ModelLoadError(
                f"{name}: {len(names)} {what} weights: {', '.join(names[:5])}{more}."
                f" Refused: {remedy}."
            )


def check_count(name: str, model: Any, shape: ModelConfig | None) -> None:
    """Refuse a model that has another number of parameters than is counted."""
    counted = sum(parameter.numel() for parameter in model.parameters())  # tied ones once
    if shape is not None and counted != shape.num_parameters:
        raise ModelLoadError(
            f"{name} has {counted:,} parameters, but its configuration says"
            f" {shape.num_parameters:,}: the memory prediction would be wrong. Please report the"
            " model's config.json."
        )
