"""Replay without old rows: what θ₀ writes by itself, before the first step.

Unconditional samples of the model before, mixed into training, keep what it knew (arXiv 2505.13811,
2605.26097): each row begins with the token that begins texts, and every token after it is drawn
from θ₀ at temperature 1, up to an end token. Whatever token that is decides what θ₀ writes:

    BOS                 where the tokenizer has one, unless a chat template puts it before each turn
    <|endoftext|>       else, where the vocabulary has it: it stands between texts of pre-training
    any ordinary token  else, drawn uniformly for each row (arXiv 2305.17888)

A chat model answers prompts instead, as it reads them, and the answer alone is trained: those of
--replay-prompts (arXiv 2403.01244), else those of the task, which it answers as before training.

Rows are kept in the run's directory as tokens, since text may be divided into others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from gpu_runner.atomic import write_file
from gpu_runner.config.bounds import OWN_PROMPTS
from gpu_runner.data import run_data, sampled
from gpu_runner.data.encode import pad_token
from gpu_runner.data.sampled import MOST_ROWS
from gpu_runner.errors import DataError, SystemFailure
from gpu_runner.model.blocks import as_written
from gpu_runner.plan.plan import RunPlan
from gpu_runner.text import counted
from gpu_runner.train.evaluate import Progress, end_tokens
from gpu_runner.world import World

AT_ONCE: Final = 32
"""Rows that are sampled together."""
_SEPARATOR: Final = "<|endoftext|>"
_PROBE: Final = "Hello"
Begins = Callable[[torch.Generator], list[list[int]]]
"""Draws the tokens with which each row of a batch begins."""


def write_rows(plan: RunPlan, model: Any, file: Path, world: World, progress: Progress) -> str:
    """Sample as many rows as the run's share needs, and write them; return what they are.

    All processes call it alike; each samples every so many batches, and the first writes. Raises
    `DataError` where θ₀ writes nothing, `SystemFailure` where the file cannot be written.
    """
    longest = plan.train.examples.lengths[-1]  # of the rows that stand in for these
    needed = plan.train.replayed_rows * longest
    given = sampled.prompts_of(plan.config, plan.encoder)
    begins, what = _prompts(plan, given, longest) if given else _start(plan)
    rows: list[tuple[list[int], int]] = []
    turn = tokens = 0
    while len(rows) < MOST_ROWS and tokens < needed:
        number = turn * world.size + world.rank
        random = torch.Generator().manual_seed(plan.config.seed + number)
        found = world.run(
            _sample, model, begins(random), longest, plan.config.seed + number, plan.tokenizer
        )
        rows += [row for part in world.everyones(found) for row in part]
        tokens, turn = sum(len(row) for row, _ in rows), turn + 1
        if not rows:
            raise DataError(
                f"--replay self: {plan.source.name} writes nothing after {what}: it ends at once."
                " Give --replay a file of old examples."
            )
        progress(min(1.0, max(len(rows) / MOST_ROWS, tokens / needed)))
    world.on_first(lambda: _write(file, rows, plan.tokenizer))
    return f"{len(rows):,} rows of {tokens:,} tokens, each begun with {what}"


def _start(plan: RunPlan) -> tuple[Begins, str]:
    """Return what draws the first token of each row of a batch, and what it is."""
    tokenizer = plan.tokenizer
    token = tokenizer.bos_token
    if token and plan.encoder.has_template:
        turns = plan.encoder.render_question(_PROBE).count(token)
        token = token if turns < 2 else None
    known = tokenizer.get_vocab()
    token = token or (_SEPARATOR if _SEPARATOR in known else None)
    if token is not None:
        return lambda _: [[known[token]]] * AT_ONCE, token
    ordinary = sorted(set(known.values()) - {*tokenizer.all_special_ids})
    return partial(_draw, [[one] for one in ordinary]), "a random token"


def _draw(these: Sequence[list[int]], random: torch.Generator) -> list[list[int]]:
    return [these[i] for i in torch.randint(len(these), (AT_ONCE,), generator=random)]


def _prompts(plan: RunPlan, given: str, longest: int) -> tuple[Begins, str]:
    """Return what draws prompts of at most three quarters of a row. Raises `DataError` for none."""
    if given == OWN_PROMPTS:
        rows: Sequence[Any] = plan.train.rows[: len(plan.train.rows) - plan.train.replayed_rows]
        which = "the training examples"
    else:
        rows = run_data.load_whole("prompts", given, plan.config, plan.encoder).rows
        which = Path(given).name
    texts = dict.fromkeys(plan.encoder.prompt_text(row) for row in rows)
    read = [plan.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    most = longest * 3 // 4
    short = [one for one in read if 0 < len(one) <= most]
    if not short:
        raise DataError(
            f"--replay-prompts {given}: no prompt has from 1 to {most} tokens, three quarters"
            f" of the {longest} of a row. Give shorter ones, none, or a larger --seq-len."
        )
    return partial(_draw, short), f"one of {counted(len(short), 'prompt')} of {which}"


def _sample(
    model: Any, begun: list[list[int]], longest: int, seed: int, tokenizer: Any
) -> list[tuple[list[int], int]]:
    """Return the rows of a batch, each up to its end token, and how many tokens it had begun with.

    Those that end at once are left out. Every process computes as many tokens, however early rows
    end: weights are gathered for all.
    """
    most, pad = max(map(len, begun)), pad_token(tokenizer)
    ids = [[pad] * (most - len(row)) + row for row in begun]
    seen = [[0] * (most - len(row)) + [1] * len(row) for row in begun]
    ends = end_tokens(model) | {tokenizer.eos_token_id, tokenizer.get_vocab().get(_SEPARATOR)}
    padded, was_training = min(map(len, begun)) < most, model.training
    model.eval()
    try:
        with torch.no_grad(), as_written(model), _sampling(model, seed, padded=padded):
            output = model.generate(
                input_ids=torch.tensor(ids, device=model.device),
                attention_mask=torch.tensor(seen, device=model.device),
                max_new_tokens=longest - most,
                do_sample=True,
                top_k=0,
                pad_token_id=pad,
            )
    finally:
        model.train(was_training)
    rows = []
    for begin, tokens in zip(begun, output[:, most:].tolist(), strict=True):
        end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
        if end:
            rows.append((begin + tokens[: end + 1], len(begin)))
    return rows


@contextmanager
def _sampling(model: Any, seed: int, *, padded: bool) -> Iterator[None]:
    """Generate on after end tokens inside, without the settings that the model brings.

    Where rows are `padded` on the left, with an attention that can tell.
    """
    before, attention = model.generation_config, model.config._attn_implementation
    model.generation_config = type(before)()
    if padded:
        model.set_attn_implementation("eager")
    try:
        with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        model.generation_config = before
        if padded:
            model.set_attn_implementation(attention)


def _write(file: Path, rows: list[tuple[list[int], int]], tokenizer: Any) -> None:
    """Write the file, whole or not at all."""

    def lines() -> Iterator[str]:
        for row, asked in rows:
            text = tokenizer.decode(row, skip_special_tokens=True)
            line = {"tokens": row, "asked": asked, "text": text}
            yield json.dumps(line, ensure_ascii=False) + "\n"

    try:
        write_file(file, lines())
    except OSError as error:
        raise SystemFailure(f"{file} cannot be written ({error.strerror}): make room.") from None
