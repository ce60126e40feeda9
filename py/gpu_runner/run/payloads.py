"""The payloads of `run.start` and `rows`: what runs, on what, by which plan, and what is trained.

Each is one line of at most 16 KiB.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from itertools import groupby
from typing import Any, Final

import psutil
import torch

from gpu_runner.config.bounds import TABLES, WITH_BETAS
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data import preview
from gpu_runner.data.dataset import EncodedDataset, Note
from gpu_runner.data.encode import Encoder, pad_token
from gpu_runner.installed import installed_version
from gpu_runner.memory.formula import build_recipe
from gpu_runner.model.blocks import as_written
from gpu_runner.plan.data_report import describe_trained
from gpu_runner.plan.machine import cpu_name
from gpu_runner.plan.plan import RunPlan
from gpu_runner.train.evaluate import Progress, example_losses, no_progress
from unfrozen.schedules import Schedule
from unfrozen.training_data import spread

MOST_POINTS: Final = 300
"""Points of the planned learning rate."""


def start_payload(plan: RunPlan, model: Any) -> dict[str, Any]:
    """Return the payload of `run.start`: everything the page shows before the first step."""
    parts: dict[str, Any] = {
        "config": plan.config.as_json(),
        "versions": versions(),
        "hardware": hardware(plan.device) | {"processes": plan.feed.ranks},
        "model": {
            "name": plan.source.name,
            **identity(model),
            "num_parameters": sum(p.numel() for p in model.parameters()),
            "num_trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
        },
        "data": data_counts(plan),
        "recipe": recipe(plan),
        "plan": planned_rates(plan.schedule),
    }
    if plan.price is not None:
        parts["price"] = plan.price.as_json()
    if plan.prediction is not None:
        parts |= plan.prediction.as_event()
    return parts


_NOT_HASHED: Final = ("transformers_version", "dtype", "torch_dtype", "architectures")
"""Keys of a configuration that say nothing of the model's shape."""


def identity(model: Any) -> dict[str, str]:
    """Return a model's type, and a hash of its configuration that tells no name."""
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "to_dict"):
        return {}
    said = {key: value for key, value in config.to_dict().items() if key not in _NOT_HASHED}
    content = json.dumps(
        {key: said[key] for key in said if key[0] != "_"}, sort_keys=True, default=str
    )
    return {
        "type": str(config.model_type),
        "config_sha256": hashlib.sha256(content.encode()).hexdigest(),
    }


def versions() -> dict[str, str]:
    """Return the versions of what computes this run."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": installed_version("transformers"),
        "unfrozen": installed_version(),
    }


def hardware(device: torch.device) -> dict[str, Any]:
    """Describe the machine, as far as it matters for speed and memory."""
    parts: dict[str, Any] = {
        "device": device.type,
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        parts |= {"gpu": properties.name, "gpu_bytes": properties.total_memory}
    return parts


def data_counts(plan: RunPlan) -> dict[str, int]:
    """Count training examples and tokens, and what was truncated or left out."""
    sets = (*plan.train.sets(), *plan.suites.values())
    return {
        "train_rows": len(plan.train.examples),
        "train_tokens": plan.train.tokens,
        "trainable_tokens": plan.train.trainable_tokens,
        "eval_rows": len(plan.suites["task"].examples),
        "general_rows": sum(
            len(rows.examples) for name, rows in plan.suites.items() if name != "task"
        ),
        "cut_rows": sum(rows.cut_rows for rows in sets),
        "left_out_rows": sum(rows.untrainable_rows + len(rows.bad_rows) for rows in sets),
    }


def recipe(plan: RunPlan) -> dict[str, Any]:
    """Return the settings of the memory model that the run's settings mean."""
    config = plan.config
    return {
        **asdict(build_recipe(config, plan.compute, plan.heaviest, plan.shape)),
        "loss_tokens": plan.heaviest.loss_tokens,
        "lr": config.lr,
        "schedule": config.schedule,
        "warmup": plan.schedule.warmup_steps,
        "weight_decay": config.weight_decay,
        **({"betas": list(plan.betas)} if config.optimizer in WITH_BETAS else {}),
        **{key: dict(pairs) for key in TABLES if (pairs := getattr(config, key))},
        "clip": config.clip,
        "seed": config.seed,
    }


