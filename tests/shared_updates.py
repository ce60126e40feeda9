"""Updates by every optimizer with given gradients, in a world of any size; for tests of equality.

No data and no backward pass: what differs between two worlds is then the update's alone.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import tiny_families
from gpu_runner.checkpoint import training_state
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer import OptimizerChoice
from gpu_runner.world import World, full_tensor, join, shard_like

RATE, DECAY = 1e-2, 0.1
BAD_STEP = 2  # one gradient of it is no number: every process must skip it

CASES = {
    "adamw": ("llama", OptimizerChoice(rates=(("blocks", 0.5),))),
    "adamw-stochastic": ("llama", OptimizerChoice(rounding="stochastic", seed=7)),
    "adamw-kahan": ("llama", OptimizerChoice(rounding="kahan")),
    "sgd": ("llama", OptimizerChoice("sgd")),
    "sgd-momentum": ("llama", OptimizerChoice("sgd", momentum=0.9)),
    "muon": ("llama", OptimizerChoice("muon", rates=(("blocks", 0.5),))),
    "muon-experts": ("mixtral", OptimizerChoice("muon")),
    "adafactor": ("llama", OptimizerChoice("adafactor")),
    "adafactor-stochastic": ("llama", OptimizerChoice("adafactor", rounding="stochastic")),
    "adafactor-kahan": ("llama", OptimizerChoice("adafactor", rounding="kahan")),
    "adafactor-experts": ("mixtral", OptimizerChoice("adafactor")),
}
"""Name → (family of the model, its optimizer); 16-bit weights where updates are rounded."""
EIGHT_BIT = ("8-bit", "8-bit-odd")
_SQUARE = dict.fromkeys(("hidden_size", "intermediate_size", "vocab_size"), 128)
_SQUARE |= {"num_key_value_heads": 4, "head_dim": 32}
_SIZES = {"8-bit": _SQUARE, "8-bit-odd": _SQUARE | {"vocab_size": 126}}


@dataclass(frozen=True, slots=True)
class Leg:
    """Steps `first` … `last` of `cases`, from what the leg before left in `before`."""

    first: int
    last: int
    after: Path
    before: Path | None = None
    parts: int | None = None
    """Into how many a model is cut; None: as many as there are processes."""
    cases: tuple[str, ...] = tuple(CASES)


def walk(leg: Leg) -> None:
    """One leg in this process, which is a child of several."""
    torch.set_num_threads(1)
    torch.compiler.set_stance("force_eager")  # torchao's update as it is written
    world = join(torch.device("cpu"), leg.parts)
    try:
        walk_in(world, leg)
    finally:
        world.close()


def walk_in(world: World, leg: Leg) -> None:
    """Every case of the leg; weights and states go into a directory of each."""
    for name in leg.cases:
        before = leg.before / name if leg.before is not None else None
        _walk_case(world, name, leg, before)


def _walk_case(world: World, name: str, leg: Leg, before: Path | None) -> None:
    family, choice = CASES.get(name, ("llama", OptimizerChoice("adamw8bit")))
    model = tiny_families.model(family, tie_word_embeddings=True, **_SIZES.get(name, {}))
    model = model.to(torch.float32 if choice.rounding == "nearest" else torch.bfloat16)
    if before is not None:
        kept = load_file(before / "model.safetensors")
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                parameter.copy_(kept[key])
    world.shard(model, None)
    optimizer = optim.build(model, lr=RATE, weight_decay=DECAY, choice=choice)
    if before is not None:
        training_state.restore(before, model, optimizer, world)
    for number in range(leg.first, leg.last + 1):
        generator = torch.Generator().manual_seed(number)
        for key, parameter in model.named_parameters():
            gradient = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            if number == BAD_STEP and key == "model.norm.weight":
                gradient[3] = float("nan")
            parameter.grad = shard_like(parameter, gradient)
        norm = world.norm(optim.gradient_norm(model.parameters()))
        skipped = optimizer.step(RATE, norm, 0.0)
        assert bool(skipped) == (number == BAD_STEP)
    weights = {key: full_tensor(p.detach()) for key, p in model.named_parameters()}
    tensors, metadata = training_state.collect(model, optimizer, world)
    if world.first:
        place = leg.after / name
        place.mkdir(parents=True)
        save_file(weights, place / "model.safetensors")
        training_state.write(place, tensors, metadata)
