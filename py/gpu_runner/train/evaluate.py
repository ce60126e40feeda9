"""What the model can do: loss and exact match on held-out sets; and a few words.

The task set says what is being learned, the general sets what is being forgotten. Both are scored
at step 0 with the same rows and the same code, so a change is a change of the weights. Where a
reference is kept, the model that is scored first is θ₀, and each later one has its KL from it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_runner.data.dataset import GENERAL, EncodedDataset
from gpu_runner.data.encode import pad_token
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import Batch, collate
from gpu_runner.errors import is_lost_process, is_out_of_memory
from gpu_runner.model.blocks import as_written, positions_of
from gpu_runner.model.loss import LIKELIEST, TokenScores, loss_sum
from gpu_runner.model.routers import Routers
from gpu_runner.train.reference import HeldOutReference
from gpu_runner.world import World
from unfrozen.held_out import ExactMatch, Interval, fingerprint, paired_difference, together

ANSWER_TOKENS: Final = 32
"""The end among them: answers that are no longer are counted by exact match."""
_WINDOW: Final = 16
_LONGEST: Final = 64
"""Tokens that are decoded together."""
Progress = Callable[[float], None]
"""Is called with the share of something that is done."""


def no_progress(share: float) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class Score:
    """Mean loss (nats a trainable token) of one suite: `task`, `general/<skill>`, or `general`."""

    suite: str
    loss: float
    tokens: int
    exact: ExactMatch | None = None
    """Its examples by how they are answered; None where their answers are no short ones."""
    row_losses: Sequence[float] = ()
    """The mean loss of each example in their order; none where a log has too many."""
    row_right: Sequence[bool] = ()
    """Whether each of them is answered exactly; none without `exact`."""
    kl: float | None = None
    """KL(θ₀ ‖ θ) in nats a token, the mean over `kl_tokens`; a lower bound. None: not measured."""
    kl_tokens: int = 0
    examples: str = ""
    """The fingerprint of what was scored; "" where a log does not tell it."""


class ScoredLoss(Protocol):
    """The summed loss of a batch and its tokens, each of which is noted in `scores`."""

    def __call__(self, model: Any, batch: Batch, *, scores: TokenScores) -> tuple[Tensor, int]:
        """Compute it."""


def rows_of(scores: Sequence[Score], suite: str) -> tuple[float, ...]:
    """Return 1 or 0 for each answer of a set, else losses; none where they are not known."""
    parts = _parts(scores, suite)
    rows = [[float(right) for right in one.row_right] for one in parts]
    rows = rows if all(rows) else [list(one.row_losses) for one in parts]
    return tuple(value for each in rows for value in each) if all(rows) else ()


def _parts(scores: Sequence[Score], suite: str) -> list[Score]:
    """Return the scores of a set; of `general` its parts, where some have answers only these."""
    parts = [one for one in scores if one.suite.startswith(f"{GENERAL}/")]
    if suite == GENERAL and parts:
        return [one for one in parts if one.row_right] or parts
    return [one for one in scores if one.suite == suite]


def change_of(before: Sequence[Score], after: Sequence[Score], suite: str) -> Interval | None:
    """Return the change of a set's share of right answers, else of its loss, with its interval.

    None where it is not known that both scored the same examples.
    """
    sets = [[one.examples for one in _parts(scores, suite)] for scores in (before, after)]
    first, second = rows_of(before, suite), rows_of(after, suite)
    same = all(sets[0]) and sets[0] == sets[1] and len(first) == len(second)
    return paired_difference(first, second) if same else None


def has_answers(scores: Sequence[Score], suite: str) -> bool:
    """Return whether `rows_of` a set are answers; else they are losses."""
    return any(one.row_right for one in scores if f"{one.suite}/".startswith(f"{suite}/"))


def describe_score(one: Score, before: Sequence[Score], after: Sequence[Score]) -> dict[str, Any]:
    """Return a score as plain data: loss, KL, how many answers of how many, and the change."""
    right, total = (one.exact.right, sum(one.exact)) if one.exact else (None, None)
    moved = change_of(before, after, one.suite)
    change = moved and {"value": moved.mean, "interval": [moved.low, moved.high]}
    return {"loss": one.loss, "kl": one.kl, "exact": right, "of": total, "change": change}


def format_score(score: Score) -> str:
    """Return how many answers of how many are right, where they are counted, the loss, the KL."""
    answers = "" if score.exact is None else f"{score.exact.right}/{sum(score.exact)}  "
    return f"{answers}{score.loss:.3f}{'' if score.kl is None else f'  KL {score.kl:.3f}'}"


@dataclass(frozen=True, slots=True)
class Evaluator:
    """The held-out sets of a run and how to score them."""

    suites: Mapping[str, EncodedDataset]
    batch_size: int
    pad_id: int
    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]
    world: World = field(default_factory=World)
    """The batches are divided among its processes, all of which call `run`."""
    routers: Routers = field(default_factory=Routers)
    """Of a mixture of experts: where the tokens of all sets went is counted anew by each `run`."""
    loss: ScoredLoss = loss_sum
    reference: HeldOutReference | None = None
    """For the KL from θ₀; where it is not known, the model that `run` is given is θ₀."""
    _examples: dict[str, str] = field(default_factory=dict)
    """The fingerprint of each set that was scored."""

    def run(self, model: Any, progress: Progress = no_progress) -> list[Score]:
        """Score every suite; with general ones, `general` is the mean over all their tokens."""
        self.routers.begin()
        done, every = 0, sum(len(rows.examples) for rows in self.suites.values())

        def scored(examples: int) -> None:
            nonlocal done
            done += examples
            progress(min(1.0, done / every))

        was_training = model.training
        model.eval()
        try:
            with as_written(model):
                scores = [
                    self._score(model, name, rows, scored) for name, rows in self.suites.items()
                ]
        finally:
            model.train(was_training)
        if self.reference is not None and not self.reference.known:
            self.reference.finish()
        parts = [score for score in scores if score.suite.startswith(f"{GENERAL}/")]
        if parts:
            tokens = sum(part.tokens for part in parts)
            read = sum(part.kl_tokens for part in parts)
            total = sum(part.loss * part.tokens for part in parts)
            answered = [part.exact for part in parts if part.exact]
            exact = sum(answered, ExactMatch()) if answered else None
            apart = sum((part.kl or 0.0) * part.kl_tokens for part in parts)
            kl = apart / read if read else None
            sets = together(part.examples for part in parts)
            whole = Score(GENERAL, total / tokens, tokens, exact, kl=kl, kl_tokens=read)
            scores.append(replace(whole, examples=sets))
        return scores

    def _score(
        self, model: Any, suite: str, rows: EncodedDataset, scored: Callable[[int], None]
    ) -> Score:
        by_length = np.argsort(rows.examples.lengths, kind="stable")  # little padding
        starts = range(0, len(by_length), self.batch_size)
        counts_answers = has_short_answers(rows.examples)
        exact, sums = ExactMatch(), torch.zeros(3, dtype=torch.float64)  # loss, KL, tokens
        by_row = np.zeros((2, len(by_length)))  # mean loss; whether it is answered exactly
        kept = self.reference
        known = kept and kept.known.get(suite)
        noting = nullcontext() if kept is None or known else kept.noting(suite)
        with torch.no_grad(), self.autocast(), noting as note:
            for turn in range(0, len(starts), self.world.size):
                mine = turn + self.world.rank < len(starts)  # else look on: weights are gathered
                start = starts[turn + self.world.rank if mine else 0]
                chosen = by_length[start : start + self.batch_size]
                examples = [rows.examples[index] for index in chosen]
                lengths = [example.trainable_tokens for example in examples]
                reference = known.of(chosen.tolist(), lengths) if known else None
                batch = collate(examples, self.pad_id).to(self.device)
                top = LIKELIEST if note else 0
                noted = TokenScores.of(batch.trainable_tokens, self.device, top, reference)
                with self.routers.watching(batch) if mine else nullcontext():
                    part, count = self.loss(model, batch, scores=noted)
                if mine:
                    sums += torch.tensor((part, noted.kl, count))
                    if note:
                        note(chosen.tolist(), lengths, noted.top)
                    hits = [part.tolist() for part in noted.hits.split(lengths)]
                    losses = [float(part.mean()) for part in noted.losses.cpu().split(lengths)]
                    by_row[:, chosen] = losses, [all(each) for each in hits]
                    exact += ExactMatch.of(hits)
                scored(self.batch_size * self.world.size)
        score = self._total(suite, sums, exact if counts_answers else None, by_row)
        if suite not in self._examples:
            self._examples[suite] = fingerprint((one.ids, one.trained) for one in rows.examples)
        return replace(score, examples=self._examples[suite])

    def _total(
        self, suite: str, sums: Tensor, exact: ExactMatch | None, by_row: NDArray[np.float64]
    ) -> Score:
        """Return the score of a set from what each process has summed, and found by example."""
        total, apart, tokens = self.world.sum(sums).tolist()
        if exact is not None:
            exact = ExactMatch(*self.world.sum(torch.tensor(exact)).tolist())
        score = Score(suite, total / tokens, int(tokens), exact)
        if self.reference is not None:
            read = self.reference.tokens(suite)
            score = replace(score, kl=max(0.0, apart / read), kl_tokens=read)
        losses, right = self.world.sum(torch.from_numpy(by_row)).tolist()
        return replace(score, row_losses=losses, row_right=[r > 0 for r in right] if exact else ())


def has_short_answers(examples: Sequence[Example]) -> bool:
    """Return whether each example has a prompt and a whole answer of at most ANSWER_TOKENS.

    Of others hardly any would be an exact match, whatever the model can do.
    """
    return all(
        not example.cut_tokens
        and 0 < example.trainable_tokens <= ANSWER_TOKENS
        and example.trained_positions[0] > 1
        for example in examples
    )


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a model wrote: its text without special tokens, all its tokens, whether it ended."""

    text: str
    tokens: tuple[int, ...]
    pieces: tuple[str, ...]
    """The texts of its tokens, those of special ones empty; none where they are not the text."""
    ended: bool
    """It wrote a token that ends texts; else it was stopped."""


