"""Activation terms against what autograd really saves in transformers' modules."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Container, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from unfrozen.errors import PlanError
from unfrozen.job.recipe import Recipe
from unfrozen.memory.activations import (
    attention_saved_tensors,
    last_saved_tensors,
    layer_bytes,
    layer_saved_tensors,
    shared_saved_tensors,
    undifferentiated_bytes,
    undifferentiated_weights,
)
from unfrozen.memory.layer_setup import LayerSetup
from unfrozen.memory.saved_activations import kind_bytes, saved_tensors
from unfrozen.model import ModelConfig
from unfrozen.model.catalogue import CATALOGUE

BATCH, LENGTH = 2, 35  # no activation has the shape of a weight
LABELS = 8 * BATCH * LENGTH + 4  # which the loss saves, and how many they are
EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
}
LLAMA: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "pad_token_id": 0,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA | {"model_type": "llama"},
    "llama, wide heads": LLAMA | {"model_type": "llama", "head_dim": 40},
    "qwen2": LLAMA | {"model_type": "qwen2"},
    "qwen3": LLAMA | {"model_type": "qwen3", "head_dim": 40},
    "gemma": LLAMA | {"model_type": "gemma", "head_dim": 40},
    "gemma3": LLAMA | {"model_type": "gemma3_text", "head_dim": 40},
    "phi3": LLAMA | {"model_type": "phi3"},
    "olmo": LLAMA | {"model_type": "olmo"},
    "olmo2": LLAMA | {"model_type": "olmo2"},
    "gpt_neox": LLAMA | {"model_type": "gpt_neox"},
    "mixtral": LLAMA | {"model_type": "mixtral", "num_local_experts": 4},
    "qwen3_moe": LLAMA | EXPERTS | {"model_type": "qwen3_moe", "norm_topk_prob": True},
    "qwen2_moe": LLAMA
    | EXPERTS
    | {"model_type": "qwen2_moe", "shared_expert_intermediate_size": 80},
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "vocab_size": 96,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
}


LATENT: dict[str, Any] = {  # values as wide as keys: else a CPU has no kernel for them
    "num_key_value_heads": 4,
    "kv_lora_rank": 24,
    "q_lora_rank": 40,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 20,
}
GROUPED: dict[str, Any] = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "n_group": 2,
    "topk_group": 1,
}
HYBRID: dict[str, Any] = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
    "head_dim": 16,
    "layer_types": ["full_attention"] * 2,
}
UNDROPPED = {"attention_dropout": 0.0, "residual_dropout": 0.0}
GEMMA4 = {
    "model_type": "gemma4_text",
    "head_dim": 16,
    "global_head_dim": 24,
    "vocab_size_per_layer_input": 96,
    "layer_types": ["sliding_attention", "full_attention"],
}
LATER: dict[str, dict[str, Any]] = {
    "smollm3": LLAMA | {"model_type": "smollm3"},
    "granite": LLAMA | {"model_type": "granite"},
    "glm4": LLAMA | {"model_type": "glm4"},
    "exaone4": LLAMA | {"model_type": "exaone4"},
    "starcoder2": LLAMA | {"model_type": "starcoder2"},
    "stablelm": LLAMA | {"model_type": "stablelm"},
    "phi": LLAMA | {"model_type": "phi"},
    "cohere2": LLAMA | {"model_type": "cohere2"},
    "arcee": LLAMA | {"model_type": "arcee"},
    "olmo3": LLAMA | {"model_type": "olmo3"},
    "granitemoe": LLAMA | {"model_type": "granitemoe", "num_local_experts": 4},
    "glm4_moe": LLAMA | GROUPED | {"model_type": "glm4_moe", "head_dim": 16},
    "deepseek_v2": LLAMA | LATENT | GROUPED | {"model_type": "deepseek_v2"},
    "deepseek_v3": LLAMA
    | LATENT
    | GROUPED
    | {"model_type": "deepseek_v3", "n_shared_experts": 2, "first_k_dense_replace": 1},
    "lfm2": LLAMA | {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
    "qwen3_5": LLAMA | HYBRID | {"model_type": "qwen3_5_text"},
    "ernie4_5_moe": LLAMA
    | {"model_type": "ernie4_5_moe", "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 48}
    | {"moe_layer_start_index": 0},
    "minimax_m2": LLAMA
    | {"model_type": "minimax_m2", "num_local_experts": 4, "num_experts_per_tok": 2}
    | {"head_dim": 16},
    "helium": LLAMA | {"model_type": "helium", "head_dim": 16},
    "seed_oss": LLAMA | {"model_type": "seed_oss", "head_dim": 16, **UNDROPPED},
    "gemma4": LLAMA | GEMMA4 | {"hidden_size_per_layer_input": 24},
    "gemma4, told nothing": LLAMA | GEMMA4 | {"hidden_size_per_layer_input": 0},
}
ROW = 40
"""Bytes that a prediction may be off: one number of a layer and token is 70 or more."""
BESIDE = {
    "gpt2": 8 * LENGTH,  # ids of the positions
    **dict.fromkeys(("gpt_neox", "stablelm", "glm4_moe", "phi", "qwen3_5"), 2 * 48 * LENGTH),
    **dict.fromkeys(("olmo", "olmo2", "olmo3"), 2 * 32 * LENGTH),
    "helium": 2 * 64 * LENGTH,  # tables in fp32, as Olmo's; those above rotate a part of a head
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "minimax_m2"), 8 * BATCH * LENGTH),
    **{"granitemoe": 1088, "deepseek_v2": 2176, "lfm2": 184},
    **{"ernie4_5_moe": 7312, "gemma4": 11488, "gemma4, told nothing": 13732},
}
"""Of these families it is off by more, by what is nothing in a model of usual width: tables of
positions in another precision or width, second numbers a row of norms and routers."""
GPT_OSS = LLAMA | {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2}


def saved_bytes(config: dict[str, Any], recipe: Recipe) -> int:
    """Bytes of distinct tensors that a real forward pass saves, weights left out."""
    rest = {key: value for key, value in config.items() if key != "model_type"}
    hf_config = AutoConfig.for_model(config["model_type"], **rest)
    dtype = torch.float32 if recipe.params == "fp32" else torch.bfloat16
    kind = "eager" if recipe.attention == "eager" else "sdpa"
    model = AutoModelForCausalLM.from_config(hf_config, attn_implementation=kind, dtype=dtype)
    mask = torch.ones(BATCH, LENGTH, dtype=torch.int64)
    if recipe.attention == "sdpa":
        mask[0, :3] = 0  # a padded row: transformers must build the mask
    if recipe.attention == "sdpa_masked":
        wide = torch.bfloat16 if recipe.compute == "bf16" else torch.float32
        mask = torch.zeros(BATCH, 1, LENGTH, LENGTH, dtype=wide)
    ids = torch.randint(0, config["vocab_size"], (BATCH, LENGTH))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    autocast = recipe.compute != recipe.params
    casting = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), casting:
        model(input_ids=ids, attention_mask=mask, labels=ids, use_cache=False)
    return sum(
        tensor.untyped_storage().nbytes()
        for key, tensor in storages.items()
        if key not in weights and not _is_cast_weight(tensor, model)
    )


def _is_cast_weight(tensor: torch.Tensor, model: Any) -> bool:
    """Autocast's 16-bit copies of weights are counted apart."""
    shapes = {tuple(p.shape) for p in model.parameters()}
    shapes |= {shape[::-1] for shape in shapes if len(shape) == 2}
    return tuple(tensor.shape) in shapes


