"""Training data at a terminal: its numbers, its examples token by token, and progress of reading.

Trained tokens are bold and green on a terminal with colours, and in [brackets] anywhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from operator import itemgetter
from typing import Any, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data import preview
from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.data.encode import Encoder
from gpu_runner.data.rows import ReportProgress, no_progress
from gpu_runner.text import counted, make_console, printable, sentence

AROUND: Final = 16  # tokens before an answer in a short view, and twice as many from its start
LEVELS: Final = "▁▂▃▄▅▆▇█"
_TRAINED, _READ = "bold green", "dim"


def format_tokens(console: Console, tokens: preview.ExampleTokens) -> Text:
    """Return tokens as text; ⏎ is a line break, … what is left out."""
    coloured = console.is_terminal and not console.no_color
    text = Text()
    if tokens.before:
        text.append("…", _READ if coloured else "")
    for token, trained in filter(itemgetter(0), tokens.tokens):
        shown = printable(token.replace("\n", "⏎").replace("\t", "→"))
        if coloured:
            text.append(shown, _TRAINED if trained else _READ)
        else:
            text.append(f"[{shown}]" if trained else shown)
    return text.append("…", _READ if coloured else "") if tokens.after else text


def describe_marks(console: Console) -> str:
    """Return how trained tokens are marked."""
    coloured = console.is_terminal and not console.no_color
    return "trained tokens are green" if coloured else "trained tokens in [brackets]"


def format_near_answer(
    console: Console, encoder: Encoder, rows: EncodedDataset, index: int
) -> Text:
    """Return one example near its first answer."""
    row, example = rows.rows[index], rows.examples[index]
    return format_tokens(console, preview.example_tokens(encoder, row, example, 3 * AROUND, AROUND))


def describe_trained(config: TrainConfig, rows: EncodedDataset, encoder: Encoder) -> str:
    """Describe which part of the examples is trained, and through which template."""
    part = {"assistant": "answers and their ends", "last": "the last answer and its end"}
    what = part.get(config.train_on, "everything")
    if not encoder.has_template:
        return f"{what}; without a chat template"
    own = config.chat_template is None
    through = "the model's chat template" if own else f"the template {config.chat_template}"
    if not rows.template_rows:
        return f"{what}; chats are formatted with {through}"
    return (
        f"{what}; prompt and completion are formatted with {through} as a user and an assistant"
        " message (--chat-template none: without)"
    )


def show_data(
    console: Console,
    config: TrainConfig,
    rows: EncodedDataset,
    encoder: Encoder,
    tokenizer: Any,
    settings: Any,
    shared: Mapping[str, int] | None = None,
) -> None:
    """Print everything about a data set but its examples.

    `shared` says of held-out examples how many are trained as well.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim")
    found = preview.count_end_tokens(rows, encoder)
    for name, text in (
        ("examples", f"{len(rows.examples):,} to train on, of {rows.rows_read:,} read"),
        (
            "tokens",
            f"{rows.tokens:,}, {rows.trainable_tokens:,} of them trained"
            f" ({rows.trainable_tokens / rows.tokens:.0%})",
        ),
        ("trained", describe_trained(config, rows, encoder)),
        ("end tokens", _stops(found, len(rows.examples))),
        ("lengths", _lengths(preview.measure_lengths(rows.examples.lengths))),
        ("template", _template(rows, encoder)),
        ("duplicates", _repeated(*preview.find_duplicates(rows))),
        ("truncated", _truncated(preview.find_truncated(rows, encoder))),
        ("dropped", _dropped(rows, preview.find_dropped(rows, encoder))),
        ("held out", _shared(shared)),
        ("padding", _padding(config, rows)),
    ):
        if text:
            table.add_row(name, Text(printable(text)))
    console.print(table)
    if rows.bad_rows:
        note = "train stops at the first bad example; --skip-bad-rows skips them."
        sentence(console, Text.assemble(("Note: ", "bold yellow"), note))
    elsewhere = preview.end_token_mismatch(found, tokenizer, settings)
    for text in (*rows.remarks(), *([f"{elsewhere}."] if elsewhere else [])):
        sentence(console, Text.assemble(("Note: ", "bold yellow"), printable(text)))


def show_examples(console: Console, rows: EncodedDataset, encoder: Encoder, most: int) -> None:
    """Print the first examples in full, as they are trained."""
    shown = list(islice(zip(rows.places, rows.rows, rows.examples, strict=True), most))
    if shown:
        many = f"{len(shown)} examples" if len(shown) > 1 else "example"
        console.print(Text(f"\nThe first {many}, {describe_marks(console)}:"))
    for place, row, example in shown:
        cut = f", truncated: {example.cut_tokens:,} more" if example.cut_tokens else ""
        lengths = f"{counted(len(example.ids), 'token')}, {example.trainable_tokens:,} trained{cut}"
        console.print(Text(printable(f"{place}  ({lengths})"), "bold"), soft_wrap=True)
        console.print(
            format_tokens(console, preview.example_tokens(encoder, row, example)), soft_wrap=True
        )


