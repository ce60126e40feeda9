"""Published measurements of how much full fine-tuning and LoRA learn.

    full fine-tuning   every weight has room; no rank to choose
    LoRA               as good as full fine-tuning while its adapters have room for the data
    a prompt           shows the model a style or format, teaches no knowledge

Room is counted as Schulman and Thinking Machines Lab count it ("LoRA Without Regret", 2025, the
section on capacity): a network stores two bits a parameter (Allen-Zhu and Li, arXiv 2404.05405),
and a token of fine-tuning data holds about one bit. Both are upper bounds, of what it takes to know
the data by heart; learning what generalises takes less. So "has room" is safe to say, and "has no
room" says where the published gaps opened, not that LoRA must fail there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from unfrozen.job.recipe import Lora
from unfrozen.memory.adapters import adapter_parameters
from unfrozen.model import ModelConfig

BITS_PER_PARAMETER: Final = 2
BITS_PER_TOKEN: Final = 1
RANKS: Final = (16, 32, 64, 128, 256, 512)
"""Ranks that are offered; 512 is the largest that "LoRA Without Regret" tried."""
LEAST_RANK: Final = {"style": 16, "knowledge": 256}
"""Where the search for a rank begins. In code and mathematics ranks of 16 and 64 fell short of full
fine-tuning and 256 did not, on the same instructions (Biderman et al., arXiv 2405.09673, section
4.1), though by the count above 16 had room. On a mixture for chat LoRA was on par (section 4.4)."""


@dataclass(frozen=True, slots=True)
class PublishedComparison:
    """One comparison by Biderman et al. of Llama-2-7B, section 4.1, each method at its own best
    rate and length: scores from 0 to 1, HumanEval for code and GSM8K for mathematics.
    """

    data: str
    tokens: float
    full: float
    rank_256: float


PUBLISHED: Final = (
    PublishedComparison("Instructions, code", 73e6, 0.497, 0.498),
    PublishedComparison("Instructions, mathematics", 103e6, 0.642, 0.634),
    PublishedComparison("Raw text, code", 20e9, 0.263, 0.224),
    PublishedComparison("Raw text, mathematics", 20e9, 0.293, 0.203),
)
"""Instructions were read several times, their tokens are those of one pass."""


def adapters(rank: int) -> Lora:
    """Return LoRA of a rank on every linear layer, as PEFT implements it."""
    return Lora(rank=rank, library="peft")


def trained_parameters(model: ModelConfig, rank: int) -> int:
    """Return the number of weights that LoRA trains at this rank."""
    return adapter_parameters(model, adapters(rank))


def room_tokens(parameters: int) -> int:
    """Return the number of tokens of data for which so many trained parameters have room."""
    return parameters * BITS_PER_PARAMETER // BITS_PER_TOKEN


def rank_for(model: ModelConfig, tokens: int, learn: str) -> tuple[int, bool]:
    """Return the least rank with room for the data, and whether there is one.

    Where there is none it is the largest. A rank above half the width is not low: its two thin
    matrices hold as much as the matrix that they stand beside.

    `learn` is "style" (what the model can do, done your way) or "knowledge" (what it hardly knows).
    """
    low = [rank for rank in RANKS if 2 * rank <= model.architecture.hidden]
    usual = [rank for rank in low if rank >= LEAST_RANK[learn]] or low[-1:]
    for rank in usual:
        if room_tokens(trained_parameters(model, rank)) >= tokens:
            return rank, rank >= LEAST_RANK[learn]
    return usual[-1], False
