"""Parts that families of models share, each a list of tensors under a name.

Shapes: D width, F inner width, H heads, K kv heads, d head dimension, E experts, V vocabulary.
"""

from __future__ import annotations

from unfrozen.model.blueprint import Tensor


def linear(
    name: str, out: int, into: int, bias: bool = False, cut: int | None = None, least: int = 1
) -> list[Tensor]:
    """Return a matrix (out, into); ranks share rows (`cut` 0, its bias too) or columns (1)."""
    found = [Tensor(f"{name}.weight", (out, into), cut, least)]
    if bias:
        found.append(Tensor(f"{name}.bias", (out,), 0 if cut == 0 else None, least))
    return found


def norm(name: str, width: int, bias: bool = False) -> list[Tensor]:
    """Return the weight of a norm, and its bias."""
    names = ("weight", "bias") if bias else ("weight",)
    return [Tensor(f"{name}.{part}", (width,)) for part in names]


def embedding(name: str, vocab: int, width: int) -> list[Tensor]:
    """Return the matrix (V, D) of token embeddings."""
    return [Tensor(f"{name}.weight", (vocab, width), 0, vocabulary=True)]


def head(tied: bool, vocab: int, width: int) -> list[Tensor]:
    """Return the language-model head; a tied one is the embedding and is not listed again."""
    return [] if tied else embedding("lm_head", vocab, width)


def attention(at: str, width: int, heads: tuple[int, int, int], bias: bool = False) -> list[Tensor]:
    """Return the matrices of queries, keys, values and output for (H, K, d) `heads`."""
    q, kv, d = heads[0] * heads[2], heads[1] * heads[2], heads[2]
    found = linear(f"{at}.q_proj", q, width, bias, 0)
    for name in ("k_proj", "v_proj"):
        found += linear(f"{at}.{name}", kv, width, bias, 0, d)
    return found + linear(f"{at}.o_proj", width, q, bias, 1)


def gated(at: str, width: int, ffn: int) -> list[Tensor]:
    """Return the three matrices of a gated MLP."""
    found = [
        t for name in ("gate_proj", "up_proj") for t in linear(f"{at}.{name}", ffn, width, False, 0)
    ]
    return found + linear(f"{at}.down_proj", width, ffn, False, 1)


def stacked(at: str, experts: int, width: int, ffn: int) -> list[Tensor]:
    """Return gated experts in two tensors: (E, 2F, D) and (E, D, F)."""
    return [
        Tensor(f"{at}.gate_up_proj", (experts, 2 * ffn, width), 1),
        Tensor(f"{at}.down_proj", (experts, width, ffn), 2),
    ]
