"""Update rules of our own beside those they must agree with, and their guard."""

import copy
import warnings

import pytest
import torch
from transformers.optimization import Adafactor as ReferenceAdafactor

import tiny_families
import tiny_llama
from gpu_runner.optim import muon, rounding, rules
from gpu_runner.optim import optimizer as optim
from gpu_runner.optim.optimizer import OptimizerChoice
from gpu_runner.optim.rules import UpdateRule
from own_optimizers import OWN

pytestmark = pytest.mark.slow

ON_DEVICE = [
    *(OptimizerChoice(name=name) for name in OWN),
    OptimizerChoice(name="sgd", momentum=0.9),
    OptimizerChoice(rounding="stochastic"),
    OptimizerChoice(rounding="kahan"),
    OptimizerChoice(name="adafactor", rounding="kahan"),
]
OURS = [c for c in ON_DEVICE if c.rounding != "nearest" or c.name not in ("adamw", "sgd")]
NAMES = [f"{c.name}-{c.momentum}-{c.rounding}" for c in ON_DEVICE]


def gradients(model: torch.nn.Module, seed: int, bad: float | None = None) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    if bad is not None:
        model.model.norm.weight.grad[3] = bad  # type: ignore[index, union-attr]


def step(optimizer: optim.Optimizer, model: torch.nn.Module, clip: float = 1.0) -> float:
    return float(optimizer.step(1e-3, optim.gradient_norm(model.parameters()), clip))


def everything(model: torch.nn.Module, optimizer: optim.Optimizer) -> list[torch.Tensor]:
    """Copies of weights and state, in a fixed order."""
    held = [
        optimizer.state[p][key] for p in model.parameters() for key in sorted(optimizer.state[p])
    ]
    return [tensor.detach().clone() for tensor in (*model.parameters(), *held)]


def small(choice: OptimizerChoice) -> torch.nn.Module:
    dtype = torch.float32 if choice.rounding == "nearest" else torch.bfloat16
    model: torch.nn.Module = tiny_llama.model().to(dtype)
    return model


@pytest.mark.parametrize("choice", ON_DEVICE, ids=NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [1, 3])
def test_a_bad_step_changes_nothing_and_the_run_recovers(
    choice: OptimizerChoice, bad: float, at: int
) -> None:
    model, untouched = small(choice), small(choice)
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.1, choice=choice)
    other = optim.build(untouched, lr=1e-3, weight_decay=0.1, choice=choice)
    for number in range(1, 5):
        if number == at:  # a step that the other one never sees
            before = everything(model, optimizer)
            gradients(model, 99, bad)
            assert step(optimizer, model) == 1.0
            after = everything(model, optimizer)[: len(before)]
            assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
            state = everything(model, optimizer)[len(before) :]
            assert not [tensor for tensor in state if tensor.any()]  # made, and still at 0
        for one, its in ((model, optimizer), (untouched, other)):
            gradients(one, number)
            assert step(its, one) == 0.0
    pairs = zip(everything(model, optimizer), everything(untouched, other), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("choice", OURS, ids=lambda c: f"{c.name}-{c.rounding}")
def test_our_rules_never_ask_the_device_for_a_number(choice: OptimizerChoice) -> None:
    """On the meta device there are none: a step that reads one would raise."""
    model = small(choice).to("meta")
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.1, choice=choice)
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
    ours = [part for part in optimizer.parts if isinstance(part, UpdateRule)]
    assert ours
    for part in ours:
        part.grad_scale = part.found_inf = torch.ones((), device="meta")
        part.step()


