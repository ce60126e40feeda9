"""The tower that turns pictures into tokens: its sizes, as memory and time need them."""

from __future__ import annotations

from typing import NamedTuple


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
