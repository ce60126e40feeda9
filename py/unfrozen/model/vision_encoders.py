"""Vision encoders: tensors and sizes, with names, order and defaults of transformers 5.24.

CLIP, SigLIP, InternViT, Pixtral and Llama's take images of one size; Qwen's and GLM-4.1V's take any
size, in patches over two frames, and merge the patches themselves.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from unfrozen.model import modules
from unfrozen.model.blueprint import Tensor
from unfrozen.model.fields import Fields


class VisionEncoder(NamedTuple):
    """A vision transformer: its tensors and sizes; `patches` of one picture."""

    tensors: list[Tensor]
    hidden: int
    layers: int
    heads: int
    ffn: int
    patches: int
    gated: bool = False


def side(fields: Fields, name: str, usual: int) -> int:
    """Return the pixels of a side; of two sides the first."""
    return (
        fields.numbers(name, [usual])[0]
        if fields.is_list(name)
        else fields.integer(name, default=usual)
    )


def _vit(
    fields: Fields, tensors: list[Tensor], usual: tuple[int, ...], gated: bool = False
) -> VisionEncoder:
    hidden, ffn, layers, heads, image, patch = usual
    return VisionEncoder(
        tensors,
        fields.integer("hidden_size", default=hidden),
        fields.integer("num_hidden_layers", default=layers),
        fields.integer("num_attention_heads", "attention_heads", default=heads),
        fields.integer("intermediate_size", default=ffn),
        (side(fields, "image_size", image) // side(fields, "patch_size", patch)) ** 2,
        gated,
    )


def _vit_with_patches(fields: Fields, usual: tuple[int, ...]) -> tuple[VisionEncoder, int, int]:
    """Return the encoder, its channels and the side of a patch."""
    sizes = _vit(fields, [], usual)
    return sizes, fields.integer("num_channels", default=3), side(fields, "patch_size", usual[5])


def attention(at: str, width: int, bias: bool, names: tuple[str, str, str, str]) -> list[Tensor]:
    """Return four square matrices, each with a bias or none."""
    return [t for name in names for t in modules.linear(f"{at}.{name}", width, width, bias)]


def _block(t: VisionEncoder, at: str, order: str) -> list[Tensor]:
    """Return a block of CLIP's kind, its parts in the `order` in which a class registers them."""
    part = {
        "a": attention(
            f"{at}.self_attn", t.hidden, True, ("k_proj", "v_proj", "q_proj", "out_proj")
        ),
        "1": modules.norm(f"{at}.layer_norm1", t.hidden, True),
        "m": modules.plain(f"{at}.mlp", t.hidden, t.ffn, True, ("fc1", "fc2")),
        "2": modules.norm(f"{at}.layer_norm2", t.hidden, True),
    }
    return [tensor for letter in order for tensor in part[letter]]


def clip(at: str, fields: Fields) -> VisionEncoder:
    """Return CLIP's encoder (arXiv 2103.00020)."""
    usual = (768, 3072, 12, 12, 224, 32)
    t, channels, patch = _vit_with_patches(fields, usual)
    found = [Tensor(f"{at}.embeddings.class_embedding", (t.hidden,))]
    found.append(_patches(f"{at}.embeddings.patch_embedding", t.hidden, channels, patch))
    found.append(Tensor(f"{at}.embeddings.position_embedding.weight", (t.patches + 1, t.hidden)))
    found += modules.norm(f"{at}.pre_layrnorm", t.hidden, True)
    found += [x for i in range(t.layers) for x in _block(t, f"{at}.encoder.layers.{i}", "a1m2")]
    return t._replace(tensors=found + modules.norm(f"{at}.post_layernorm", t.hidden, True))


def _patches(name: str, hidden: int, channels: int, patch: int) -> Tensor:
    return Tensor(f"{name}.weight", (hidden, channels, patch, patch))


def siglip(at: str, fields: Fields, order: str = "1a2m") -> VisionEncoder:
    """Return SigLIP's encoder (arXiv 2303.15343), with or without the pooling head."""
    usual = (768, 3072, 12, 12, 224, 16)
    t, channels, patch = _vit_with_patches(fields, usual)
    found = [_patches(f"{at}.embeddings.patch_embedding", t.hidden, channels, patch)]
    found.append(Tensor(f"{at}.embeddings.patch_embedding.bias", (t.hidden,)))
    return _siglip_rest(at, t, found, t.patches, order, fields.flag("vision_use_head", True))


