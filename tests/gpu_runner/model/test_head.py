"""How a model's logits follow from its head, asked of it: the loss that trains is its own."""

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

import causal_types
import sparse_families
import tiny_families
from conftest import matrix
from gpu_runner.data.feed import collate, pack
from gpu_runner.errors import ModelLoadError
from gpu_runner.model.head import head_path
from gpu_runner.model.loss import loss_sum
from unfrozen import runner
from unfrozen.planner.runner import can_train

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

IDS = torch.arange(6, 14)[None]
KINDS = (  # of multipliers, caps and heads by every name, of what is refused, and of what packs
    *("falcon_h1", "recurrent_gemma", "xlstm", "dory", "gemma2", "gemma3", "cohere", "granite"),
    *("phi", "minicpm3", "hyperclovax", "inkling_text", "doge", "roberta", "xlm", "reformer"),
)
REFUSED = {
    "cpmant": "follows from later tokens",
    "gemma3n": "requires the timm library",
    "gemma4_assistant": "fails on tokens alone",
    "gemma4_unified_assistant": "fails on tokens alone",
    "musicgen": "has no attribute",  # by transformers, for which it is no language model
    "musicgen_melody": "has no attribute",
    "prophetnet": "follows from later tokens",  # from how many there are
    "reformer": "fails on tokens alone",  # in training: all rows must have the longest's length
    "xlm": "follows from later tokens",
    "xlnet": "follows from later tokens",
}


@pytest.mark.parametrize("model_type", matrix(causal_types.TYPES, *KINDS))
def test_a_type_has_the_loss_and_gradients_of_its_own_logits_or_is_refused_by_name(
    model_type: str,
) -> None:
    row = causal_types.measure(model_type)
    if model_type in REFUSED:
        assert row.refused
        assert REFUSED[model_type] in row.path
    else:
        assert not row.refused, row.path
        assert row.loss <= causal_types.LOSS_BOUND
        assert row.gradients <= causal_types.GRADIENT_BOUND
        shape = causal_types.shape_of(model_type)
        if shape and can_train(shape.architecture) and model_type != "inkling_text":  # cuts padding
            linear = runner.loss(shape.architecture, "linear") == "linear"  # as a plan predicts it
            assert linear == row.path.startswith("linear")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cap_shows_where_the_logits_are_too_small_to_reach_it(dtype: torch.dtype) -> None:
    model = tiny_families.model("gemma2", final_logit_softcapping=30.0).to(dtype)
    assert model(input_ids=IDS).logits.abs().max() < 1
    assert head_path(model, IDS).factor is None


@pytest.mark.parametrize(("scaling", "factor"), [(1.0, 1.0), (4.0, 0.25), (3.0, 1 / 3)])
def test_a_multiplier_is_that_of_the_configuration(scaling: float, factor: float) -> None:
    settings = tiny_families.SIZES | {"logits_scaling": scaling}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("granite", **settings))
    found = head_path(model, IDS).factor
    assert found == pytest.approx(factor, rel=1e-6)
    assert (found == 1) == (scaling == 1)


class Scaled(LlamaForCausalLM):
    """Multiplies its logits by a weight for all words, which starts at 1."""

    def __init__(self, config: object) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * self.change(output.logits)
        return output

    def change(self, logits: Tensor) -> Tensor:
        return self.scale.to(logits)


class Cooled(Scaled):
    """Multiplies its logits by one over their position."""

    def change(self, logits: Tensor) -> Tensor:
        return 1 / torch.arange(1, 1 + logits.shape[1])[:, None]


class Clipped(Scaled):
    """Changes its logits in place."""

    def change(self, logits: Tensor) -> Tensor:
        logits.clamp_(-0.1, 0.1)
        return torch.ones(())


@pytest.mark.parametrize("kind", [Scaled, Cooled, Clipped])
def test_what_comes_after_the_head_is_trained_whatever_it_is(kind: type[Scaled]) -> None:
    config = AutoConfig.for_model("llama", **tiny_families.SIZES)
    torch.manual_seed(0)
    model = kind(config)
    total, gradients = causal_types.of_each(model)
    model.zero_grad()
    loss, _ = loss_sum(model, collate(causal_types.DOCUMENTS, 0))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(total, rel=1e-6)
    assert ("scale" in gradients) is (kind is Scaled)
    for name, gradient in gradients.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient, rtol=1e-4, atol=1e-6)


def test_a_model_that_reads_what_it_predicts_is_refused_by_its_name() -> None:
    sizes = {"vocab_size": 264, "hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32}
    config = AutoConfig.for_model("bert", **sizes, num_attention_heads=4)
    with pytest.raises(ModelLoadError, match=r"BertLMHeadModel .* follows from later tokens"):
        head_path(AutoModelForCausalLM.from_config(config), IDS)
    with pytest.raises(ModelLoadError, match=r"DogeForCausalLM .* follows from later tokens"):
        head_path(sparse_families.model("doge"), IDS)  # its experts mix up tokens


def test_documents_are_not_packed_where_they_are_not_computed_as_alone() -> None:
    """RoBERTa's first position is not 0, where that of a packed document is."""
    shape = causal_types.shape_of("roberta")
    model = causal_types.model("roberta", **causal_types.attention.arguments_for(shape))
    with pytest.raises(ModelLoadError, match=r"RobertaForCausalLM .* set packing = false"):
        loss_sum(model, pack(causal_types.DOCUMENTS, 0))


def test_a_look_at_a_model_draws_no_number_and_leaves_it_as_it_was() -> None:
    settings = tiny_families.GPT2 | {"attn_pdrop": 0.5}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **settings)).train()
    model.transformer.wte.eval()
    modes = [module.training for module in model.modules()]
    state, weights = (
        torch.get_rng_state(),
        {name: p.clone() for name, p in model.named_parameters()},
    )
    head_path(model, IDS)
    assert torch.equal(torch.get_rng_state(), state)
    assert "forward" not in vars(model.get_output_embeddings())
    assert all(
        torch.equal(weights[name], p) and p.grad is None for name, p in model.named_parameters()
    )
    assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()
