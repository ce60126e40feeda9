"""`data`: what a run would train, before it does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gpu_runner.cli.commands import TRUST
from gpu_runner.cli.exits import exit_with
from gpu_runner.cli.loading import console_with_libraries
from gpu_runner.config.options import OPTIONS
from gpu_runner.config.resolve import resolve
from gpu_runner.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from gpu_runner.config.schema import TrainConfig
    from gpu_runner.data.encode import Example
    from gpu_runner.model.load import Source

MOST_SHOWN: Final = 10_000
_SCORED: Final = 64  # rows, where the weights are here already


def _told(name: str) -> str:
    return OPTIONS[name][1].rstrip(".") + "."


def data(
    file: Annotated[str, typer.Argument(help="Rows as --data of `train` takes them.")],
    model: Annotated[str | None, typer.Option(help=_told("model"))] = None,
    chat_template: Annotated[str | None, typer.Option(help=_told("chat_template"))] = None,
    train_on: Annotated[str | None, typer.Option(help=_told("train_on"))] = None,
    seq_len: Annotated[int | None, typer.Option(help=_told("seq_len"))] = None,
    micro_batch: Annotated[int | None, typer.Option(help=_told("micro_batch"))] = None,
    rows: Annotated[int, typer.Option(help="Rows to show whole.")] = 3,
    score: Annotated[
        int | None,
        typer.Option(help="Rows to score with θ₀; else 64, none where weights must be fetched."),
    ] = None,
    trust_remote_code: Annotated[bool, TRUST] = False,
) -> None:
    """What will be trained of your rows: tokens, ends, lengths, repeats. Nothing is run."""

    def go() -> ExitCode:
        for name, value in (("rows", rows), ("score", score or 0)):
            if not 0 <= value <= MOST_SHOWN:
                raise UsageError(
                    f"--{name} {value} is out of bounds: give a number from 0 to {MOST_SHOWN:,}."
                )
        given = {
            "model": model,
            "data": file,
            "chat_template": chat_template,
            "train_on": train_on,
            "seq_len": seq_len,
            "micro_batch": micro_batch,
            "trust_remote_code": trust_remote_code,
        }
        return _show(resolve(given), rows, score)

    exit_with(go)


def _show(config: TrainConfig, rows: int, score: int | None) -> ExitCode:
    console = console_with_libraries()
    from gpu_runner.data import run_data
    from gpu_runner.data.encode import pad_token
    from gpu_runner.model.load import find, load, load_tokenizer
    from gpu_runner.plan.machine import choose_device
    from gpu_runner.plan.shown import preview
    from gpu_runner.plan.shown.reading import reading
    from gpu_runner.train.evaluate import row_losses
    from unfrozen.training.order import spread

    source = find(config.model, trusted=config.trust_remote_code)
    tokenizer = load_tokenizer(source)
    encoder = run_data.encoder(config, tokenizer)
    with reading(console) as watch:
        found = run_data.all_rows(config, encoder, watch)
    preview.show(console, config, found, encoder, tokenizer, _settings(source))
    preview.show_rows(console, found, encoder, rows)
    many = score if score is not None else 0 if source.kind == "hub" else _SCORED
    if not many:
        if score is None:
            console.print("\n--score 64 also fetches the model, and shows its hardest rows.")
        return ExitCode.OK
    device = choose_device(config.device)
    chosen = list(spread(len(found.examples), many))
    examples: Sequence[Example] = [found.examples[index] for index in chosen]
    with console.status(f"scoring {len(chosen)} rows"):
        weights = load(source, tokenizer, config.params, device)
        losses = row_losses(weights, examples, pad_token(tokenizer), device)
    preview.show_losses(console, found, encoder, list(zip(chosen, losses, strict=True)))
    return ExitCode.OK


def _settings(source: Source) -> Any:
    """What the model's generation_config.json holds; {} where none is here."""
    try:
        return json.loads(Path(source.place, "generation_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
