"""What stands in place of attention in a layer, and what sees pictures: their sizes.

Widths are numbers a token. Each knows its share on one of several tensor-parallel ranks.
"""

from __future__ import annotations

from typing import NamedTuple


class Latent(NamedTuple):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    `q_rank` is 0 where queries are not compressed; `nope` and `rope` are dimensions of a head
    without and with positions, `value` those of a value.
    """

    heads: int
    q_rank: int
    kv_rank: int
    nope: int
    rope: int
    value: int

    def split(self, ranks: int) -> Latent:
        """Heads are shared; the compressed vectors stay whole."""
        return self._replace(heads=-(-self.heads // ranks))


class Selective(NamedTuple):
    """Mamba's selective state space (arXiv 2312.00752, section 3): `inner` channels with `state`
    numbers each, steps from `rank` numbers, a convolution over `conv` tokens.
    """

    inner: int
    state: int
    rank: int
    conv: int
    normed: bool = False  # steps, B and C pass norms (Jamba)

    def split(self, ranks: int) -> Selective:
        """Channels are shared."""
        return self._replace(inner=-(-self.inner // ranks))


class Dual(NamedTuple):
    """Mamba-2 (arXiv 2405.21060): heads of a state space, computed in chunks."""

    heads: int
    head_dim: int
    state: int
    groups: int
    conv: int
    chunk: int
    normed: bool = True  # its output passes a gated norm

    @property
    def inner(self) -> int:
        """Channels."""
        return self.heads * self.head_dim

    @property
    def convolved(self) -> int:
        """Numbers that pass the convolution: x, B and C."""
        return self.inner + 2 * self.groups * self.state

    def split(self, ranks: int) -> Dual:
        """Heads and groups are shared."""
        groups = max(1, self.groups // ranks)
        return self._replace(heads=-(-self.heads // ranks), groups=groups)


class Delta(NamedTuple):
    """The gated delta rule (arXiv 2412.06464), as Qwen3-Next runs it."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv: int
    joined: bool = True  # q, k, v and z of one matrix

    @property
    def keys(self) -> int:
        """Width of the queries, and of the keys."""
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        """Width of the values, and of the gate."""
        return self.value_heads * self.value_dim

    def split(self, ranks: int) -> Delta:
        """Heads are shared."""
        keys, values = -(-self.key_heads // ranks), -(-self.value_heads // ranks)
        return self._replace(key_heads=keys, value_heads=values)


class Convolution(NamedTuple):
    """A short gated convolution as wide as the model (LFM2)."""

    width: int
    conv: int

    def split(self, ranks: int) -> Convolution:
        """Channels are shared."""
        return self._replace(width=-(-self.width // ranks))


class Absent(NamedTuple):
    """Nothing: the layer is a feed-forward part alone (Nemotron-H)."""

    def split(self, _: int) -> Absent:
        """Nothing is shared."""
        return self


Mixer = Latent | Selective | Dual | Delta | Convolution | Absent


class Vision(NamedTuple):
    """A vision transformer and what follows it.

    `patches` are what the tower sees of one picture at its usual size, `tokens` what the language
    model reads of it. `parameters` are those of tower and projector together, `projector` those of
    what stands between the two. `fixed` towers see pictures of one size only.
    """

    hidden: int
    layers: int
    heads: int
    ffn: int
    patches: int
    tokens: int
    parameters: int
    projector: int
    gated: bool = False
    fixed: bool = True