def predicted_bytes(config: dict[str, Any], recipe: Recipe) -> float:
    model = ModelConfig.from_hf(config)
    a, setup = model.architecture, LayerSetup.of(model, recipe)
    outside = shared_saved_tensors(a, setup, False, recipe.micro_batch)
    outside += last_saved_tensors(a, setup)
    kept = sum(count * size for size, count in kind_bytes(model, setup))
    kept += sum(item.size for item in outside) + setup.compute * a.hidden
    return recipe.tokens * (kept + 4 * a.vocab) + LABELS


ATTENTIONS = ("flash", "sdpa", "sdpa_masked", "eager")
PRECISIONS = ("bf16", "fp32", "autocast")
PAIRS = (("bf16", "flash"), ("autocast", "sdpa"), ("fp32", "eager"))
HEART = {(name, *PAIRS[index % 3]) for index, name in enumerate(CONFIGS)}
HEART |= {("llama", "autocast", "sdpa"), ("gpt2", "bf16", "sdpa_masked"), ("olmo", *PAIRS[2])}
GRID = {
    *((n, p, a) for n in ("llama", "gpt2", "gpt_neox") for p in PRECISIONS for a in ATTENTIONS),
    *((name, *pair) for name in CONFIGS for pair in PAIRS),
}
LATER_GRID = [(name, *PAIRS[index]) for name in LATER for index in (0, 2)]
LATER_HEART = [("qwen3_5", *PAIRS[2]), *(case for case in LATER_GRID if "flash" in case)]