def siglip2(at: str, fields: Fields) -> VisionEncoder:
    """Return SigLIP 2's encoder, which takes patches as rows (arXiv 2502.14786)."""
    t, channels, patch = _vit_with_patches(fields, (768, 3072, 12, 12, 256, 16))
    rows = fields.integer("num_patches", default=256)
    found = modules.linear(f"{at}.embeddings.patch_embedding", t.hidden, channels * patch**2, True)
    pooled = fields.flag("vision_use_head", True)
    return _siglip_rest(at, t._replace(patches=rows), found, rows, "1a2m", pooled)


def idefics3(at: str, fields: Fields) -> VisionEncoder:
    """Return the encoder of Idefics3 and SmolVLM: SigLIP's without its head."""
    usual = (1152, 3072, 12, 16, 224, 32)
    t, channels, patch = _vit_with_patches(fields, usual)
    found = [_patches(f"{at}.embeddings.patch_embedding", t.hidden, channels, patch)]
    found.append(Tensor(f"{at}.embeddings.patch_embedding.bias", (t.hidden,)))
    return _siglip_rest(at, t, found, t.patches, "a1m2", False)


def _siglip_rest(
    at: str, t: VisionEncoder, found: list[Tensor], rows: int, order: str, pooled: bool
) -> VisionEncoder:
    found.append(Tensor(f"{at}.embeddings.position_embedding.weight", (rows, t.hidden)))
    found += [x for i in range(t.layers) for x in _block(t, f"{at}.encoder.layers.{i}", order)]
    found += modules.norm(f"{at}.post_layernorm", t.hidden, True)
    if pooled:
        found.append(Tensor(f"{at}.head.probe", (1, 1, t.hidden)))
        found.append(Tensor(f"{at}.head.attention.in_proj_weight", (3 * t.hidden, t.hidden)))
        found.append(Tensor(f"{at}.head.attention.in_proj_bias", (3 * t.hidden,)))
        found += modules.linear(f"{at}.head.attention.out_proj", t.hidden, t.hidden, True)
        found += modules.norm(f"{at}.head.layernorm", t.hidden, True)
        found += modules.plain(f"{at}.head.mlp", t.hidden, t.ffn, True, ("fc1", "fc2"))
    return t._replace(tensors=found)


def pixtral(at: str, fields: Fields) -> VisionEncoder:
    """Return Pixtral's encoder: RMSNorm, rotary positions, a gated MLP (arXiv 2410.07073)."""
    usual = (1024, 4096, 24, 16, 1024, 16)
    t, channels, patch = _vit_with_patches(fields, usual)
    found = [_patches(f"{at}.patch_conv", t.hidden, channels, patch)]
    found += modules.norm(f"{at}.ln_pre", t.hidden)
    for index in range(t.layers):
        inside = f"{at}.transformer.layers.{index}"
        found += modules.norm(f"{inside}.attention_norm", t.hidden)
        found += modules.gated(f"{inside}.feed_forward", t.hidden, t.ffn)
        names = ("k_proj", "v_proj", "q_proj", "o_proj")
        found += attention(f"{inside}.attention", t.hidden, False, names)
        found += modules.norm(f"{inside}.ffn_norm", t.hidden)
    return t._replace(tensors=found, gated=True)