def show_losses(
    console: Console,
    rows: EncodedDataset,
    encoder: Encoder,
    losses: Sequence[tuple[int, float]],
    most: int = 3,
) -> None:
    """Print the examples with the highest and the lowest loss before training."""
    ranked = sorted(losses, key=lambda pair: -pair[1])
    mean = sum(loss for _, loss in losses) / len(losses)
    console.print(
        f"\nLoss before training on {counted(len(losses), 'example')}: {mean:.2f} nats a trained"
        " token on average. An example far above may be wrong; one near 0 teaches nothing."
    )
    hard, easy = ranked[:most], ranked[most:][-most:][::-1]
    for name, chosen in (("hardest", hard), ("easiest", easy)):
        for index, loss in chosen:
            head = f"{name}  {loss:5.2f}  {rows.places[index]}  "
            example = format_near_answer(console, encoder, rows, index)
            console.print(Text.assemble((printable(head), "bold"), example), soft_wrap=True)


def _stops(found: Sequence[preview.EndToken], rows: int) -> str:
    if not found:
        return "none: every example is truncated before its end"
    ends = [f"{printable(one.text)} (token {one.token}) ends {one.rows:,}" for one in found[:3]]
    more = f", {len(found) - 3} others the rest" if len(found) > 3 else ""
    return f"{', '.join(ends)}{more} of {counted(rows, 'example')}"


def _lengths(found: preview.Lengths) -> str:
    highest = max(found.bars)
    bars = "".join(
        LEVELS[min(len(LEVELS) - 1, count * len(LEVELS) // (highest + 1))] if count else " "
        for count in found.bars
    )
    return (
        f"{found.shortest} {bars} {found.longest} tokens; median {found.median}, 90th"
        f" percentile {found.nine_in_ten}"
    )


def _repeated(again: int, first: str) -> str:
    return f"{counted(again, 'exact duplicate')}; {first} is the first" if again else "none"


def _truncated(found: Sequence[preview.Truncated]) -> str:
    worst = [f"{one.place} ({one.tokens:,} tokens, {one.answer:,} of its answer)" for one in found]
    return f"most at {', '.join(worst)}; --seq-len keeps more" if found else ""


def _dropped(rows: EncodedDataset, found: Sequence[preview.Truncated]) -> str:
    if not found:
        return ""
    count = sum(part.untrainable_rows for part in rows.sets())
    lost = "all {} of its answer truncated"
    named = [
        f"{one.place} ({lost.format(counted(one.answer, 'token')) if one.answer else 'no answer'})"
        for one in found
    ]
    return f"{counted(count, 'example')} without a trained token: {', '.join(named)}"


def _template(rows: EncodedDataset, encoder: Encoder) -> str:
    if not encoder.has_template:
        return ""
    return f"adds {preview.template_share(rows, encoder):.0%} of the tokens"


def _shared(found: Mapping[str, int] | None) -> str:
    if found is None:
        return ""
    total = counted(found["rows"], "example")
    return f"{found['trained']:,} of {total} trained as well, token for token"


def _padding(config: TrainConfig, rows: EncodedDataset) -> str:
    share, parts = preview.measure_padding(rows, config.micro_batch, config.grad_accum, config.seed)
    saved = f"packing avoids it, in at most {counted(parts, 'sequence')} a step"
    return f"{share:.0%} of the tokens of padded examples; {saved}"


SHORT_SECONDS: Final = 1.0  # without any progress shown
EVERY_SECONDS: Final = 5.0  # between two lines where no bar is drawn


@contextmanager
def show_reading(
    console: Console, clock: Callable[[], float] = time.monotonic
) -> Iterator[ReportProgress]:
    """Show the progress of reading on stderr: a transient bar on a terminal, else a line at times.

    A quiet `console` shows nothing.
    """
    if console.quiet:
        yield no_progress
        return
    beside = make_console(stderr=True)
    shown = _Bars(beside, clock) if beside.is_terminal else _Lines(beside, clock)
    try:
        yield shown
    finally:
        shown.end()


class _Bars:
    """A bar for each stage."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=max(8, min(24, console.width - 60))),
            TaskProgressColumn(),
            TextColumn("{task.fields[rows]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, share: float, rows: int) -> None:
        if self._clock() - self._started < SHORT_SECONDS:
            return
        if what not in self._tasks:
            self._bar.start()
            self._tasks[what] = self._bar.add_task(printable(what), total=1.0, rows="")
        self._bar.update(
            self._tasks[what],
            completed=share,
            rows=counted(rows, "example") if rows else "",
            visible=share < 1,
        )

    def end(self) -> None:
        """Remove the bars."""
        self._bar.stop()


class _Lines:
    """A line every few seconds."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._printed = clock()

    def __call__(self, what: str, share: float, rows: int) -> None:
        if self._clock() - self._printed < EVERY_SECONDS:
            return
        self._printed = self._clock()
        many = f", {counted(rows, 'example')}" if rows else ""
        self._console.print(printable(f"{what}: {share:.0%}{many}"), markup=False, soft_wrap=True)

    def end(self) -> None:
        """Do nothing: lines stay."""