def marked(cases: Iterable[tuple[str, ...]], fast: Container[tuple[str, ...]]) -> list[Any]:
    """Cases of which `build.py check` runs some: each family once."""
    slow = pytest.mark.slow
    return [case if case in fast else pytest.param(*case, marks=slow) for case in sorted(cases)]


@pytest.mark.parametrize(
    ("name", "params", "attention"),
    marked(GRID, HEART) + marked(LATER_GRID, LATER_HEART),
)
def test_the_terms_add_up_to_what_autograd_saves(name: str, params: str, attention: str) -> None:
    given: dict[str, Any] = {
        "params": "bf16" if params == "bf16" else "fp32",
        "compute": "fp32" if params == "fp32" else "bf16",
        "attention": attention,
        "micro_batch": BATCH,
        "seq_len": LENGTH,
    }
    recipe, config = Recipe.read(given), (CONFIGS | LATER)[name]
    off = predicted_bytes(config, recipe) - saved_bytes(config, recipe)
    assert abs(off) <= BESIDE.get(name, ROW)


@pytest.mark.slow
@pytest.mark.parametrize("length", [10, 64, 100, 192])
@pytest.mark.parametrize("params", ["bf16", "fp32"])
def test_a_delta_rule_in_pytorch_pads_rows_to_its_chunks_and_saves_every_product(
    length: int, params: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "LENGTH", length)
    sizes = {"micro_batch": BATCH, "seq_len": length, "attention": "flash", "torch_delta": True}
    recipe = Recipe.read({"params": params, "compute": params} | sizes)
    heads = {"linear_num_key_heads": 2, "linear_num_value_heads": 6, "linear_key_head_dim": 32}
    config = LATER["qwen3_5"] | heads | {"layer_types": ["linear_attention"] * 2}
    assert predicted_bytes(config, recipe) == pytest.approx(saved_bytes(config, recipe), rel=0.03)


def test_gpt_oss_keeps_a_sink_a_head_and_its_bounded_function() -> None:
    sizes = {"micro_batch": BATCH, "seq_len": LENGTH, "attention": "eager"}
    recipe = Recipe.read({"params": "bf16", "compute": "bf16"} | sizes)
    config = GPT_OSS | {"model_type": "gpt_oss"}
    off = predicted_bytes(config, recipe) - saved_bytes(config, recipe)
    assert off == 2 * 16 * LENGTH  # tables of a whole head, of which half is rotated


def kept_by_a_layer(config: str | dict[str, Any], **given: object) -> float:
    model = ModelConfig.from_hf(CONFIGS[config] if isinstance(config, str) else config)
    return layer_bytes(model.architecture, LayerSetup.of(model, Recipe.read(given)))


def test_a_llama_layer_in_bf16_follows_the_written_formula() -> None:
    h, q, k, f, a = 64, 64, 32, 176, 4
    flash = kept_by_a_layer("llama", attention="flash")
    assert flash == 16 * h + 8 + 4 * q + 4 * k + 4 * a + 8 * f
    fused = kept_by_a_layer("llama", kernels="fused", attention="flash")
    assert fused == 8 * h + 4 * q + 4 * k + 6 * f + 4 * a
    block = kept_by_a_layer("llama", kernels="fused_block", attention="flash")
    assert block == 4 * h + 8 + 4 * q + 4 * k + 4 * f + 4 * a


