"""Replay without old rows: what θ₀ writes by itself, before the first step.

Unconditional samples of the model before, mixed into training, keep what it knew (arXiv 2505.13811,
2605.26097): each row begins with the token that begins texts, and every token after it is drawn
from θ₀ at temperature 1, up to an end token. Whatever token that is decides what θ₀ writes:

    BOS                 where the tokenizer has one, unless a chat template puts it before each turn
    <|endoftext|>       else, where the vocabulary has it: it stands between texts of pre-training
    any ordinary token  else, drawn uniformly for each row (arXiv 2305.17888)

No template is used and no prompt: rows are plain text for a chat model too. They are kept in the
run's directory as tokens, since text may be divided into others, and are trained whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.data.encode import pad_token
from gpu_runner.data.sampled import MOST_ROWS
from gpu_runner.errors import DataError, SystemFailure
from gpu_runner.model.blocks import as_written
from gpu_runner.plan.plan import RunPlan
from gpu_runner.train.evaluate import Progress, end_tokens
from gpu_runner.world import World

AT_ONCE: Final = 32
"""Rows that are sampled together."""
_SEPARATOR: Final = "<|endoftext|>"
_PROBE: Final = "Hello"


def write_rows(plan: RunPlan, model: Any, file: Path, world: World, progress: Progress) -> str:
    """Sample as many rows as the run's share needs, and write them; return what they are.

    All processes call it alike; each samples every so many batches, and the first writes. Raises
    `DataError` where θ₀ writes nothing, `SystemFailure` where the file cannot be written.
    """
    longest = plan.train.examples.lengths[-1]  # of the rows that stand in for these
    needed = plan.train.replayed_rows * longest
    begins, what = _start(plan)
    rows: list[list[int]] = []
    turn = tokens = 0
    while len(rows) < MOST_ROWS and tokens < needed:
        number = turn * world.size + world.rank
        found = world.run(
            _sample, model, begins, longest - 1, plan.config.seed + number, plan.tokenizer
        )
        rows += [row for part in world.everyones(found) for row in part]
        tokens, turn = sum(map(len, rows)), turn + 1
        if not rows:
            raise DataError(
                f"--replay self: {plan.source.name} writes nothing after {what}: it ends at once."
                " Give --replay a file of old examples."
            )
        progress(min(1.0, max(len(rows) / MOST_ROWS, tokens / needed)))
    world.on_first(lambda: _write(file, rows, plan.tokenizer))
    return f"{len(rows):,} rows of {tokens:,} tokens, each begun with {what}"


def _start(plan: RunPlan) -> tuple[Callable[[torch.Generator], Tensor], str]:
    """Return what draws the first tokens of rows (B, 1), and what they are."""
    tokenizer = plan.tokenizer
    token = tokenizer.bos_token
    if token and plan.encoder.has_template:
        turns = plan.encoder.render_question(_PROBE).count(token)
        token = token if turns < 2 else None
    known = tokenizer.get_vocab()
    token = token or (_SEPARATOR if _SEPARATOR in known else None)
    if token is not None:
        return lambda _: torch.full((AT_ONCE, 1), known[token]), token
    ordinary = torch.tensor(sorted(set(known.values()) - {*tokenizer.all_special_ids}))

    def draw(random: torch.Generator) -> Tensor:
        return ordinary[torch.randint(len(ordinary), (AT_ONCE, 1), generator=random)]

    return draw, "a random token"


def _sample(
    model: Any,
    begins: Callable[[torch.Generator], Tensor],
    new_tokens: int,
    seed: int,
    tokenizer: Any,
) -> list[list[int]]:
    """Return the rows of a batch, each up to its end token; those that end at once are left out.

    Every process computes as many tokens, however early rows end: weights are gathered for all.
    """
    ids = begins(torch.Generator().manual_seed(seed)).to(model.device)
    ends = end_tokens(model) | {tokenizer.eos_token_id, tokenizer.get_vocab().get(_SEPARATOR)}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), as_written(model), _endless(model), _seeded(model, seed):
            output = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new_tokens,
                do_sample=True,
                top_k=0,
                pad_token_id=pad_token(tokenizer),
            )
    finally:
        model.train(was_training)
    rows = []
    for row in output.tolist():
        end = next((place for place, token in enumerate(row) if place and token in ends), len(row))
        if end > 1:
            rows.append(row[: end + 1])
    return rows


@contextmanager
def _endless(model: Any) -> Iterator[None]:
    """Generate on after end tokens inside, without the settings that the model brings."""
    before = model.generation_config
    model.generation_config = type(before)()
    try:
        yield
    finally:
        model.generation_config = before


@contextmanager
def _seeded(model: Any, seed: int) -> Iterator[None]:
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _write(file: Path, rows: list[list[int]], tokenizer: Any) -> None:
    """Write the file, whole or not at all."""
    unfinished = file.with_name(f"{file.name}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8") as lines:
            for row in rows:
                text = tokenizer.decode(row, skip_special_tokens=True)
                lines.write(json.dumps({"tokens": row, "text": text}, ensure_ascii=False) + "\n")
        unfinished.replace(file)
    except OSError as error:
        raise SystemFailure(f"{file} cannot be written ({error.strerror}): make room.") from None