def internvl(at: str, fields: Fields) -> VisionEncoder:
    """Return InternViT as in InternVL 2.5 and 3 (arXiv 2312.14238)."""
    usual = (1024, 4096, 24, 16, 448, 14)
    t, channels, patch = _vit_with_patches(fields, usual)
    found = [Tensor(f"{at}.embeddings.cls_token", (1, 1, t.hidden))]
    if fields.flag("use_mask_token", False):
        found.append(Tensor(f"{at}.embeddings.mask_token", (1, 1, t.hidden)))
    if fields.flag("use_absolute_position_embeddings", True):
        rows = (1, t.patches + 1, t.hidden)
        found.append(Tensor(f"{at}.embeddings.position_embeddings", rows))
    found.append(
        _patches(f"{at}.embeddings.patch_embeddings.projection", t.hidden, channels, patch)
    )
    found.append(Tensor(f"{at}.embeddings.patch_embeddings.projection.bias", (t.hidden,)))
    bias, normed = fields.flag("attention_bias", False), fields.flag("use_qk_norm", False)
    centred = fields.word("norm_type", default="layer_norm") == "layer_norm"
    for index in range(t.layers):
        inside = f"{at}.encoder.layer.{index}"
        found += [Tensor(f"{inside}.lambda_{i}", (t.hidden,)) for i in (1, 2)]
        for name in ("q_proj", "k_proj", "v_proj"):
            found += modules.linear(f"{inside}.attention.{name}", t.hidden, t.hidden, bias)
        found += modules.linear(f"{inside}.attention.projection_layer", t.hidden, t.hidden, True)
        if normed:
            found += modules.norm(f"{inside}.attention.q_norm", t.hidden)
            found += modules.norm(f"{inside}.attention.k_norm", t.hidden)
        found += modules.plain(f"{inside}.mlp", t.hidden, t.ffn, True, ("fc1", "fc2"))
        for name in ("before", "after"):
            found += modules.norm(f"{inside}.layernorm_{name}", t.hidden, centred)
    if not fields.flag("use_mean_pooling", True):
        found += modules.norm(f"{at}.layernorm", t.hidden, True)
    return t._replace(tensors=found)


def llama4(at: str, fields: Fields) -> VisionEncoder:
    """Return Llama 4's encoder, with the adapter that shuffles pixels."""
    usual = (768, 5632, 34, 16, 448, 14)
    t, channels, patch = _vit_with_patches(fields, usual)
    found = [Tensor(f"{at}.class_embedding", (t.hidden,))]
    found.append(Tensor(f"{at}.positional_embedding_vlm", (t.patches + 1, t.hidden)))
    found += modules.linear(f"{at}.patch_embedding.linear", t.hidden, channels * patch**2)
    for name in ("layernorm_pre", "layernorm_post"):
        found += modules.norm(f"{at}.{name}", t.hidden, True)
    for index in range(t.layers):
        inside = f"{at}.model.layers.{index}"
        names = ("q_proj", "k_proj", "v_proj", "o_proj")
        found += attention(f"{inside}.self_attn", t.hidden, True, names)
        found += modules.plain(f"{inside}.mlp", t.hidden, t.ffn, True, ("fc1", "fc2"))
        for name in ("input_layernorm", "post_attention_layernorm"):
            found += modules.norm(f"{inside}.{name}", t.hidden, True)
    wide, out = (
        fields.integer("projector_input_dim", default=4096),
        fields.integer("projector_output_dim", default=4096),
    )
    found += modules.linear(f"{at}.vision_adapter.mlp.fc1", wide, t.ffn)
    found += modules.linear(f"{at}.vision_adapter.mlp.fc2", out, wide)
    return t._replace(tensors=found)


def mllama(at: str, fields: Fields) -> VisionEncoder:
    """Return Llama 3.2's encoder: tiles, and layers of two kinds (arXiv 2407.21783, section 7)."""
    usual = (1280, 5120, 32, 16, 448, 14)
    t, channels, patch = _vit_with_patches(fields, usual)
    tiles = fields.integer("max_num_tiles", default=4)
    shapes = fields.length("supported_aspect_ratios", 8) + 1
    rows = t.patches + 1
    found = [Tensor(f"{at}.class_embedding", (t.hidden,))]
    found.append(_patches(f"{at}.patch_embedding", t.hidden, channels, patch))
    gated = f"{at}.gated_positional_embedding"
    found += [Tensor(f"{gated}.gate", (1,)), Tensor(f"{gated}.embedding", (rows, t.hidden))]
    found.append(Tensor(f"{gated}.tile_embedding.weight", (shapes, tiles * rows * t.hidden)))
    for name in ("pre", "post"):
        inside = f"{at}.{name}_tile_positional_embedding"
        found.append(Tensor(f"{inside}.gate", (1,)))
        found.append(Tensor(f"{inside}.embedding.weight", (shapes, tiles * t.hidden)))
    for name in ("layernorm_pre", "layernorm_post"):
        found += modules.norm(f"{at}.{name}", t.hidden, True)
    count = fields.integer("num_global_layers", default=8)
    for name, layers in (("transformer", t.layers), ("global_transformer", count)):
        for index in range(layers):
            inside = f"{at}.{name}.layers.{index}"
            if name == "global_transformer":
                found += [Tensor(f"{inside}.gate_{part}", (1,)) for part in ("attn", "ffn")]
            names = ("q_proj", "k_proj", "v_proj", "o_proj")
            found += attention(f"{inside}.self_attn", t.hidden, False, names)
            found += modules.plain(f"{inside}.mlp", t.hidden, t.ffn, True, ("fc1", "fc2"))
            for norm in ("input_layernorm", "post_attention_layernorm"):
                found += modules.norm(f"{inside}.{norm}", t.hidden, True)
    return t._replace(tensors=found, layers=t.layers + count, patches=tiles * rows)


