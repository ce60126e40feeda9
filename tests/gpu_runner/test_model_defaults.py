"""What a reader takes for keys that a file leaves out is what transformers takes, now."""

import json

import pytest
import transformers

from docs import model_defaults

pytestmark = pytest.mark.slow

WRITTEN = json.loads(model_defaults.OUT.read_text(encoding="utf-8"))


def test_the_table_is_the_one_that_its_command_writes() -> None:
    made = model_defaults.table()
    assert list(made) == list(WRITTEN["defaults"])
    if transformers.__version__ == WRITTEN["transformers"]:  # a later one may take other values
        assert made == WRITTEN["defaults"], "run docs/model_defaults.py"