def generate(
    model: Any,
    tokenizer: Any,
    text: str,
    new_tokens: int,
    most_read: int = 512,
    seconds: float | None = None,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> Continuation:
    """Return what the model writes after `text`, at most `new_tokens`.

    Greedy at temperature 0, else sampled from all tokens; the same seed draws the same tokens, and
    no other random numbers change. It ends with the token that is being written when `seconds` are
    over. Of a long text the last `most_read` tokens are read, or as many as the model was made for;
    of an empty one, a token that begins texts.
    """
    new_tokens, room = _room(model, new_tokens, most_read)
    read = tokenizer(text, add_special_tokens=False)["input_ids"]
    read = read[-min(most_read, room) :] or [_first_token(tokenizer)]
    ids = torch.tensor([read], device=model.device)  # (1, T)
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), as_written(model), _seeded(model.device, seed, temperature):
            output = _continue(
                model,
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new_tokens,
                max_time=seconds,
                pad_token_id=pad_token(tokenizer),
                **sampling,
            )
    finally:
        model.train(was_training)
    tokens = tuple(output[0, ids.shape[1] :].tolist())
    ended = bool(tokens) and tokens[-1] in end_tokens(model)
    text = str(tokenizer.decode(tokens, skip_special_tokens=True))
    pieces = token_pieces(tokenizer, tokens)
    return Continuation(text, tokens, pieces if "".join(pieces) == text else (), ended)


