"""`unfrozen plan`: the planner's own command line, with what this machine knows.

Nothing heavy is imported before a plan is to be opened in the page.
"""

from __future__ import annotations

import sys
import webbrowser
from typing import Any, NoReturn


def run_planner(arguments: list[str]) -> NoReturn:
    """Run `unfrozen plan`."""
    from unfrozen.__main__ import main as planner

    sys.exit(planner(arguments, "unfrozen", _open_plan, read_lengths))


def read_lengths(source: str, model: str) -> tuple[list[int], str]:
    """Return the tokens of each row of a file or data set, and how they are known: by the model's
    tokenizer where it is on this machine, else estimated.

    Raises PlanError for data that cannot be read.
    """
    from gpu_runner.data.rows import SourceReader
    from gpu_runner.errors import DataError
    from unfrozen.errors import PlanError
    from unfrozen.training_data import ESTIMATED, estimated_tokens

    try:
        rows = SourceReader(source).read()
        if (encoder := _encoder(model)) is None:
            return [estimated_tokens(row) for _, row in rows], ESTIMATED
        lengths: list[int] = []
        for one in encoder.encode_rows(rows):
            if isinstance(one, str):
                raise DataError(one)
            lengths += [len(example.ids) for example in one.examples]
    except DataError as error:
        raise PlanError("data", source, str(error).rstrip("."), "") from None
    return lengths, f"by the tokenizer of {model}"


def _encoder(model: str) -> Any:
    """Return the encoder of a model whose tokenizer is on this machine, else None."""
    import contextlib

    from gpu_runner.data.encode import Encoder
    from gpu_runner.errors import DataError, ModelLoadError
    from unfrozen.runner import LENGTHS

    with contextlib.suppress(DataError, ModelLoadError, ImportError):
        from gpu_runner.model.load import find, load_tokenizer

        return Encoder(load_tokenizer(find(model)), LENGTHS[1])
    return None


def _open_plan(query: str) -> None:
    """Open the planner at a plan: on the server of this machine, else on one that starts now."""
    from gpu_runner.address import find
    from gpu_runner.cli.console import exit_with
    from gpu_runner.installed import built_page, runs_folder
    from gpu_runner.text import printable

    runs = runs_folder()
    if (address := find(runs)) is not None:
        print(printable(f"The plan is at  {address.plan(query)}"))
        webbrowser.open(address.plan(query))
        return
    from gpu_runner.serve.app import run_server

    exit_with(
        lambda: run_server(runs=runs, site=built_page(None), port=0, open_page=True, plan=query)
    )
