"""What a reader takes for keys that a file leaves out is what transformers takes, now."""

import transformers

from docs import model_defaults

WRITTEN = model_defaults.OUT.read_text(encoding="utf-8")


def types(text: str) -> list[str]:
    """The model types of the table: what stands at the beginning of a line."""
    found = model_defaults.TABLE.search(text)
    assert found is not None
    return [line.split()[0] for line in found[0].splitlines() if not line.startswith(" ")]


def test_the_table_is_the_one_that_its_command_writes() -> None:
    made = model_defaults.placed(WRITTEN)
    assert types(made) == types(WRITTEN)
    if transformers.__version__ in WRITTEN:  # a later one may take other values
        assert made == WRITTEN, "run docs/model_defaults.py"
