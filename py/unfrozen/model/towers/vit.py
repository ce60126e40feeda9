"""Vision transformers for pictures of one size: CLIP, SigLIP, InternViT, Pixtral, Llama's.

Names, order and defaults are those of transformers 5.24.
"""

from __future__ import annotations

from typing import NamedTuple

from unfrozen.model import parts
from unfrozen.model.blueprint import Tensor
from unfrozen.model.fields import Fields


class Tower(NamedTuple):
    """A vision transformer: its tensors and sizes; `patches` of one picture."""

    tensors: list[Tensor]
    hidden: int
    layers: int
    heads: int
    ffn: int
    patches: int
    gated: bool = False


def side(fields: Fields, name: str, usual: int) -> int:
    """Pixels of a side; of two sides the first."""
    return (
        fields.numbers(name, [usual])[0]
        if fields.is_list(name)
        else fields.whole(name, default=usual)
    )


def _tower(
    fields: Fields, tensors: list[Tensor], usual: tuple[int, ...], gated: bool = False
) -> Tower:
    hidden, ffn, layers, heads, image, patch = usual
    return Tower(
        tensors,
        fields.whole("hidden_size", default=hidden),
        fields.whole("num_hidden_layers", default=layers),
        fields.whole("num_attention_heads", "attention_heads", default=heads),
        fields.whole("intermediate_size", default=ffn),
        (side(fields, "image_size", image) // side(fields, "patch_size", patch)) ** 2,
        gated,
    )


def _seen(fields: Fields, usual: tuple[int, ...]) -> tuple[Tower, int, int]:
    """Sizes, channels and the side of a patch."""
    sizes = _tower(fields, [], usual)
    return sizes, fields.whole("num_channels", default=3), side(fields, "patch_size", usual[5])


def attention(at: str, width: int, bias: bool, names: tuple[str, str, str, str]) -> list[Tensor]:
    """Four square matrices, each with a bias or none."""
    return [t for name in names for t in parts.linear(f"{at}.{name}", width, width, bias)]


def _block(t: Tower, at: str, order: str) -> list[Tensor]:
    """A block of CLIP's kind, its parts in the `order` in which a class registers them."""
    part = {
        "a": attention(
            f"{at}.self_attn", t.hidden, True, ("k_proj", "v_proj", "q_proj", "out_proj")
        ),
        "1": parts.norm(f"{at}.layer_norm1", t.hidden, True),
        "m": parts.plain(f"{at}.mlp", t.hidden, t.ffn, True, ("fc1", "fc2")),
        "2": parts.norm(f"{at}.layer_norm2", t.hidden, True),
    }
    return [tensor for letter in order for tensor in part[letter]]


def clip(at: str, fields: Fields) -> Tower:
    """CLIP's (arXiv 2103.00020)."""
    usual = (768, 3072, 12, 12, 224, 32)
    t, channels, patch = _seen(fields, usual)
    found = [Tensor(f"{at}.embeddings.class_embedding", (t.hidden,))]
    found.append(_patches(f"{at}.embeddings.patch_embedding", t.hidden, channels, patch))
    found.append(Tensor(f"{at}.embeddings.position_embedding.weight", (t.patches + 1, t.hidden)))
    found += parts.norm(f"{at}.pre_layrnorm", t.hidden, True)
    found += [x for i in range(t.layers) for x in _block(t, f"{at}.encoder.layers.{i}", "a1m2")]
    return t._replace(tensors=found + parts.norm(f"{at}.post_layernorm", t.hidden, True))


def _patches(name: str, hidden: int, channels: int, patch: int) -> Tensor:
    return Tensor(f"{name}.weight", (hidden, channels, patch, patch))


def siglip(at: str, fields: Fields, order: str = "1a2m") -> Tower:
    """SigLIP's (arXiv 2303.15343), with or without the head that pools."""
    usual = (768, 3072, 12, 12, 224, 16)
    t, channels, patch = _seen(fields, usual)
    found = [_patches(f"{at}.embeddings.patch_embedding", t.hidden, channels, patch)]
    found.append(Tensor(f"{at}.embeddings.patch_embedding.bias", (t.hidden,)))
    return _siglip_rest(at, t, found, t.patches, order, fields.flag("vision_use_head", True))


def siglip2(at: str, fields: Fields) -> Tower:
    """SigLIP 2's, which takes patches as rows (arXiv 2502.14786)."""
    t, channels, patch = _seen(fields, (768, 3072, 12, 12, 256, 16))
    rows = fields.whole("num_patches", default=256)
    found = parts.linear(f"{at}.embeddings.patch_embedding", t.hidden, channels * patch**2, True)
    pooled = fields.flag("vision_use_head", True)
    return _siglip_rest(at, t._replace(patches=rows), found, rows, "1a2m", pooled)


def idefics3(at: str, fields: Fields) -> Tower:
    """Idefics3's and SmolVLM's: SigLIP's without its head."""
    usual = (1152, 3072, 12, 16, 224, 32)
    t, channels, patch = _seen(fields, usual)
    found = [_patches(f"{at}.embeddings.patch_embedding", t.hidden, channels, patch)]
    found.append(Tensor(f"{at}.embeddings.patch_embedding.bias", (t.hidden,)))
    return _siglip_rest(at, t, found, t.patches, "a1m2", False)


def _siglip_rest(
    at: str, t: Tower, found: list[Tensor], rows: int, order: str, pooled: bool
) -> Tower:
    found.append(Tensor(f"{at}.embeddings.position_embedding.weight", (rows, t.hidden)))
    found += [x for i in range(t.layers) for x in _block(t, f"{at}.encoder.layers.{i}", order)]
    found += parts.norm(f"{at}.post_layernorm", t.hidden, True)
    if pooled:
        found.append(Tensor(f"{at}.head.probe", (1, 1, t.hidden)))
        found.append(Tensor(f"{at}.head.attention.in_proj_weight", (3 * t.hidden, t.hidden)))
        found.append(Tensor(f"{at}.head.attention.in_proj_bias", (3 * t.hidden,)))
        found += parts.linear(f"{at}.head.attention.out_proj", t.hidden, t.hidden, True)
        found += parts.norm(f"{at}.head.layernorm", t.hidden, True)
        found += parts.plain(f"{at}.head.mlp", t.hidden, t.ffn, True, ("fc1", "fc2"))
    return t._replace(tensors=found)


def pixtral(at: str, fields: Fields) -> Tower:
    """Pixtral's: RMSNorm, rotary positions, a gated feed-forward part (arXiv 2410.07073)."""
    usual = (1024, 4096, 24, 16, 1024, 16)
    t, channels, patch = _seen(fields, usual)
    found = [_patches(f"{at}.patch_conv", t.hidden, channels, patch)]
    found += parts.norm(f"{at}.ln_pre", t.hidden)
    for index in range(t.layers):
        inside = f"{at}.transformer.layers.{index}"
        found += parts.norm(f"{inside}.attention_norm", t.hidden)
        found += parts.gated(f"{inside}.feed_forward", t.hidden, t.ffn)
        names = ("k_proj", "v_proj", "q_proj", "o_proj")
        found += attention(f"{inside}.attention", t.hidden, False, names)
        found += parts.norm(f"{inside}.ffn_norm", t.hidden)
    return t._replace(tensors=found, gated=True)


def internvl(at: str, fields: Fields) -> Tower:
    """InternViT as InternVL 2.5 and 3 have it (arXiv 2312.14238)."""
    usual = (1024, 4096, 24, 16, 448, 14)
    t, channels, patch = _seen(fields, usual)
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
            found += parts.linear(f"{inside}.attention.{name}", t.hidden, t.hidden, bias)
        found += parts.linear(f"{inside}.attention.projection_layer", t.hidden, t.hidden, True)
        if normed:
            found += parts.norm(f"{inside}.attention.q_norm", t.hidden)
            found += parts.norm(f"{inside}.attention.k_norm", t.hidden)
        found += parts.plain(f"{inside}.mlp", t.hidden, t.ffn, True, ("fc1", "fc2"))
        for name in ("before", "after"):
            found += parts.norm(f"{inside}.layernorm_{name}", t.hidden, centred)
    if not fields.flag("use_mean_pooling", True):
        found += parts.norm(f"{at}.layernorm", t.hidden, True)
    return t._replace(tensors=found)


def llama4(at: str, fields: Fields) -> Tower:
    """Llama 4's, with the adapter that shuffles pixels."""
    usual = (768, 5632, 34, 16, 448, 14)
    t, channels, patch = _seen(fields, usual)
    found = [Tensor(f"{at}.class_embedding", (t.hidden,))]
    found.append(Tensor(f"{at}.positional_embedding_vlm", (t.patches + 1, t.hidden)))
    found += parts.linear(f"{at}.patch_embedding.linear", t.hidden, channels * patch**2)
    for name in ("layernorm_pre", "layernorm_post"):
        found += parts.norm(f"{at}.{name}", t.hidden, True)
    for index in range(t.layers):
        inside = f"{at}.model.layers.{index}"
        names = ("q_proj", "k_proj", "v_proj", "o_proj")
        found += attention(f"{inside}.self_attn", t.hidden, True, names)
        found += parts.plain(f"{inside}.mlp", t.hidden, t.ffn, True, ("fc1", "fc2"))
        for name in ("input_layernorm", "post_attention_layernorm"):
            found += parts.norm(f"{inside}.{name}", t.hidden, True)
    wide, out = (
        fields.whole("projector_input_dim", default=4096),
        fields.whole("projector_output_dim", default=4096),
    )
    found += parts.linear(f"{at}.vision_adapter.mlp.fc1", wide, t.ffn)
    found += parts.linear(f"{at}.vision_adapter.mlp.fc2", out, wide)
    return t._replace(tensors=found)


def mllama(at: str, fields: Fields) -> Tower:
    """Llama 3.2's: tiles, and layers of two kinds (arXiv 2407.21783, section 7)."""
    usual = (1280, 5120, 32, 16, 448, 14)
    t, channels, patch = _seen(fields, usual)
    tiles = fields.whole("max_num_tiles", default=4)
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
        found += parts.norm(f"{at}.{name}", t.hidden, True)
    count = fields.whole("num_global_layers", default=8)
    for name, layers in (("transformer", t.layers), ("global_transformer", count)):
        for index in range(layers):
            inside = f"{at}.{name}.layers.{index}"
            if name == "global_transformer":
                found += [Tensor(f"{inside}.gate_{part}", (1,)) for part in ("attn", "ffn")]
            names = ("q_proj", "k_proj", "v_proj", "o_proj")
            found += attention(f"{inside}.self_attn", t.hidden, False, names)
            found += parts.plain(f"{inside}.mlp", t.hidden, t.ffn, True, ("fc1", "fc2"))
            for norm in ("input_layernorm", "post_attention_layernorm"):
                found += parts.norm(f"{inside}.{norm}", t.hidden, True)
    return t._replace(tensors=found, layers=t.layers + count, patches=tiles * rows)


TOWERS = {
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