VISION_ENCODERS = {
    "clip_vision_model": clip,
    "siglip_vision_model": siglip,
    "siglip2_vision_model": siglip2,
    "idefics3_vision": idefics3,
    "smolvlm_vision": idefics3,
    "pixtral": pixtral,
    "internvl_vision": internvl,
    "llama4_vision_model": llama4,
    "mllama_vision_model": mllama,
}
"""By the `model_type` of a `vision_config`."""


MERGED_TOKENS: Final = 1280
"""Tokens of a picture, where a tower takes any size: the upper end of the range that Qwen2-VL's
model card recommends, 256 to 1280."""


def _patch_embedding(at: str, fields: Fields, hidden: int, side: int, bias: bool) -> list[Tensor]:
    patch, frames = (
        fields.integer("patch_size", default=side),
        fields.integer("temporal_patch_size", default=2),
    )
    shape = (hidden, fields.integer("in_channels", "in_chans", default=3), frames, patch, patch)
    found = [Tensor(f"{at}.patch_embed.proj.weight", shape)]
    return found + ([Tensor(f"{at}.patch_embed.proj.bias", (hidden,))] if bias else [])


def _merging_block(
    at: str, width: int, ffn: int, kind: str, bias: tuple[bool, bool]
) -> list[Tensor]:
    """Return a block whose norms, and whose attention, have biases or none."""
    found = modules.norm(f"{at}.norm1", width, bias[0]) + modules.norm(
        f"{at}.norm2", width, bias[0]
    )
    found += modules.linear(f"{at}.attn.qkv", 3 * width, width, bias[1])
    found += modules.linear(f"{at}.attn.proj", width, width, bias[1])
    if kind == "gated":
        return found + modules.gated(f"{at}.mlp", width, ffn, bias[1])
    names = ("fc1", "fc2") if kind == "fc" else ("linear_fc1", "linear_fc2")
    return found + modules.plain(f"{at}.mlp", width, ffn, True, names)


def qwen2(at: str, fields: Fields) -> VisionEncoder:
    """Return Qwen2-VL's encoder (arXiv 2409.12191); `hidden_size` is the language model's."""
    width, out = (
        fields.integer("embed_dim", default=1280),
        fields.integer("hidden_size", default=3584),
    )
    ffn = int(fields.number("mlp_ratio", 4) * width)
    depth, merge = (
        fields.integer("depth", default=32),
        fields.integer("spatial_merge_size", default=2),
    )
    found = _patch_embedding(at, fields, width, 14, False)
    for index in range(depth):
        found += _merging_block(f"{at}.blocks.{index}", width, ffn, "fc", (True, True))
    found += _merger(at, width, merge**2 * width, out, True)
    heads = fields.integer("num_heads", default=16)
    return VisionEncoder(found, width, depth, heads, ffn, MERGED_TOKENS * merge**2)


