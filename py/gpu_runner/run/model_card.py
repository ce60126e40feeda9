"""The card of a model that a run wrote: README.md with its base, its recipe, and what it learned.

All of it is from the run's log, so that the card of an exported checkpoint has the numbers of that
checkpoint. Of paths only the last part is told: a card is published.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gpu_runner.atomic import write_file
from gpu_runner.data.dataset import GENERAL, TASK
from gpu_runner.installed import installed_version
from gpu_runner.log.tail import LOG_NAME, event_lines, parse
from gpu_runner.model import gguf_file
from gpu_runner.model.load import Source, class_of, find, read_config
from gpu_runner.outgoing import hide_private
from gpu_runner.text import counted, printable, with_interval
from gpu_runner.train.evaluate import Score, change_of
from gpu_runner.train.initial_weights import published_folder
from unfrozen.held_out import METHOD, SHARE, ExactMatch
from unfrozen.plain import read_plain
from unfrozen.units import format_bytes

NAME: Final = "README.md"
_LICENSE: Final = re.compile(r"^license:\s*['\"]?([\w.-]+)", re.MULTILINE)
_MOST_READ: Final = 64 * 1024
_KINDS: Final = tuple(
    f'"kind":"{kind}"'.encode() for kind in ("run.start", "run.end", "eval", "sample", "rows")
)
_HEAD_BYTES: Final = 256
"""The start of a line, which tells its kind: of a long log few are parsed."""
_NEAR: Final = ("l2sp", "l2sp_pull", "ewc")
_RECIPE: Final = (
    *("steps", "micro_batch", "grad_accum", "seq_len", "optimizer", "lr", "schedule", "warmup"),
    *("weight_decay", "clip", *_NEAR, "ema", "replay_share"),
    *("params", "compute", "seed"),
)
_UNUSED: Final = dict.fromkeys(_NEAR, 0.0)
"""Values of settings that then do nothing."""


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """The model of a run by its log.

    scores  by step and set, of each evaluation
    start   the payload of its first `run.start`
    end     the `summary` of its last `run.end`; empty while it trains
    samples the prompts and the answers of the trained model, "" where it was not asked yet
    stop    the token in which most trained answers end
    """

    scores: Mapping[int, Mapping[str, Score]]
    start: Mapping[str, Any]
    end: Mapping[str, Any]
    samples: Mapping[str, str]
    stop: int | None

    @staticmethod
    def read(run: Path) -> LoggedRun:
        """Read the log; what is damaged in it is left out."""
        scores: dict[int, dict[str, Score]] = {}
        start: dict[str, Any] = {}
        end: dict[str, Any] = {}
        samples: dict[str, str] = {}
        stop: int | None = None
        for event in _events(run):
            if event["kind"] == "eval":
                scores.setdefault(event["step"], {})[event["suite"]] = _score(event)
            elif event["kind"] == "run.start":
                start = start or event
            elif event["kind"] == "run.end":
                end = event.get("summary") or {}
            elif event["kind"] == "sample":
                after = event.get("when") == "after"
                samples[event["prompt"]] = event["text"] if after else ""
            elif event.get("ends"):
                stop = int(event["ends"][0]["token"]) if stop is None else stop
        return LoggedRun(scores, start, end, samples, stop)

    def scores_of(self, step: int, task_loss: float | None = None) -> tuple[Score, ...]:
        """Return the scores of the model of a step: of the last evaluation until then.

        Of a finished run `task_loss` tells which one: the best weights may have been restored.
        """
        steps = [at for at in self.scores if at <= step]
        if task_loss is not None:
            steps = [at for at in steps if _task_loss(self.scores[at]) == task_loss] or steps
        return tuple(self.scores[max(steps)].values()) if steps else ()

    @property
    def task_loss(self) -> float | None:
        """The task loss of the finished model."""
        found = (self.end.get("losses") or {}).get(TASK)
        return float(found[1]) if found else None


def _events(run: Path) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(OSError):
        for line in event_lines(run / LOG_NAME):
            told = any(kind in line[:_HEAD_BYTES] for kind in _KINDS)
            if told and (event := parse(line)) is not None:
                yield event


def _score(event: Mapping[str, Any]) -> Score:
    exact = event.get("exact")
    return Score(
        event["suite"],
        event["loss"],
        event["tokens"],
        ExactMatch(*(exact[name] for name in ExactMatch._fields)) if exact else None,
        event.get("row_losses") or (),
        [right == "1" for right in event.get("row_right") or ""],
        event.get("kl"),
        examples=event.get("examples") or "",
    )


def _task_loss(scores: Mapping[str, Score]) -> float | None:
    return scores[TASK].loss if TASK in scores else None


def write_card(
    place: Path, run: Path, made: str, after: Sequence[Score], name: str | None = None
) -> None:
    """Write the card of the model in `place`, which `run` trained.

    `made` says how its weights were made, `after` how they score on the run's held-out sets.
    """
    logged = LoggedRun.read(run)
    config = logged.start.get("config") or {}
    base = str(config.get("model") or "a model")
    size = (logged.start.get("model") or {}).get("num_parameters")
    weights = f", all {size:,} weights" if size else ""
    parts = [
        _front_matter(run, base),
        f"# {_text(name or run.name)}",
        f"A full fine-tune of {_text(_short(base))}{weights}, made with Unfrozen"
        f" {installed_version()}. {made}",
        _data(logged, config),
        _table(logged.scores_of(0), after),
        _settings(logged, config),
        _memory(logged),
        _USE.format(kind=class_of(read_config(Source("directory", "", str(place)))[0]).__name__),
    ]
    write_file(place / NAME, "\n\n".join(part for part in parts if part) + "\n")


_USE: Final = """\
## Use

