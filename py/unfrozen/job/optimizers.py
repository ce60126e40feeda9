"""Every optimizer, declared once: its states, its memory traffic, and its options in the runner.

The planner, the memory model, the timing and the runner's options read these tables. An update with
temporaries of its own also has a formula in `unfrozen.memory.states`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args


@dataclass(frozen=True, slots=True)
class OptimizerKind:
    """What the memory model and the timing know about one optimizer.

    label              its name in the planner
    states             numbers that it keeps for each weight of a matrix, in the dtype of `moments`
    other_states       the same for each weight that is in no matrix of a layer; None where equal
    counts_steps       whether it keeps a step count for each tensor, on every process
    factored           whether it keeps means of rows and columns instead of states (Adafactor)
    orthogonal         whether its update makes whole matrices orthogonal (Muon)
    projected          whether states of a matrix are in a space of lower rank (GaLore)
    unfused_bytes      bytes a weight that its update moves beyond its states when it is not fused,
                       in fp32
    """

    label: str
    states: int = 0
    other_states: int | None = None
    counts_steps: bool = False
    factored: bool = False
    orthogonal: bool = False
    projected: bool = False
    unfused_bytes: int = 8

    @property
    def has_moments(self) -> bool:
        """Whether `moments` chooses the dtype of anything it keeps."""
        return self.states > 0


OPTIMIZERS: Final = {
    "adamw": OptimizerKind("AdamW", 2, counts_steps=True, unfused_bytes=52),
    "sgd": OptimizerKind("SGD"),
    "sgd_momentum": OptimizerKind("SGD with momentum", 1),
    "adafactor": OptimizerKind("Adafactor", counts_steps=True, factored=True),
    "lion": OptimizerKind("Lion", 1, unfused_bytes=24),
    "muon": OptimizerKind("Muon", 1, other_states=2, orthogonal=True),
    "galore": OptimizerKind("GaLore", 2, projected=True),
    "apollo": OptimizerKind("APOLLO", 2, projected=True),
}
"""By the value of `recipe.optimizer`. The unfused AdamW's mul, lerp, mul, addcmul, sqrt, div, add
and addcdiv read and write 80 bytes in all, the fused one 28 (torch/optim/adamw.py,
`_multi_tensor_adamw`)."""


@dataclass(frozen=True, slots=True)
class RunnerOptimizer:
    """What `gpu_runner` does with one of its optimizers.

    betas    whether β₁ and β₂ matter: it is AdamW, or leaves some weights to AdamW
    rounds   whether it rounds updates of 16-bit weights as asked; others to the nearest
    """

    betas: bool = False
    rounds: bool = False


RunnerOptimizerName = Literal["adamw", "adamw8bit", "adafactor", "sgd", "muon"]
RUNNER_OPTIMIZERS: Final[dict[RunnerOptimizerName, RunnerOptimizer]] = {
    "adamw": RunnerOptimizer(betas=True, rounds=True),
    "adamw8bit": RunnerOptimizer(betas=True),
    "adafactor": RunnerOptimizer(rounds=True),
    "sgd": RunnerOptimizer(),
    "muon": RunnerOptimizer(betas=True),
}
"""By the value of `--set optimizer=…`."""
assert tuple(RUNNER_OPTIMIZERS) == get_args(RunnerOptimizerName)