def qwen2_5(at: str, fields: Fields) -> VisionEncoder:
    """Return Qwen2.5-VL's encoder (arXiv 2502.13923): RMSNorm and a gated MLP."""
    width, out = (
        fields.integer("hidden_size", default=3584),
        fields.integer("out_hidden_size", default=3584),
    )
    ffn, depth = (
        fields.integer("intermediate_size", default=3420),
        fields.integer("depth", default=32),
    )
    merge = fields.integer("spatial_merge_size", default=2)
    found = _patch_embedding(at, fields, width, 14, False)
    for index in range(depth):
        found += _merging_block(f"{at}.blocks.{index}", width, ffn, "gated", (False, True))
    found += _merger(at, width, merge**2 * width, out, False)
    heads = fields.integer("num_heads", default=16)
    return VisionEncoder(found, width, depth, heads, ffn, MERGED_TOKENS * merge**2, gated=True)


def _merger(at: str, width: int, wide: int, out: int, bias: bool) -> list[Tensor]:
    found = modules.norm(f"{at}.merger.ln_q", width, bias)
    found += modules.linear(f"{at}.merger.mlp.0", wide, wide, True)
    return found + modules.linear(f"{at}.merger.mlp.2", out, wide, True)


def qwen3(at: str, fields: Fields, deep: tuple[int, ...] = (8, 16, 24)) -> VisionEncoder:
    """Return the encoder of Qwen3-VL and Qwen3.5 (arXiv 2511.21631), some of whose layers feed the
    model directly.
    """
    width, out = (
        fields.integer("hidden_size", default=1152),
        fields.integer("out_hidden_size", default=3584),
    )
    ffn, depth = (
        fields.integer("intermediate_size", default=4304),
        fields.integer("depth", default=27),
    )
    merge = fields.integer("spatial_merge_size", default=2)
    rows = fields.integer("num_position_embeddings", default=2304)
    found = _patch_embedding(at, fields, width, 16, True)
    found.append(Tensor(f"{at}.pos_embed.weight", (rows, width)))
    for index in range(depth):
        found += _merging_block(f"{at}.blocks.{index}", width, ffn, "linear_fc", (True, True))
    wide = merge**2 * width
    names = {"merger": width}
    found_deep = fields.numbers("deepstack_visual_indexes", [*deep]) if deep else []
    names |= {f"deepstack_merger_list.{index}": wide for index in range(len(found_deep))}
    for name, normed in names.items():
        found += modules.norm(f"{at}.{name}.norm", normed, True)
        found += modules.linear(f"{at}.{name}.linear_fc1", wide, wide, True)
        found += modules.linear(f"{at}.{name}.linear_fc2", out, wide, True)
    heads = fields.integer("num_heads", default=16)
    return VisionEncoder(found, width, depth, heads, ffn, MERGED_TOKENS * merge**2)


def glm4v(at: str, fields: Fields) -> VisionEncoder:
    """Return the encoder of GLM-4.1V and GLM-4.5V (arXiv 2507.01006)."""
    width, out = (
        fields.integer("hidden_size", default=1536),
        fields.integer("out_hidden_size", default=4096),
    )
    wide, depth = (
        fields.integer("intermediate_size", default=13696),
        fields.integer("depth", default=24),
    )
    image, patch = (
        fields.integer("image_size", default=336),
        fields.integer("patch_size", default=14),
    )
    merge, bias = (
        fields.integer("spatial_merge_size", default=2),
        fields.flag("attention_bias", False),
    )
    rows = (image // patch) ** 2
    found = [Tensor(f"{at}.embeddings.position_embedding.weight", (rows, width))]
    found += _patch_embedding(at, fields, width, 14, True)
    for index in range(depth):
        found += _merging_block(f"{at}.blocks.{index}", width, out, "gated", (False, bias))
    found += modules.linear(f"{at}.merger.proj", out, out)
    found += modules.norm(f"{at}.merger.post_projection_norm", out, True)
    found += modules.gated(f"{at}.merger", out, wide)
    found += modules.norm(f"{at}.post_conv_layernorm", width)
    found += [
        Tensor(f"{at}.downsample.weight", (out, width, merge, merge)),
        Tensor(f"{at}.downsample.bias", (out,)),
    ]
    found += modules.norm(f"{at}.post_layernorm", width)
    heads = fields.integer("num_heads", default=12)
    return VisionEncoder(found, width, depth, heads, out, MERGED_TOKENS * merge**2, gated=True)