def _continue(model: Any, **arguments: Any) -> Tensor:
    """Return what a model generates; of a type whose cache fails in transformers (BLT's, xLSTM's,
    that of layers which all have linear attention) all tokens are read for each one written."""
    try:
        output: Tensor = model.generate(**arguments)
    except Exception as error:  # a model's own code may raise anything
        if is_out_of_memory(error) or is_lost_process(error):
            raise
        output = model.generate(**arguments, use_cache=False)
    return output


def token_pieces(
    tokenizer: Any, tokens: Sequence[int], *, special: bool = False
) -> tuple[str, ...]:
    """Return the text of each token, such that together they are the text of all.

    A character of several tokens stands with its last one; special ones are "", or shown.
    """

    def decode(start: int, end: int) -> str:
        return str(tokenizer.decode(tokens[start:end], skip_special_tokens=not special))

    pieces, start, done = [], 0, ""
    for end in range(1, len(tokens) + 1):
        text = decode(start, end)
        if text.endswith("\ufffd") and end < len(tokens) and end - start < _LONGEST:
            pieces.append("")
            continue
        pieces.append(text[len(done) :])
        done = text
        if end - start >= _WINDOW:  # spaces depend on the token before
            start, done = end - 1, decode(end - 1, end)
    return tuple(pieces)


def _room(model: Any, new_tokens: int, most_read: int) -> tuple[int, int]:
    """Return how many tokens can be written, and how many read before them."""
    room = positions_of(model.config) or most_read + new_tokens
    new_tokens = min(new_tokens, room - 1)
    return new_tokens, room - new_tokens


@contextmanager
def _seeded(device: torch.device, seed: int, temperature: float) -> Iterator[None]:
    """Sample from `seed` inside; random numbers outside do not change."""
    if not temperature:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def end_tokens(model: Any) -> frozenset[int]:
    """Return the tokens at which the model's generation ends."""
    settings = getattr(model, "generation_config", None) or model.config
    found = settings.eos_token_id
    return frozenset(found if isinstance(found, list | tuple) else () if found is None else [found])


def _first_token(tokenizer: Any) -> int:
    bos = tokenizer.bos_token_id
    return pad_token(tokenizer) if bos is None else int(bos)


def example_losses(
    model: Any,
    examples: Sequence[Example],
    pad_id: int,
    device: torch.device,
    *,
    seconds: Callable[[float], float] | float = math.inf,
    progress: Progress = no_progress,
) -> list[float | None]:
    """Return the mean −log p of each example's trained tokens, in nats, one example at a time.

    None where time ran out: after `seconds`, which may follow from those that a token took. What is
    scored until then lies all over the examples; the first two of these are scored in any case.
    """
    found: list[float | None] = [None] * len(examples)
    was_training, started, tokens = model.training, time.monotonic(), 0
    model.eval()
    try:
        with torch.no_grad():
            for done, index in enumerate(scattered(len(examples))):
                spent = time.monotonic() - started
                if done >= 2:
                    most = seconds(spent / tokens) if callable(seconds) else seconds
                    if spent > most:
                        break
                example = examples[index]
                total, count = loss_sum(model, collate([example], pad_id).to(device))
                found[index] = float(total) / count
                tokens += len(example.ids)
                progress((done + 1) / len(examples))
    finally:
        model.train(was_training)
    return found


def scattered(count: int) -> list[int]:
    """Return 0 … count − 1 in an order whose every beginning lies all over them.

    By the digits of the binary number from behind (van der Corput).
    """
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda index: int(f"{index:0{bits}b}"[::-1], 2))