def planned_rates(schedule: Schedule) -> dict[str, Any]:
    """Return the schedule at up to MOST_POINTS steps, first and last included."""
    last = schedule.total_steps
    count = min(last, MOST_POINTS)
    steps = [1 + round(i * (last - 1) / max(1, count - 1)) for i in range(count)]
    rates = [float(f"{schedule.at(step):.6g}") for step in steps]
    return {"steps": last, "lr": rates, "lr_steps": steps}


FIRST: Final = 3
"""Examples that are shown."""
SCORED: Final = 16
"""Examples whose loss under θ₀ is computed, at most."""
SCORING_SHARE: Final = 0.01
FORWARDS: Final = 3.0
"""A step's work on a token in forward passes."""
EXTREME: Final = 3
"""The number of the hardest and of the easiest examples that are shown."""
MOST_BYTES: Final = 12 * 1024
MOST_NOTES: Final = 12
"""Examples that are named because they lost most of their tokens."""
_TOKENS: Final = (160, 80, 40, 20, 8)  # of an example: the most for which the line is short enough
_LONGEST: Final = 64  # characters of a token; four times as many of a place or a remark


def rows_payload(plan: RunPlan) -> dict[str, Any]:
    """Return the payload of `rows`: how many examples, how long, what is special, the first."""
    rows, encoder = plan.train, plan.encoder
    found = describe_rows(plan.config, rows, encoder)
    found["padding"]["packed"] = plan.feed.packed
    held_out = plan.suites["task"].examples
    trained = held_out.count_in(rows.examples)
    found["held_out"] = {"rows": len(held_out), "trained": trained}
    return fit_line(found, "first", lambda most: first_examples(rows, encoder, FIRST, most))


def describe_rows(config: TrainConfig, rows: EncodedDataset, encoder: Encoder) -> dict[str, Any]:
    """Return everything about a data set but its examples, as plain data.

    Tokens are counted without padding; `padding` has the share of a padded epoch's tokens, and how
    many packed sequences a step has at most; `template_ratio` the share that the template adds.
    """
    ends = preview.count_end_tokens(rows, encoder)
    again, where = preview.find_duplicates(rows)
    step = (config.micro_batch, config.grad_accum, config.seed)
    ratio, sequences = preview.measure_padding(rows, *step)
    sets = rows.sets()
    return {
        "how": _short(describe_trained(config, rows, encoder), 8 * _LONGEST),
        "counts": {
            "rows": len(rows.examples),
            "read": sum(one.rows_read for one in sets),
            "tokens": rows.tokens,
            "trained": rows.trainable_tokens,
            "replayed": rows.replayed_rows,
            "repeated": again,
            "endless": preview.count_without_end(ends, encoder),
            "cut": sum(one.cut_rows for one in sets),
            "cut_tokens": sum(one.cut_tokens for one in sets),
            "untrained": sum(one.untrainable_rows for one in sets),
            "bad": sum(len(one.bad_rows) for one in sets),
        },
        "trained_ratio": rows.trainable_tokens / rows.tokens,
        "repeated_first": _short_place(where),
        "truncated": _losses(preview.find_truncated(rows, encoder)),
        "dropped": _losses(preview.find_dropped(rows, encoder)),
        "notes": [_note(note) for note in _notes(sets)[:MOST_NOTES]],
        "ends": [
            {"text": _short(one.text), "token": one.token, "rows": one.rows} for one in ends[:3]
        ],
        "lengths": lengths_payload(rows.examples.lengths),
        "padding": {"ratio": ratio, "sequences": sequences},
        "template_ratio": preview.template_share(rows, encoder) if encoder.has_template else 0.0,
    }


def _losses(found: Iterable[preview.Truncated]) -> list[dict[str, Any]]:
    return [
        {"place": _short_place(one.place), "tokens": one.tokens, "answer": one.answer}
        for one in found
    ]


def lengths_payload(lengths: Iterable[int]) -> dict[str, Any]:
    """Return how long examples are, with a histogram."""
    found = preview.measure_lengths(lengths)
    return {
        "shortest": found.shortest,
        "median": found.median,
        "nine_in_ten": found.nine_in_ten,
        "longest": found.longest,
        "from": found.starts,
        "rows": found.bars,
    }


