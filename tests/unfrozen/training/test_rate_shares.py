"""Names of weights in every family, and what their layer means for their rate."""

import pytest

from unfrozen.training.parameter_groups import layer_of, rate_shares


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("model.layers.7.mlp.up_proj.weight", "layers.7"),
        ("transformer.h.0.ln_1.bias", "layers.0"),
        ("gpt_neox.layers.3.attention.dense.weight", "layers.3"),
        ("model.embed_tokens.weight", "embed_tokens"),
        ("lm_head.weight", "lm_head"),
        ("scale", "scale"),
    ],
)
def test_a_parameter_belongs_to_its_layer(parameter: str, layer: str) -> None:
    assert layer_of(parameter) == layer


def test_lower_layers_get_lower_rates_and_a_tied_head_is_an_embedding() -> None:
    names = [
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.norm.weight",
        "lm_head.weight",
    ]
    assert rate_shares(names, 2.0) == dict(zip(names, [0.25, 0.5, 1.0, 1.0, 1.0], strict=True))
    assert set(rate_shares(names, 1.0).values()) == {1.0}


@pytest.mark.parametrize(
    ("name", "share"),
    [("transformer.wte.weight", 0.5), ("transformer.wpe.weight", 0.5), ("transformer.ln_f.bias", 1),
     ("gpt_neox.embed_in.weight", 0.5), ("embed_out.weight", 1)],
)  # fmt: skip
def test_embeddings_are_known_by_the_names_of_each_family(name: str, share: float) -> None:
    assert rate_shares([name, "x.h.0.attn.weight"], 2.0)[name] == share
