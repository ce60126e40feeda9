"""Parameters by layer, part and pattern, with the names that real architectures have."""

import pytest

from unfrozen.model import ModelConfig
from unfrozen.parameter_groups import (
    PARTS,
    is_embedding,
    layer_of,
    match_names,
    match_patterns,
    nearest_patterns,
    pattern_values,
)

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "vocab_size": 64,
}
GPT2 = {"n_embd": 32, "n_layer": 12, "n_head": 4, "vocab_size": 64}
MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def names(family: str, **changes: object) -> list[str]:
    sizes = GPT2 if family == "gpt2" else SIZES
    config = {"model_type": family, **sizes, **changes}
    return [tensor.name for tensor in ModelConfig.from_hf(config).tensors]


LLAMA = names("llama", tie_word_embeddings=False)


@pytest.mark.parametrize(
    ("family", "part", "count", "one"),
    [
        ("llama", "embedding", 1, "model.embed_tokens.weight"),
        ("llama", "head", 1, "lm_head.weight"),
        ("llama", "norms", 25, "model.norm.weight"),
        ("llama", "router", 0, ""),
        ("qwen3", "norms", 49, "model.layers.3.self_attn.q_norm.weight"),
        ("gpt2", "embedding", 2, "transformer.wpe.weight"),
        ("gpt2", "head", 0, ""),
        ("gpt2", "norms", 50, "transformer.ln_f.bias"),
        ("gpt_neox", "embedding", 1, "gpt_neox.embed_in.weight"),
        ("gpt_neox", "head", 1, "lm_head.weight"),
        ("gpt_neox", "norms", 50, "gpt_neox.final_layer_norm.weight"),
        ("qwen2_moe", "router", 12, "model.layers.0.mlp.gate.weight"),
        ("qwen2_moe", "experts", 12 * 6, "model.layers.0.mlp.shared_expert_gate.weight"),
        ("qwen3_moe", "experts", 24, "model.layers.0.mlp.experts.down_proj"),
    ],
)
def test_a_word_is_of_the_part_that_people_mean(
    family: str, part: str, count: int, one: str
) -> None:
    more = MIXTURE if family.endswith("moe") else {"tie_word_embeddings": family == "gpt2"}
    found = match_names(part, names(family, **more))
    assert len(found) == count
    assert not one or one in found


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "gpt_neox", "olmo2", "phi3"])
def test_every_weight_is_in_the_blocks_the_embedding_the_head_or_a_norm(family: str) -> None:
    every = names(family, tie_word_embeddings=False)
    covered = {name for part in PARTS for name in match_names(part, every)}
    assert covered == set(every)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("embed_tokens", 1),
        ("embed*", 1),
        ("layers.1", 9),  # and not those of 10 and 11
        ("layers.1*", 27),
        ("layers.[01]", 18),
        ("q_proj", 12),
        ("model.layers.*.q_proj", 12),
        ("model.norm.weight", 1),
        ("*", len(LLAMA)),
        ("embed", 0),
        ("Q_PROJ", 0),
        ("", 0),
    ],
)
def test_a_pattern_is_of_whole_names_between_dots(pattern: str, count: int) -> None:
    assert len(match_names(pattern, LLAMA)) == count


def test_the_last_pattern_that_is_of_a_weight_counts() -> None:
    values = {"blocks": 0.5, "norms": 2.0, "layers.0": 0.1}
    found = pattern_values(values, LLAMA)
    assert found["model.embed_tokens.weight"] == 1.0
    assert found["model.layers.3.self_attn.q_proj.weight"] == 0.5
    assert found["model.layers.3.input_layernorm.weight"] == 2.0
    assert found["model.layers.0.input_layernorm.weight"] == 0.1
    assert set(match_patterns(["layers.0", "blocks"], LLAMA).values()) == {"blocks"}


def test_what_may_have_been_meant_is_near() -> None:
    assert nearest_patterns("embeding", LLAMA)[0] == "embedding"
    assert "q_proj" in nearest_patterns("q_prj", LLAMA)
    assert "lm_head" in nearest_patterns("lm_heads", LLAMA)
    assert nearest_patterns("zzz", LLAMA) == ["embedding", "head", "norms", "blocks"]


def test_a_pattern_of_many_stars_is_answered_at_once() -> None:
    assert match_names("*a" * 90 + "b", LLAMA) == []


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


@pytest.mark.parametrize(
    ("name", "before"),
    [("transformer.wte.weight", True), ("transformer.wpe.weight", True),
     ("transformer.ln_f.bias", False), ("gpt_neox.embed_in.weight", True),
     ("embed_out.weight", False)],
)  # fmt: skip
def test_embeddings_are_known_by_the_names_of_each_family(name: str, before: bool) -> None:
    assert is_embedding(name) is before