def test_a_delta_rule_in_pytorch_saves_lengths_of_queries_and_keys_and_products_of_chunks() -> None:
    sizes = {"linear_num_value_heads": 6, "linear_key_head_dim": 32}
    kinds = {"layer_types": ["linear_attention"] * 2}
    model = ModelConfig.from_hf(LATER["qwen3_5"] | sizes | kinds)
    setup = LayerSetup.of(model, Recipe.read({"torch_delta": True, "seq_len": 128}))
    found = {i.label: i.size for i in saved_tensors(model.architecture.of_layer(0), setup)}
    assert found["q and k, normalised"] == 8 * 6 * (32 + 1)
    keys, values, own = 6 * 32, 3 * 12, 5 * 64 + 4
    assert found["products of the chunks"] == 4 * 6 * (keys + values + own)


def test_a_block_without_a_gate_saves_what_its_function_reads_and_below_adapters_no_matrix() -> (
    None
):
    neox = CATALOGUE["EleutherAI/pythia-160m"].model
    block = LayerSetup.of(neox, Recipe.read({"kernels": "fused_block", "attention": "flash"}))
    found = {i.label: i.size for i in layer_saved_tensors(neox.architecture, block)}
    assert found["MLP"] == 2 * 3072
    last = {"targets": ["dense_4h_to_h"], "library": "peft"}
    setup = LayerSetup.of(neox, Recipe.read({"method": "lora", "lora": last}))
    assert undifferentiated_weights(neox.architecture, setup) == neox.layer_matrices


