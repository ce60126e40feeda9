"""Mutants that no test can tell from the original, each with its reason."""

from typing import Final

EXPLAINED: Final[dict[tuple[str, str], str]] = {
    (
        "explain.py",
        "items = saved_tensors(step.local.architecture.of_layer(0), part.setup, sparse)",
    ): "all layers are of one kind here, see `_keeps_everything`",
}
"""By the name of the file and the text of the line."""
