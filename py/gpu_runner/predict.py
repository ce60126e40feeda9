"""What `unfrozen.memory` says this run will hold: by instant, by component, before it starts."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gpu_runner.config import TrainConfig
from unfrozen.memory.classic import activation_bytes
from unfrozen.model import ModelConfig

Components = dict[str, int]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted bytes by instant and component (names of `unfrozen.events`)."""

    instants: dict[str, Components]
    bytes_per_parameter: int

    @property
    def peak_instant(self) -> str:
        """The instant that needs most."""
        return max(self.instants, key=lambda name: sum(self.instants[name].values()))

    @property
    def peak_bytes(self) -> int:
        """What it needs."""
        return sum(self.instants[self.peak_instant].values())


def predict(
    shape: ModelConfig, config: TrainConfig, rows: int, length: int, device: torch.device
) -> Prediction:
    """Memory of a step on micro-batches of `rows` × `length` tokens (padding included)."""
    del device
    width = 4 if config.params == "fp32" else 2
    params = shape.num_parameters * width
    states = {"params": params, "moments": 2 * params}
    grads = {"grads": params if config.grad_accum > 1 else 0}
    a = shape.architecture
    activations = activation_bytes(length, rows, a.hidden, a.layers)
    logits = 3 * 4 * rows * length * a.vocab
    instants = {
        "load": {"params": params},
        "end_of_forward": states | grads | {"activations": activations, "logits_loss": logits},
        "end_of_backward": states | {"grads": params},
        "optimizer_step": states | {"grads": params},
    }
    return Prediction(instants, 4 * width)
