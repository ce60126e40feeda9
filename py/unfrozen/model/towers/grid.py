"""Towers that see pictures of any size, in patches over two frames: Qwen's and GLM-4.1V's.

Names, order and defaults are those of transformers 5.24.
"""

from __future__ import annotations

from typing import Final

from unfrozen.model import parts
from unfrozen.model.blueprint import Tensor
from unfrozen.model.fields import Fields
from unfrozen.model.towers.vit import Tower

TOKENS: Final = 1280
"""Tokens of a picture, where a tower takes any size: the upper end of the range that Qwen2-VL's
model card recommends, 256 to 1280."""


def _patch(at: str, fields: Fields, hidden: int, side: int, bias: bool) -> list[Tensor]:
    patch, frames = (
        fields.whole("patch_size", default=side),
        fields.whole("temporal_patch_size", default=2),
    )
    shape = (hidden, fields.whole("in_channels", "in_chans", default=3), frames, patch, patch)
    found = [Tensor(f"{at}.patch_embed.proj.weight", shape)]
    return found + ([Tensor(f"{at}.patch_embed.proj.bias", (hidden,))] if bias else [])


def _block(at: str, width: int, ffn: int, kind: str, bias: tuple[bool, bool]) -> list[Tensor]:
    """A block whose norms, and whose attention, have biases or none."""
    found = parts.norm(f"{at}.norm1", width, bias[0]) + parts.norm(f"{at}.norm2", width, bias[0])
    found += parts.linear(f"{at}.attn.qkv", 3 * width, width, bias[1])
    found += parts.linear(f"{at}.attn.proj", width, width, bias[1])
    if kind == "gated":
        return found + parts.gated(f"{at}.mlp", width, ffn, bias[1])
    names = ("fc1", "fc2") if kind == "fc" else ("linear_fc1", "linear_fc2")
    return found + parts.plain(f"{at}.mlp", width, ffn, True, names)


def qwen2(at: str, fields: Fields) -> Tower:
    """Qwen2-VL's (arXiv 2409.12191); `hidden_size` is the language model's."""
    width, out = fields.whole("embed_dim", default=1280), fields.whole("hidden_size", default=3584)
    ffn = int(fields.number("mlp_ratio", 4) * width)
    depth, merge = fields.whole("depth", default=32), fields.whole("spatial_merge_size", default=2)
    found = _patch(at, fields, width, 14, False)
    for index in range(depth):
        found += _block(f"{at}.blocks.{index}", width, ffn, "fc", (True, True))
    found += _merger(at, width, merge**2 * width, out, True)
    heads = fields.whole("num_heads", default=16)
    return Tower(found, width, depth, heads, ffn, TOKENS * merge**2)


def qwen2_5(at: str, fields: Fields) -> Tower:
    """Qwen2.5-VL's (arXiv 2502.13923): RMSNorm and a gated feed-forward part."""
    width, out = (
        fields.whole("hidden_size", default=3584),
        fields.whole("out_hidden_size", default=3584),
    )
    ffn, depth = fields.whole("intermediate_size", default=3420), fields.whole("depth", default=32)
    merge = fields.whole("spatial_merge_size", default=2)
    found = _patch(at, fields, width, 14, False)
    for index in range(depth):
        found += _block(f"{at}.blocks.{index}", width, ffn, "gated", (False, True))
    found += _merger(at, width, merge**2 * width, out, False)
    heads = fields.whole("num_heads", default=16)
    return Tower(found, width, depth, heads, ffn, TOKENS * merge**2, gated=True)


def _merger(at: str, width: int, wide: int, out: int, bias: bool) -> list[Tensor]:
    found = parts.norm(f"{at}.merger.ln_q", width, bias)
    found += parts.linear(f"{at}.merger.mlp.0", wide, wide, True)
    return found + parts.linear(f"{at}.merger.mlp.2", out, wide, True)


def qwen3(at: str, fields: Fields, deep: tuple[int, ...] = (8, 16, 24)) -> Tower:
    """Qwen3-VL's and Qwen3.5's (arXiv 2511.21631): some layers speak to the model directly."""
    width, out = (
        fields.whole("hidden_size", default=1152),
        fields.whole("out_hidden_size", default=3584),
    )
    ffn, depth = fields.whole("intermediate_size", default=4304), fields.whole("depth", default=27)
    merge = fields.whole("spatial_merge_size", default=2)
    rows = fields.whole("num_position_embeddings", default=2304)
    found = _patch(at, fields, width, 16, True)
    found.append(Tensor(f"{at}.pos_embed.weight", (rows, width)))
    for index in range(depth):
        found += _block(f"{at}.blocks.{index}", width, ffn, "linear_fc", (True, True))
    wide = merge**2 * width
    names = {"merger": width}
    found_deep = fields.numbers("deepstack_visual_indexes", [*deep]) if deep else []
    names |= {f"deepstack_merger_list.{index}": wide for index in range(len(found_deep))}
    for name, normed in names.items():
        found += parts.norm(f"{at}.{name}.norm", normed, True)
        found += parts.linear(f"{at}.{name}.linear_fc1", wide, wide, True)
        found += parts.linear(f"{at}.{name}.linear_fc2", out, wide, True)
    heads = fields.whole("num_heads", default=16)
    return Tower(found, width, depth, heads, ffn, TOKENS * merge**2)


def glm4v(at: str, fields: Fields) -> Tower:
    """GLM-4.1V's and GLM-4.5V's (arXiv 2507.01006)."""
    width, out = (
        fields.whole("hidden_size", default=1536),
        fields.whole("out_hidden_size", default=4096),
    )
    wide, depth = (
        fields.whole("intermediate_size", default=13696),
        fields.whole("depth", default=24),
    )
    image, patch = fields.whole("image_size", default=336), fields.whole("patch_size", default=14)
    merge, bias = (
        fields.whole("spatial_merge_size", default=2),
        fields.flag("attention_bias", False),
    )
    rows = (image // patch) ** 2
    found = [Tensor(f"{at}.embeddings.position_embedding.weight", (rows, width))]
    found += _patch(at, fields, width, 14, True)
    for index in range(depth):
        found += _block(f"{at}.blocks.{index}", width, out, "gated", (False, bias))
    found += parts.linear(f"{at}.merger.proj", out, out)
    found += parts.norm(f"{at}.merger.post_projection_norm", out, True)
    found += parts.gated(f"{at}.merger", out, wide)
    found += parts.norm(f"{at}.post_conv_layernorm", width)
    found += [
        Tensor(f"{at}.downsample.weight", (out, width, merge, merge)),
        Tensor(f"{at}.downsample.bias", (out,)),
    ]
    found += parts.norm(f"{at}.post_layernorm", width)
    heads = fields.whole("num_heads", default=12)
    return Tower(found, width, depth, heads, out, TOKENS * merge**2, gated=True)
