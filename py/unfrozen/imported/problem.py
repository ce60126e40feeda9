"""Why a file of another tool is not read: which file, at which byte, what is wrong, what to do."""

from __future__ import annotations

from typing import Final

from unfrozen.errors import shown

EXPECTED: Final = (
    "expected is a trainer_state.json of Hugging Face Trainer, an event file of TensorBoard"
    " (events.out.tfevents.…) or an offline run of W&B (run-….wandb)"
)


class ForeignFileError(ValueError):
    """The message is one line: the file, the byte, the problem; then the remedy."""

    def __init__(self, file: str, problem: str, remedy: str, offset: int | None = None) -> None:
        self.file, self.offset = file, offset
        where = "" if offset is None else f" at byte {offset:,}"
        super().__init__(f"{name_shown(file)}{where}: {problem}; {remedy}")


def name_shown(file: str) -> str:
    """The name of a file in a sentence, whatever it holds."""
    return file if file.isprintable() and 0 < len(file) <= 200 else shown(file)
