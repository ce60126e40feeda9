"""The Llama by hand is transformers' Llama: its loss, and every gradient."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from gpu_runner import demo
from lab_demo import loaded
from unfrozen.errors import PlanError
from unfrozen.lab.demo import EncodedRow, documents
from unfrozen.lab.llama import Documents, Llama, Weights
from unfrozen.model import ModelConfig

pytestmark = pytest.mark.slow

IGNORED = -100
MOST_APART = 1e-4  # of a tensor's largest entry


def torch_gradients(model: LlamaForCausalLM, given: list[EncodedRow]) -> tuple[float, Weights]:
    """Mean loss over trained tokens, row by row without packing, and its gradients."""
    model.zero_grad()
    count = sum(row.trained_tokens for row in given)
    total = torch.zeros(())
    for row in given:
        ids = torch.tensor([row.ids])
        labels = ids.masked_fill(~torch.tensor([row.trained]), IGNORED)
        logits = model(input_ids=ids).logits
        total += torch.nn.functional.cross_entropy(
            logits[0, :-1], labels[0, 1:], ignore_index=IGNORED, reduction="sum"
        )
    (total / count).backward()
    return float(total.detach() / count), {n: p.grad.numpy() for n, p in model.named_parameters()}


def apart(ours: Weights, theirs: Weights) -> float:
    """The largest difference of an entry, relative to its tensor's largest."""
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[n] - g).max() / np.abs(g).max()) for n, g in theirs.items())


@pytest.mark.parametrize("first", [0, 100, 300])
def test_loss_and_gradients_of_the_demo_are_pytorchs(first: int) -> None:
    given = list(loaded().train[first : first + 16])
    model = AutoModelForCausalLM.from_pretrained(demo.model_dir())
    loss, theirs = torch_gradients(model, given)
    packed = documents(given)
    found, ours = loaded().model.gradients(loaded().start, packed)
    assert found == pytest.approx(loss, rel=1e-6)
    assert apart(ours, theirs) <= MOST_APART
    total = loaded().model.loss(loaded().start, packed)
    assert total / len(packed.targets) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": False},
        {"num_key_value_heads": 1},
        {"num_key_value_heads": 4},
        {"head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    ],
)
def test_other_llamas_are_differentiated_as_well(changes: dict[str, object]) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        **{
            "vocab_size": 50, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        } | changes
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    draw = np.random.default_rng(1)
    given = [
        EncodedRow(
            tuple(draw.integers(0, 50, length).tolist()), (False, *[True] * (length - 1)), "", ""
        )
        for length in (5, 9, 5, 2)
    ]
    loss, theirs = torch_gradients(model, given)
    weights = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    data = config.to_dict()
    theta = data["rope_parameters"]["rope_theta"]
    ours = Llama(ModelConfig.from_hf(data).architecture, theta, 1e-5)
    found, gradients = ours.gradients(weights, documents(given))
    assert found == pytest.approx(loss, rel=1e-6)
    assert apart(gradients, theirs) <= MOST_APART


def test_a_row_does_not_see_the_rows_it_is_packed_with() -> None:
    first, second = loaded().train[:2]
    alone = [loaded().model.loss(loaded().start, documents([row])) for row in (first, second)]
    packed = loaded().model.loss(loaded().start, documents([first, second]))
    assert packed == pytest.approx(sum(alone), rel=1e-6)


def test_the_first_token_of_a_row_is_never_predicted() -> None:
    packed = Documents.of([(3, 4), (5, 6, 7)], [(True, True), (True, False, True)])
    assert packed.predicting.tolist() == [0, 3]
    assert packed.targets.tolist() == [4, 7]
    assert packed.positions.tolist() == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("changes", [{"model_type": "qwen2"}, {"attention_bias": True}])
def test_what_is_no_plain_llama_is_sent_to_the_runner(changes: dict[str, object]) -> None:
    config = json.loads((demo.model_dir() / "config.json").read_text())
    with pytest.raises(PlanError, match="use the runner"):
        Llama(ModelConfig.from_hf(config | changes).architecture)
