"""A tiny model of every type that transformers maps to a causal language model, whose multipliers,
scales and caps are all away from what changes nothing.

`.venv/bin/python tests/causal_types.py [TYPE …]` prints how each of them trains, and how far its
loss and gradients are from those of its own forward pass with eager attention.
"""

from __future__ import annotations

import inspect
import random
import re
import sys
from typing import Any, Final, NamedTuple

import torch
import transformers
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

import sparse_families
import tiny_families
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import collate, pack
from gpu_runner.errors import ModelLoadError
from gpu_runner.model import attention, blocks
from gpu_runner.model.head import HeadPath, head_path, is_linear
from gpu_runner.model.loss import loss_sum
from unfrozen import runner
from unfrozen.errors import ModelError
from unfrozen.model import SUPPORTED, ModelConfig

LOSS_BOUND: Final = 1e-5
GRADIENT_BOUND: Final = 1e-4
SMALL: Final = 1e-3
"""Of the largest gradient: errors of smaller ones are relative to this."""
DRAW = random.Random(0)
DOCUMENTS = [
    Example(
        tuple(DRAW.randrange(6, 100) for _ in range(length)),
        tuple(place > length // 3 for place in range(length)),
    )
    for length in (5, 17, 9)
]

TYPES: Final = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
VOCABULARY: Final = 264
_SIZES: Final[dict[str, Any]] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(
        ("hidden_size", "n_embd", "d_model", "embedding_size", "emb_dim", "input_embedding_size"),
        32,
    ),
    **dict.fromkeys(("output_embedding_size", "embed_dim", "hidden_dim", "dim"), 32),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "dff", "dim_ff"), 64
    ),
    **dict.fromkeys(("d_inner", "feed_forward_size", "prompt_mid_dim"), 64),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers"), 2
    ),
    **dict.fromkeys(("decoder_layers", "num_encoder_layers", "num_decoder_layers", "depth"), 2),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), 4
    ),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_encoder_attention_heads", "num_decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_global_key_value_heads"), 2),
    **dict.fromkeys(("head_dim", "dim_head", "global_head_dim", "swa_head_dim", "d_kv"), 8),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "context_length", "max_target_positions"), 256
    ),
    **{"image_size": 28, "patch_size": 14, "bos_token_id": None, "eos_token_id": 0},
    **{"pad_token_id": 0, "sliding_window": 8, "moe_intermediate_size": 16},
    **{"num_experts": 8, "num_experts_per_tok": 2, "mm_tokens_per_image": 1, "num_channels": 3},
    **{"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4},
    **{"v_head_dim": 6, "index_n_heads": 2, "index_head_dim": 8, "index_topk": 16},
    **{"n_routed_experts": 8, "n_shared_experts": 1, "num_local_experts": 8},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2},
    **{"linear_num_value_heads": 2, "first_k_dense_replace": 0, "intermediate_size_mlp": 32},
}
_DRAWN: Final = re.compile(r"drop(out|_?path)?|pdrop|layerdrop|jitter|mask_(time|feature)_prob")
_FACTOR: Final = re.compile(
    r"multiplier|scal(e|ing|ar)|softcap|soft_cap|logit_?cap|(?<!es)cap$|_alpha|logits_div|mup"
)
_FIXED: Final = re.compile(r"rope|init|_tokens?_|image|rescale_every|scale_fmt|token")
_BASES: Final = (object, transformers.PretrainedConfig)
_BEGIN: Final = {"bos_token_id": 1}
_MORE: Final[dict[str, dict[str, Any]]] = {
    "blt": {
        "encoder_hash_byte_group_vocab": 500,
        "encoder_config": {"hidden_size_global": 32},
        "decoder_config": {"hidden_size_global": 32},
    },
    "cohere_compass_text": {
        "logit_scale": 0.3,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
            for kind in ("sliding_attention", "full_attention")
        },
    },
    "dots3_note": {
        "text_config": {"layer_types": ["full_attention"] * 2, "num_key_value_heads": 4},
        "vision_config": {
            "pyramid_num_routed": [-1, 4],
            "adapter_in_dim": 32,
            "adapter_out_dim": 32,
        },
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "cwm": _BEGIN,
    "emu3": {"text_config": _BEGIN},
    "mllama": {"text_config": _BEGIN | {"num_hidden_layers": 3, "cross_attention_layers": [1]}},
    "modernbert-decoder": {"bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2},
    "dory": {"num_hidden_layers": 3, "n_input_layers": 1, "n_output_layers": 1},
    "gemma4_assistant": {
        "text_config": {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0}
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "reformer": {
        "attn_layers": ("local", "lsh"),
        "axial_pos_shape": (16, 16),
        "axial_pos_embds_dim": (8, 24),
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
    },
    "falcon_h1": {"mlp_multipliers": [0.7, 0.8], "ssm_multipliers": [0.6, 0.7, 0.8, 0.9, 1.1]},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 6, "attn_layer_period": 3, "attn_layer_offset": 1},
}


_INNER: Final = {"gemma4_assistant": {"text_config": transformers.Gemma4TextConfig}}
"""What is within a configuration that has no default."""


def _fields(kind: type) -> dict[str, Any]:
    """Every key of a configuration class, with its default."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base not in transformers.PretrainedConfig.__mro__:
            found |= {key: getattr(base, key, None) for key in inspect.get_annotations(base)}
    return found


def tuned(key: str, value: Any) -> Any:
    """A value of a multiplier, scale or cap that changes what the model computes."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (list, tuple)):
        return type(value)(tuned(key, one) for one in value)
    if "cap" in key:
        return 0.7
    if isinstance(value, int):
        return value + 1
    return 0.6 * value + 0.1 if isinstance(value, float) else value


def settings(kind: type, more: dict[str, Any], *, varied: bool = True) -> dict[str, Any]:
    """The settings of a configuration class and of those within it."""
    fields, found = _fields(kind), {}
    for key, value in fields.items():
        if key in _SIZES:
            found[key] = _SIZES[key]
        elif _DRAWN.search(key) and isinstance(value, float):
            found[key] = 0.0
        elif varied and _FACTOR.search(key) and not _FIXED.search(key):
            found[key] = tuned(key, value)
    if "qk_rope_head_dim" in fields:  # a head of latent attention has keys of its own
        found |= {"head_dim": found["qk_rope_head_dim"], "num_key_value_heads": 4}
    if "is_decoder" in fields:
        found["is_decoder"] = True
    inner = dict(_INNER.get(kind.model_type, {}))
    for name in () if inner else getattr(kind, "sub_configs", {}):
        inner[name] = type(getattr(kind(), name))
    for name, one in inner.items():
        if one is not type(None):
            found[name] = settings(one, more.get(name, {}), varied=varied)
            found[name]["model_type"] = one.model_type
    return found | {
        key: value for key, value in more.items() if key not in found or not isinstance(value, dict)
    }


def config(model_type: str, *, varied: bool = True) -> Any:
    kind = transformers.CONFIG_MAPPING[model_type]
    own = tiny_families.DECODERS.get(model_type) or dict(
        sparse_families.FAMILIES.get(model_type, ("", {}))[1]
    )
    known = set(_fields(kind)) | set(kind.attribute_map)
    own = {key: value for key, value in own.items() if key in known}
    if "qk_rope_head_dim" in own:
        own |= {
            "head_dim": own["qk_rope_head_dim"],
            "num_key_value_heads": own["num_attention_heads"],
        }
    made = settings(kind, own | _MORE.get(model_type, {}), varied=varied)
    return kind(**made)


def model(model_type: str, *, varied: bool = True, **attended: Any) -> Any:
    torch.manual_seed(0)
    made: Any = transformers.AutoModelForCausalLM.from_config(
        config(model_type, varied=varied), **attended
    )
    draw = torch.Generator().manual_seed(1)
    for weight in made.parameters():
        if weight.ndim == 1:
            weight.data += 0.1 * torch.randn(weight.shape, generator=draw)
    return made.train()


class Row(NamedTuple):
    """How a type trains, and how far loss and gradients are from its own: or why it does not."""

    path: str
    loss: float = 0.0
    gradients: float = 0.0

    @property
    def refused(self) -> bool:
        return self.path.startswith("refused: ")


def measure(model_type: str) -> Row:
    """What the runner computes of documents together beside what eager attention computes of each
    alone; in fp64 where rounding in fp32 is more than the bounds."""
    try:
        row = _measure(model_type, torch.float32)
        small = row.loss <= LOSS_BOUND and row.gradients <= GRADIENT_BOUND
        return row if small else _measure(model_type, torch.float64)
    except (ModelLoadError, AttributeError, ImportError) as error:
        lines = [line for line in str(error).splitlines() if line]
        return Row(f"refused: {lines[0].removesuffix(' Give another model.')}")


def _measure(model_type: str, dtype: torch.dtype) -> Row:
    shape = shape_of(model_type) if model_type in SUPPORTED else None
    theirs = model(model_type, attn_implementation="eager").to(dtype)
    ours = model(model_type, **attention.arguments_for(shape)).to(dtype)
    fused = shape is not None and runner.kernels(shape.architecture, "none") == "fused_block"
    blocks.prepare(ours, "none", compiled=False, fused=fused)
    packed = shape is not None and runner.packs(shape.architecture)
    batch = (pack if packed else collate)(DOCUMENTS, 0)
    path = head_path(ours, batch.input_ids)
    batch = batch if path.packs else collate(DOCUMENTS, 0)
    total, gradients = of_each(theirs)
    loss, _ = loss_sum(ours, batch)
    loss.backward()
    named = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert named.keys() == gradients.keys()
    least = SMALL * max(float(one.abs().max()) for one in gradients.values())
    errors = [
        float((named[name] - one).abs().max()) / max(float(one.abs().max()), least)
        for name, one in gradients.items()
    ]
    return Row(_describe(ours, path), abs(float(loss.detach()) - total) / total, max(errors))


def _describe(model: Any, path: HeadPath) -> str:
    if path.factor is not None and is_linear(model.get_output_embeddings()):
        return "linear loss" if path.factor == 1 else f"linear loss times {path.factor:.4g}"
    return f"its own logits{'' if path.by_position else ' at all positions'}"


def shape_of(model_type: str) -> ModelConfig | None:
    """What the planner reads of this type."""
    raw = config(model_type).to_dict() | {"model_type": model_type}
    try:
        return ModelConfig.from_hf(raw).language
    except ModelError:
        return None


def of_each(model: Any) -> tuple[float, dict[str, Tensor]]:
    """−Σ log p of what is trained in each document, by logits of it alone, and its gradients."""
    total = torch.zeros(())
    for one in DOCUMENTS:
        logits = model(input_ids=torch.tensor([one.ids]), use_cache=False).logits[0]
        log_p = logits.log_softmax(-1)
        total = total - sum(log_p[t - 1, one.ids[t]] for t in one.trained_positions)
    total.backward()
    named = model.named_parameters()
    return float(total.detach()), {name: p.grad for name, p in named if p.grad is not None}


if __name__ == "__main__":
    print("| type | path | loss error | gradient error |\n|---|---|--:|--:|")
    for name in sys.argv[1:] or TYPES:
        row = measure(name)
        errors = " | | |" if row.refused else f" | {row.loss:.0e} | {row.gradients:.0e} |"
        print(f"| {name} | {row.path}{errors}", flush=True)