def test_a_fused_gpt_layer_with_dropout_is_korthikantis_34_h() -> None:
    gpt = {"model_type": "gpt", "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 96}
    sizes = gpt | {"num_hidden_layers": 2, "hidden_dropout": 0.1}
    kept = kept_by_a_layer(sizes, kernels="fused", attention="flash")
    assert kept == 34 * 64 + 4 * 4  # and the log-sum-exp of four heads


def test_a_batch_of_one_keeps_the_fused_product_of_neox_alive_in_eager_attention() -> None:
    one, two = (kept_by_a_layer("gpt_neox", attention="eager", micro_batch=b) for b in (1, 2))
    assert one - two == 2 * 2 * 64


def test_dropout_keeps_masks_as_wide_as_what_they_drop() -> None:
    plain, dropped = (
        kept_by_a_layer("gpt2", attention="eager", dropout=p, seq_len=35) for p in (0.0, 0.1)
    )
    assert dropped - plain == 2 * 2 * 64 + (2 + 2) * 4 * 35


def test_sequence_parallel_ranks_share_what_tensor_parallelism_leaves_whole() -> None:
    model = ModelConfig.from_hf(CONFIGS["llama"])
    setup = LayerSetup.of(model, Recipe.read({"kernels": "fused", "attention": "flash"}))
    one = layer_bytes(model.architecture, setup)
    four = layer_bytes(model.architecture, setup, False, 4)
    assert one - four == 8 * 64 * 3 / 4


def test_an_unknown_activation_function_is_refused() -> None:
    with pytest.raises(PlanError) as caught:
        kept_by_a_layer(CONFIGS["llama"] | {"hidden_act": "snake"})
    assert caught.value.key == "model.hidden_act"


ALIKE = {"dtype": "bf16", "dropout": 0.0}  # adapters read what the layer reads, uncopied
GATED = ("silu", "gelu", "gelu_pytorch_tanh", "relu", "gelu_new")
PLAIN = ("gelu", "gelu_pytorch_tanh", "silu", "relu", "relu2", "gelu_new")
FUNCTIONS = [("llama", name) for name in GATED] + [("starcoder2", name) for name in PLAIN]


@pytest.mark.parametrize(("family", "function"), FUNCTIONS)
def test_an_mlp_saves_what_its_activation_function_does(family: str, function: str) -> None:
    sizes = {"micro_batch": BATCH, "seq_len": LENGTH, "attention": "flash"}
    recipe = Recipe.read({"params": "bf16", "compute": "bf16"} | sizes)
    config = (CONFIGS | LATER)[family] | {"hidden_act": function}
    assert abs(predicted_bytes(config, recipe) - saved_bytes(config, recipe)) <= ROW


@pytest.mark.parametrize(("family", "function"), FUNCTIONS)
def test_what_the_last_matmul_reads_is_not_saved_where_it_is_frozen(
    family: str, function: str
) -> None:
    """Its weight's gradient alone reads the product of gate and up, or the function's output; that
    of ReLU is what its own backward reads.
    """
    config = (CONFIGS | LATER)[family] | {"hidden_act": function}
    given = {"method": "lora", "attention": "flash"}
    up = "gate_proj" if family == "llama" else "c_fc"
    down = "down_proj" if family == "llama" else "c_proj"
    label = "MLP"
    sizes = []
    for target in (up, down):
        model = ModelConfig.from_hf(config)
        setup = LayerSetup.of(model, Recipe.read(given | {"lora": {"targets": [target], **ALIKE}}))
        found = layer_saved_tensors(model.architecture, setup)
        sizes.append(next(item.size for item in found if item.label == label))
    assert sizes[1] - sizes[0] == (0 if (family, function) == FUNCTIONS[8] else 2 * 176)


NAMES = {
    "meta-llama/Llama-3.1-8B": False,
    "google/gemma-2-9b": False,
    "openai-community/gpt2": False,
    "microsoft/Phi-3-mini-4k-instruct": False,
    "EleutherAI/pythia-160m": False,
    "mistralai/Mixtral-8x7B-v0.1": True,
    "openai/gpt-oss-20b": True,
}
WAYS: list[dict[str, Any]] = [
    {"attention": "flash"},
    {"attention": "eager", "dropout": 0.1},
    {"attention": "flash", "kernels": "fused"},
    {"attention": "flash", "kernels": "fused_block", "dropout": 0.1},
    {"attention": "sdpa", "params": "fp32"},
    {"attention": "eager", "params": "fp32", "compute": "fp32"},
    {"attention": "flash", "method": "lora"},
]


@pytest.mark.parametrize("name", NAMES)
def test_the_formula_beside_a_size_computes_it(name: str) -> None:
    """As the page shows them: T·(2·(6·h + 4)), with what each letter stands for."""
    model, met = CATALOGUE[name].model, 0
    a = model.architecture
    letters = {"h": a.hidden, "a": a.heads, "q": a.q_width, "k": a.kv_width, "d": a.head_dim}
    letters |= {"f": a.ffn, "s": 300, "b": 3}
    if NAMES[name]:
        assert a.experts
        letters |= {"t": a.experts.per_token, "f": a.experts.ffn, "E": a.experts.count}
    for way in WAYS:
        setup = LayerSetup.of(model, Recipe.read(way | {"seq_len": 300, "micro_batch": 3}))
        shared = [*shared_saved_tensors(a, setup, False, 3), *last_saved_tensors(a, setup)]
        for item in (*layer_saved_tensors(a, setup, NAMES[name]), *shared):
            formula = item.formula.replace("·", "*").replace("−", "-")
            if set(re.findall(r"[A-Za-z_]+", formula)) <= letters.keys():
                assert int(eval(formula, {}, letters)) == item.size, (way, item)
                met += 1
    assert met >= 5 * len(WAYS)


def test_an_embedding_for_each_layer_by_hand() -> None:
    config = LLAMA | GEMMA4 | {"hidden_size_per_layer_input": 24}
    model = ModelConfig.from_hf(config)
    a, h, p = model.architecture, 64, 24
    gates: list[int] = []
    inputs: list[int] = []
    for method in ("full", "lora"):
        setup = LayerSetup.of(model, Recipe.read({"attention": "flash", "method": method}))
        found = [*layer_saved_tensors(a, setup), *shared_saved_tensors(a, setup, False, 1)]
        items = {item.label: item for item in found}
        gate, each = items["gate of the per-layer embedding"], items["per-layer embeddings"]
        gates.append(gate.size)
        inputs.append(each.size)
        for item in (gate, each):
            assert eval(item.formula.replace("·", "*"), {}, {"p": p, "h": h, "L": 2}) == item.size
    # the gate before and after its function, and what both matmuls read where they train
    assert gates == [(2 + 1) * 2 * p + 2 * h, 2 * 2 * p]
    # of two layers: the input, in fp32 for its norm, whose normalised values train, and its root
    assert inputs == [2 * (p * (2 + 4 + 4) + 4) + 2 * h, 2 * (p * (2 + 4) + 4)]


BIG = CATALOGUE["meta-llama/Llama-3.1-8B"].model
H, Q, KV, F = 4096, 4096, 1024, 14336
PLAIN = 4 * H + 4  # a frozen norm: its fp32 input, and the root of a row
SAVED = 2 * (Q + 2 * KV) + 2 * Q + 4 * 32  # q, k and v, the output, a number a head
MATRICES = (H * (Q + 2 * KV), H * Q, 2 * H * F, H * F)


@pytest.mark.parametrize(
    ("target", "size", "weights"),
    [
        ("q_proj", PLAIN, sum(MATRICES[:1])),
        ("o_proj", PLAIN + SAVED - 2 * Q, sum(MATRICES[:2])),  # whose adapter reads the output
        ("gate_proj", 2 * PLAIN + SAVED, sum(MATRICES[:3])),
        ("down_proj", 2 * PLAIN + SAVED + 3 * 2 * F, sum(MATRICES)),
    ],
)
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_below_the_first_adapter_nothing_is_saved(
    target: str, size: int, weights: int, dtype: str
) -> None:
    lora = {"targets": [target], "dtype": dtype, "dropout": 0.0, "library": "peft"}
    given = {"method": "lora", "attention": "flash", "lora": lora}
    setup = LayerSetup.of(BIG, Recipe.read(given))
    saved = sum(item.size for item in attention_saved_tensors(BIG.architecture, setup))
    assert saved == SAVED
    if (target, dtype) == ("o_proj", "fp32"):  # which reads a copy
        size += 2 * Q
    assert undifferentiated_bytes(BIG.architecture, setup) == size
    assert undifferentiated_weights(BIG.architecture, setup) == weights


def test_what_trains_the_embedding_is_differentiated_down_to_it() -> None:
    lora = {"targets": ["q_proj", "embed_tokens"]}
    for given in ({"method": "lora", "lora": lora}, {}):
        setup = LayerSetup.of(BIG, Recipe.read(given))
        assert undifferentiated_bytes(BIG.architecture, setup) == 0
        assert undifferentiated_weights(BIG.architecture, setup) == 0
    head = {"targets": ["q_proj", "lm_head"], "dtype": "bf16", "dropout": 0.0}
    setup = LayerSetup.of(BIG, Recipe.read({"method": "lora", "lora": head}))
    assert undifferentiated_bytes(BIG.architecture, setup) == PLAIN


@pytest.mark.parametrize(("attention", "mask"), [("flash", 0), ("efficient", 0), ("sdpa", 1)])
def test_ids_tables_and_masks_are_saved_once_for_all_layers(attention: str, mask: int) -> None:
    given = {"attention": attention, "seq_len": 100, "micro_batch": 2}
    for method, ids in (("full", 8), ("lora", 0)):
        setup = LayerSetup.of(BIG, Recipe.read(given | {"method": method}))
        shared = shared_saved_tensors(BIG.architecture, setup, True, 2)
        sizes = {item.label: item.size for item in shared}
        assert sizes.pop("rotary tables") == 2 * 128 * 2 // 2
        assert sizes.pop("token ids", 0) == ids  # a frozen embedding needs none
        assert sizes.pop("attention mask", 0) == mask * 100  # truth values, for the checkpoint
        assert not sizes
    fused = LayerSetup.of(BIG, Recipe.read(given | {"kernels": "fused"}))
    shared = shared_saved_tensors(BIG.architecture, fused, True, 2)
    assert [item.label for item in shared] == ["token ids", "rotary tables"]


def test_packed_rows_and_few_groups_make_copies_that_efficient_attention_reads() -> None:
    def copies(**given: Any) -> int:
        setup = LayerSetup.of(BIG, Recipe.read({"attention": "efficient"} | given))
        found = attention_saved_tensors(BIG.architecture, setup)
        return next(item.size for item in found if item.label == "attention output") // (2 * Q)

    assert copies() == 2  # eight groups of four heads
    efficient = LayerSetup.of(BIG, Recipe.read({"attention": "efficient"}))
    for groups, outputs in ((1, 1), (2, 2), (32, 1)):  # one is seen by all heads as it is
        grouped = replace(BIG.architecture, kv_heads=groups)
        found = {i.label: i.size for i in attention_saved_tensors(grouped, efficient)}
        assert found["attention output"] == outputs * 2 * Q
    phi = CATALOGUE["microsoft/Phi-3-mini-4k-instruct"].model
    setup = LayerSetup.of(phi, Recipe.read({"attention": "flash"}))
    found = {i.label: i.size for i in attention_saved_tensors(phi.architecture, setup)}
    assert found["q, k and v"] == 2 * 5 * 3072  # q, k and v in one, and q and k rotated
    assert found["attention output"] == 2 * 2 * 3072


def test_projections_in_one_and_norms_of_values_by_hand() -> None:
    narrow = CATALOGUE["google/gemma-2-2b"].model.architecture
    normed = replace(narrow, qk_norm="head", v_norm=True)
    plain = replace(narrow, qk_norm="head")
    setup = LayerSetup.of(BIG, Recipe.read({"attention": "flash"}))
    sizes = [
        next(i.size for i in layer_saved_tensors(a, setup) if i.label.startswith("norms"))
        for a in (normed, plain)
    ]
    assert sizes[0] - sizes[1] == 4 * (narrow.kv_width + narrow.kv_heads)  # fp32, without a weight
    for targets, inputs in ((["q_proj"], 1), (["up_proj"], 1), (["q_proj", "up_proj"], 2)):
        lora = {"targets": targets, "dropout": 0.0, "dtype": "bf16"}
        given = {"method": "lora", "kernels": "fused", "attention": "flash", "lora": lora}
        fused = LayerSetup.of(BIG, Recipe.read(given))
        found = {i.label: i.size for i in layer_saved_tensors(BIG.architecture, fused)}
        assert found["inputs of the linear layers"] == inputs * 2 * H
        assert found["MLP"] == 2 * 2 * F  # gate and up: no frozen matmul saves their product
    only = LayerSetup.of(BIG, Recipe.read(given | {"lora": {"targets": ["o_proj"]}}))
    found = {i.label: i.size for i in layer_saved_tensors(BIG.architecture, only)}
    assert found.get("inputs of the linear layers", 0) == 0


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("google/gemma-2-9b", 4 * ((4 + 4) * 3584 + 4)),  # before and after both parts
        ("allenai/OLMo-1B-hf", 2 * (4 * 2048 + 8)),  # in fp32, mean and deviation, no weight
    ],
)
def test_norms_of_a_layer_by_hand(name: str, norms: int) -> None:
    model = CATALOGUE[name].model
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash"}))
    found = {i.label: i.size for i in layer_saved_tensors(model.architecture, setup)}
    assert found["norms: input and normalised values"] == norms


@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("meta-llama/Llama-3.1-8B", 3 + 2),  # q, k and v, gate and up
        ("bigcode/starcoder2-3b", 3 + 1),  # no gate
        ("microsoft/Phi-3-mini-4k-instruct", 1 + 1),  # in one
        ("Qwen/Qwen3-30B-A3B", 3 + 1),  # a router, whose input the experts copy
        ("Qwen/Qwen1.5-MoE-A2.7B", 3 + 1 + 3),  # gate and up of a shared expert, and its own gate
    ],
)
def test_under_autocast_every_linear_layer_saves_a_copy_of_its_input(
    name: str, readers: int
) -> None:
    model = CATALOGUE[name].model
    setup = LayerSetup.of(model, Recipe.read({"attention": "flash", "params": "fp32"}))
    a = model.architecture
    found = {i.label: i.size for i in layer_saved_tensors(a, setup, a.experts is not None)}
    assert found["inputs of the linear layers"] == readers * 2 * a.hidden
