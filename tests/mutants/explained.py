"""Mutants that no test can tell from the original, each with its reason."""

from typing import Final

EXPLAINED: Final[dict[tuple[str, str], str]] = {}
