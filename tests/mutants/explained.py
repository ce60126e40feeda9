"""Mutants that no test can tell from the original, each with its reason."""

from typing import Final

EXPLAINED: Final[dict[tuple[str, str], str]] = {
    (
        "pipeline_schedules.py",
        "_ROUNDS: Final = 4  # after so many nothing new comes",
    ): "nothing new comes in a fifth",
    (
        "overhead.py",
        'update = found["optimizer_step"].get("workspace", 0)',
    ): "a quarter of a byte, of whole bytes rounded",
    (
        "overhead.py",
        "own, late = size - states - present, max(0, grads - present)",
    ): "a quarter of a byte, of whole bytes rounded",
    (
        "overhead.py",
        'return round(LEFT_OVER * (inside + parts.get("workspace", 0) + part.watched))',
    ): "a quarter of a byte, rounded",
    (
        "overhead.py",
        'return round(ROUNDING * parts.get("activations", 0))',
    ): "three hundredths of a byte, rounded",
    (
        "overhead.py",
        '+ max(0, elsewhere - point.get("gathered", 0) - point.get("unreduced", 0))',
    ): "nothing is unreduced after the last layer of the forward pass, which is never the highest",
    (
        "backward.py",
        "def _point(self, reached: int, pieces: Point, late: int = 0, here: int = 0) -> Point:",
    ): "where no gradient exists yet none is late",
    (
        "backward.py",
        "reached = min(max(0, parameters - self.head_size), inside)",
    ): "less than half a byte",
    (
        "explain.py",
        "items = saved_tensors(step.local.architecture.of_layer(0), part.setup, sparse)",
    ): "all layers are of one kind here, see `_keeps_everything`",
    (
        "backward.py",
        "self._whole = trained_whole(model, recipe.lora) if recipe.lora else (0, 0)",
    ): "it is read with adapters alone",
    (
        "explain.py",
        '"t": a.experts.per_token if a.experts else 0,',
    ): "no formula of a model without experts has the letter",
    (
        "explain.py",
        '"E": a.experts.count if a.experts else 0,',
    ): "no formula of a model without experts has the letter",
    (
        "explain.py",
        '"r": step.recipe.lora.rank if step.recipe.lora else 0,',
    ): "no formula of a job without adapters has the letter",
}
"""By the name of the file and the text of the line."""
