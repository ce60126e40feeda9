"""Adapters: the `lora` part of a recipe (Hu et al., arXiv 2106.09685, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import cast

from unfrozen.errors import PlanError
from unfrozen.job.choices import MOST_RANK, join


@dataclass(frozen=True, slots=True)
class Lora:
    """Adapters: two thin matrices beside each target, rank · (in + out) parameters together.

    rank     inner width
    dtype    precision of the adapters; a wider one than that of the weights casts their inputs
    targets  names of linear layers as transformers gives them, or "all-linear"
    library  litgpt, whose published measurements the model is tested on: one product for q, k and
             v, outputs scattered into the product; or peft, where each adapter stands alone
    dropout  probability, of each adapter's own input; default: litgpt's 0.05, peft's 0
    autocast products of wider adapters run in the precision of the weights (Trainer's `bf16=True`
             beside 16-bit weights); without it, in their own
    """

    rank: int = 16
    dtype: str = "bf16"
    targets: tuple[str, ...] = ("all-linear",)
    library: str = "litgpt"
    dropout: float | None = None
    autocast: bool = False

    @property
    def drops(self) -> bool:
        """Whether adapters read a dropped copy of their inputs."""
        return self.library == "litgpt" if self.dropout is None else self.dropout > 0

    @classmethod
    def read(cls, given: object) -> Lora:
        """The adapters of a recipe; raises PlanError. Whether targets exist is for the model."""
        if isinstance(given, Lora):
            return given
        if not isinstance(given, Mapping):
            raise PlanError("recipe.lora", given, "it must be an object", 'give {"rank": 16}')
        known = [field.name for field in fields(cls)]
        for key, value in given.items():
            if key not in known:
                raise PlanError(
                    f"recipe.lora.{key}", value, f"known keys are {join(known)}", "drop it"
                )
        rank, dtype = given.get("rank", 16), given.get("dtype", "bf16")
        targets = given.get("targets", ["all-linear"])
        if type(rank) is not int or not 1 <= rank <= MOST_RANK:
            bound = f"it must be a whole number in 1 … {MOST_RANK:,}"
            raise PlanError("recipe.lora.rank", rank, bound, "correct it")
        if dtype not in ("fp32", "bf16", "fp16"):
            bound = "it must be one of fp32, bf16, fp16"
            raise PlanError("recipe.lora.dtype", dtype, bound, "choose one")
        library = given.get("library", "litgpt")
        if library not in ("litgpt", "peft"):
            bound = "it must be one of litgpt, peft"
            raise PlanError("recipe.lora.library", library, bound, "choose one")
        dropout, autocast = given.get("dropout"), given.get("autocast", False)
        real = type(dropout) in (int, float) and 0 <= cast(float, dropout) < 1
        if dropout is not None and not real:
            bound = "it must be a number in 0 … 1, 1 left out"
            raise PlanError("recipe.lora.dropout", dropout, bound, "correct it, or drop it")
        if type(autocast) is not bool:
            bound = "it must be true or false"
            raise PlanError("recipe.lora.autocast", autocast, bound, "choose one")
        names = [targets] if isinstance(targets, str) else targets
        good = isinstance(names, (list, tuple)) and names and all(type(n) is str for n in names)
        if not good:
            bound = "it must be a list of names of linear layers"
            raise PlanError("recipe.lora.targets", targets, bound, 'give ["all-linear"]')
        return cls(rank, dtype, tuple(names), library, cast("float | None", dropout), autocast)