def test_adafactor_agrees_with_that_of_transformers() -> None:
    ours, theirs = tiny_llama.model(), tiny_llama.model()
    optimizer = optim.build(
        ours, lr=1e-3, weight_decay=0.0, choice=OptimizerChoice(name="adafactor")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = ReferenceAdafactor(
            theirs.parameters(), lr=1e-3, scale_parameter=False, relative_step=False
        )
    for seed in range(5):
        gradients(ours, seed)
        gradients(theirs, seed)
        step(optimizer, ours, clip=0.0)
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("choice", OURS, ids=lambda c: f"{c.name}-{c.rounding}")
def test_a_tensor_is_moved_piece_by_piece_as_it_would_be_at_once(
    choice: OptimizerChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for pieces in (False, True):
        if pieces:
            monkeypatch.setattr(rules, "ROWS", 100)
            for module in (rules, muon, rounding):
                monkeypatch.setattr(module, "CHUNK", 100)
        model = small(choice)
        optimizer = optim.build(model, lr=1e-3, weight_decay=0.1, choice=choice)
        for seed in range(3):
            gradients(model, seed)
            step(optimizer, model)
        found.append(everything(model, optimizer))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_adafactor_keeps_a_row_and_a_column_for_a_matrix() -> None:
    model = tiny_llama.model()
    optimizer = optim.build(
        model, lr=1e-3, weight_decay=0.0, choice=OptimizerChoice(name="adafactor")
    )
    gradients(model, 0)
    step(optimizer, model)
    matrix = model.model.layers[0].mlp.up_proj.weight  # 64 × 32
    kept = {key: tuple(value.shape) for key, value in optimizer.state[matrix].items()}
    assert kept == {"step": (), "row": (64,), "column": (32,)}


@pytest.mark.parametrize("rounding", ["stochastic", "kahan"])
def test_rounded_adamw_follows_fp32_adamw_where_the_nearest_number_stands_still(
    rounding: str,
) -> None:
    """Steps of a thousandth of a weight: bf16 cannot show one of them, but can show their sum."""
    start = torch.full((4096,), 1.0)
    moved = {}
    for name in ("fp32", "nearest", rounding):
        dtype = torch.float32 if name == "fp32" else torch.bfloat16
        model = torch.nn.ParameterDict({"w": torch.nn.Parameter(start.to(dtype, copy=True))})
        choice = OptimizerChoice(rounding="nearest" if name == "fp32" else name)  # type: ignore[arg-type]
        optimizer = optim.build(model, lr=1e-3, weight_decay=0.0, choice=choice)
        for _ in range(100):
            model["w"].grad = torch.ones_like(model["w"])
            step(optimizer, model, clip=0.0)
        moved[name] = float((model["w"].detach().float() - 1).mean())
        share = optimizer.stalled_share()
        assert share == (1.0 if name == "nearest" else None)
    assert moved["fp32"] == pytest.approx(-0.1, rel=1e-3)
    assert moved[rounding] == pytest.approx(-0.1, rel=0.02)
    assert moved["nearest"] == 0.0


def test_muon_moves_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    model = tiny_llama.model()
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0, choice=OptimizerChoice(name="muon"))
    gradients(model, 0)
    step(optimizer, model)
    matrix, embedding = model.model.layers[1].mlp.up_proj.weight, model.model.embed_tokens.weight
    assert optimizer.state[matrix].keys() == {"momentum_buffer"}
    assert optimizer.state[embedding].keys() == {"step", "exp_avg", "exp_avg_sq"}


def test_muon_is_that_of_torch_on_clipped_gradients() -> None:
    ours, theirs = tiny_llama.model(), tiny_llama.model()
    optimizer = optim.build(ours, lr=1e-3, weight_decay=0.1, choice=OptimizerChoice(name="muon"))
    matrices = [p for n, p in theirs.named_parameters() if p.ndim == 2 and "layers" in n]
    reference = torch.optim.Muon(
        matrices, lr=1e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for seed in range(3):
        gradients(ours, seed)
        gradients(theirs, seed)
        step(optimizer, ours)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        reference.step()
    names = [n for n, p in ours.named_parameters() if p.ndim == 2 and "layers" in n]
    for name, other in zip(names, matrices, strict=True):
        torch.testing.assert_close(ours.get_parameter(name), other, rtol=0, atol=3e-5)


def test_muon_moves_each_of_stacked_experts_as_a_matrix_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(muon, "CHUNK", 3 * 32 * 64)  # three at a time, and one
    stack = torch.randn(4, 64, 32)
    given = torch.randn(2, *stack.shape)
    together = torch.nn.ParameterList([torch.nn.Parameter(stack.clone())])
    apart = torch.nn.ParameterList(torch.nn.Parameter(one.clone()) for one in stack)
    for model in (together, apart):
        optimizer = optim.Optimizer(
            [muon.Muon([{"params": list(model), "weight_decay": 0.1, "rate_share": 1.0}], lr=1e-3)]
        )
        for gradient in given:
            for index, parameter in enumerate(model):
                parameter.grad = (gradient if model is together else gradient[index]).clone()
            optimizer.step(1e-2, torch.tensor(1.0), 0.0)
    torch.testing.assert_close(together[0], torch.stack(list(apart)), rtol=0, atol=2e-4)
    assert (together[0] - stack).abs().mean() > 1e-3


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_muon_moves_the_experts_of_a_model(family: str) -> None:
    model = tiny_families.model(family)
    optimizer = optim.build(model, lr=1e-3, weight_decay=0.0, choice=OptimizerChoice(name="muon"))
    experts = [p for p in optimizer.parts[0].param_groups[0]["params"] if p.ndim == 3]
    assert len(experts) == 2 * model.config.num_hidden_layers


def test_sgd_agrees_with_clip_then_sgd() -> None:
    ours = tiny_llama.model()
    theirs = copy.deepcopy(ours)
    choice = OptimizerChoice(name="sgd", momentum=0.9)
    optimizer = optim.build(ours, lr=1e-3, weight_decay=0.0, choice=choice)
    reference = torch.optim.SGD(theirs.parameters(), lr=1e-3, momentum=0.9)
    for seed in range(3):
        gradients(ours, seed)
        gradients(theirs, seed)
        step(optimizer, ours)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