def first_examples(
    rows: EncodedDataset, encoder: Encoder, count: int, most: int = 0
) -> list[dict[str, Any]]:
    """Return the first examples; of a long one `most` tokens near its first answer, 0 for all."""
    return [_example(rows, encoder, n, most) for n in range(min(count, len(rows.examples)))]


def rank_examples(
    rows: EncodedDataset, encoder: Encoder, losses: Iterable[tuple[float, int]], tokens: int
) -> dict[str, Any]:
    """Return the hardest and the easiest of examples, given as (loss, index), `tokens` of each."""
    ranked = sorted(losses, reverse=True)
    most = min(EXTREME, len(ranked) // 2)

    def list_examples(some: list[tuple[float, int]]) -> list[dict[str, Any]]:
        return [{**_example(rows, encoder, n, tokens), "loss": loss} for loss, n in some]

    return {
        "rows": len(ranked),
        "mean": sum(loss for loss, _ in ranked) / len(ranked),
        "hardest": list_examples(ranked[:most]),
        "easiest": list_examples(ranked[::-1][:most]),
    }


def scored_payload(plan: RunPlan, model: Any, progress: Progress = no_progress) -> dict[str, Any]:
    """Return a payload of `rows`: the hardest and the easiest examples for the untrained model.

    They take a second, or SCORING_SHARE of the time of the run.
    """
    rows, encoder = plan.train, plan.encoder
    chosen = spread(len(rows.examples), SCORED)
    examples = [rows.examples[index] for index in chosen]
    trained = plan.steps * plan.feed.sequences_per_step * rows.tokens / len(rows.examples)

    def budget(token_seconds: float) -> float:
        return max(1.0, SCORING_SHARE * FORWARDS * token_seconds * trained)

    with as_written(model), plan.autocast():
        pad, device = pad_token(plan.tokenizer), plan.device
        losses = example_losses(model, examples, pad, device, seconds=budget, progress=progress)
    found = [(loss, n) for loss, n in zip(losses, chosen, strict=True) if loss is not None]
    return fit_line({}, "scored", lambda most: rank_examples(rows, encoder, found, most))


def _example(rows: EncodedDataset, encoder: Encoder, index: int, most: int) -> dict[str, Any]:
    """Return one example; of a long one `most` tokens near its first answer."""
    example = rows.examples[index]
    shown_tokens = preview.example_tokens(encoder, rows.rows[index], example, most, most // 2)
    return {
        "place": _short_place(rows.places[index]),
        "tokens": len(example.ids),
        "trained": example.trainable_tokens,
        "cut": example.cut_tokens,
        "before": shown_tokens.before,
        "after": shown_tokens.after,
        "parts": parts_of(shown_tokens.tokens, shown_tokens.ends),
    }


def parts_of(tokens: Iterable[tuple[str, bool]], ends: Collection[int]) -> list[dict[str, Any]]:
    """Return tokens, given as (text, whether trained), as neighbours that are read, trained, ends.

    `ends` are the indices of those that end an answer.
    """
    kinds = [
        ("end" if place in ends else "trained" if learned else "read", _short(text))
        for place, (text, learned) in enumerate(tokens)
    ]
    return [
        {"as": kind, "texts": [text for _, text in some]}
        for kind, some in groupby(kinds, key=lambda pair: pair[0])
    ]


def _notes(sets: Iterable[EncodedDataset]) -> list[Note]:
    return sorted((note for one in sets for note in one.notes), key=lambda note: -note.rows)


def _note(note: Note) -> dict[str, Any]:
    text = _short(note.text, 4 * _LONGEST)
    return {"text": text, "rows": note.rows, "first": _short_place(note.first)}


def _short(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _short_place(place: str) -> str:
    """Return the place of an example, cut at its start: the end names the file and the row."""
    most = 4 * _LONGEST
    name = place.rpartition("/")[2] if place.startswith("/") else place
    return name if len(name) <= most else f"…{name[1 - most :]}"


def fit_line(counts: dict[str, Any], name: str, show: Callable[[int], Any]) -> dict[str, Any]:
    """Return `counts` with examples under `name`, with as many tokens as the line has room for."""
    for most in _TOKENS:
        whole = {**counts, name: show(most)}
        if len(json.dumps(whole)) <= MOST_BYTES:
            return whole
    return counts