```python
from transformers import {kind}, AutoTokenizer

place = "."  # this directory
tokenizer = AutoTokenizer.from_pretrained(place)
model = {kind}.from_pretrained(place)
```

Prompts are read as in training: through the chat template of the tokenizer if it has one, else as \
plain text."""


def _front_matter(run: Path, base: str) -> str:
    """Return what the hub reads: license and base model only where they are known."""
    lines = ["library_name: transformers", "pipeline_tag: text-generation"]
    with contextlib.suppress(Exception):  # the base may be gone, or anything
        source = find(base)
        if source.kind == "hub":
            lines.append(f"base_model: {base}")
        if (license_of := base_license(source, run)) and re.fullmatch(r"[\w.+-]+", license_of):
            lines.append(f"license: {license_of}")
    return "\n".join(["---", *sorted(lines), "tags: [full-fine-tuning, unfrozen]", "---"])


def base_license(source: Source, run: Path) -> str | None:
    """Return the license that a model's card or file names; None where it names none."""
    if source.kind == "demo":
        return "mit"
    if source.kind == "gguf":
        found = gguf_file.parse(Path(source.place, source.gguf_file or ""))
        field = found.fields.get("general.license")
        return str(field.contents()) if field else None
    folder = published_folder(source, run)
    if folder is None or not (folder / NAME).is_file():
        return None
    card = read_plain((folder / NAME).resolve(), _MOST_READ).decode("utf-8", "replace")
    _, begins, rest = card.partition("---\n")
    named = _LICENSE.search(rest.partition("\n---")[0]) if begins else None
    return named[1] if named else None


def _text(value: object) -> str:
    """Return what a log or a user has named, as Markdown shows it, on one line."""
    return re.sub(r"[\\`*<>|\[\]]", r"\\\g<0>", printable(hide_private(str(value))))


def _short(path: str) -> str:
    """Return the last part of a path or an address; a name of the hub as it is."""
    is_name = not path.startswith(("/", "~", ".")) and not re.search(r"\\|:/|\.gguf$", path)
    return path if is_name else re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _data(logged: LoggedRun, config: Mapping[str, Any]) -> str:
    counts = logged.start.get("data") or {}
    if not counts:
        return ""
    replay = f", with {_text(_short(config['replay']))} replayed" if config.get("replay") else ""
    return (
        f"Trained on {_text(_short(str(config.get('data'))))}: {counted(counts['train_rows'])} with"
        f" {counts['trainable_tokens']:,} trainable tokens{replay}."
    )


def _table(before: Sequence[Score], after: Sequence[Score]) -> str:
    """Return what was learned and forgotten, a line a held-out set."""
    lines = []
    for one in after:
        earlier = next((score for score in before if score.suite == one.suite), None)
        what = _text(one.suite) if one.suite != GENERAL else f"{GENERAL}, all"
        kl = "" if one.kl is None else f"{one.kl:.3f}"
        cells = what, _say(earlier), _say(one), _moved(before, after, one), kl
        lines.append(f"| {' | '.join(cells)} |")
    if not lines:
        return ""
    head = (
        f"| held-out set | before | after | change ({SHARE:.0%} interval) | KL |\n{'|---' * 5}|\n"
    )
    return (
        "## What it learned, and what it forgot\n\n"
        f"{head}{chr(10).join(lines)}\n\n"
        "Right answers where answers are short, and losses in nats a token. The change is that of"
        f" the share of right answers, else of the loss; intervals are {METHOD}. None is told"
        " where it is not known that both scored the same examples. KL is KL(θ₀‖θ), from the model"
        " before: nats a token, a lower bound."
    )


def _say(score: Score | None) -> str:
    if score is None:
        return ""
    right = f"{score.exact.right} of {sum(score.exact)} right, " if score.exact else ""
    return f"{right}{score.loss:.3f}"


def _moved(before: Sequence[Score], after: Sequence[Score], one: Score) -> str:
    moved = change_of(before, after, one.suite)
    return with_interval(moved.mean, moved, "+") if moved else ""


def _settings(logged: LoggedRun, config: Mapping[str, Any]) -> str:
    chosen = logged.start.get("recipe") or {}  # what `auto` and an empty setting became
    known = {**config, **{key: chosen[key] for key in ("warmup", "compute") if key in chosen}}
    known["steps"] = logged.end.get("steps") or (logged.start.get("plan") or {}).get("steps")
    used = {key: known.get(key) for key in _RECIPE}
    if not config.get("replay"):
        del used["replay_share"]
    lines = [
        f"| {key} | {_text(value)} |"
        for key, value in used.items()
        if value is not None and value != _UNUSED.get(key)
    ]
    return "\n".join(["## Recipe", "", "| setting | value |", "|---|---|", *lines])


def _memory(logged: LoggedRun) -> str:
    peak, planned = (logged.end.get(f"{kind}_peak_bytes") for kind in ("measured", "predicted"))
    if not peak:
        return ""
    versions = logged.start.get("versions") or {}
    hardware = logged.start.get("hardware") or {}
    device = _text(hardware.get("gpu") or hardware.get("cpu") or "a CPU")
    beside = f" ({format_bytes(planned)} predicted)" if planned else ""
    return (
        f"Its memory peaked at {format_bytes(peak)}{beside}, on {device}, in"
        f" {logged.end.get('seconds', 0):,.0f} s; PyTorch {versions.get('torch')}, transformers"
        f" {versions.get('transformers')}."
    )
