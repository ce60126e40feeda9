"""The `run.start` event: what runs, on what, with which plan. One line of at most 16 KiB."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Final

import psutil
import torch

from gpu_runner.config.bounds import WITH_BETAS
from gpu_runner.config.tables import TABLES
from gpu_runner.memory.formula import build_recipe
from gpu_runner.plan.plan import RunPlan
from gpu_runner.system.names import cpu_name
from unfrozen.schedules import Schedule

MOST_POINTS: Final = 300  # of the planned learning rate


def payload(plan: RunPlan, model: Any) -> dict[str, Any]:
    """Everything that the page shows before the first step."""
    predicted = plan.prediction
    parts: dict[str, Any] = {
        "config": plan.config.as_json(),
        "versions": versions(),
        "hardware": hardware(plan.device) | {"processes": plan.feed.ranks},
        "model": {
            "name": plan.source.name,
            "num_parameters": sum(p.numel() for p in model.parameters()),
            "num_trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "layers": int(model.config.num_hidden_layers),
        },
        "data": data_counts(plan),
        "recipe": recipe(plan),
        "plan": planned_rates(plan.schedule),
    }
    if plan.price is not None:
        parts["price"] = plan.price.as_json()
    if predicted is not None:
        parts["bytes_per_parameter"] = predicted.bytes_per_parameter
        parts["predicted"] = {
            "peak_instant": predicted.peak_instant,
            "peak_bytes": predicted.peak_bytes,
            "instants": predicted.instants,
        }
    return parts


def versions() -> dict[str, str]:
    """What computed this run."""
    import transformers

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
        "unfrozen": version("unfrozen"),
    }


def hardware(device: torch.device) -> dict[str, Any]:
    """The machine, as far as it matters for speed and memory."""
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
    """How much there is to learn from, and what was cut or left out."""
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
    """The job's recipe in the words of the memory model."""
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
    """The schedule at up to MOST_POINTS steps, first and last included."""
    last = schedule.total_steps
    count = min(last, MOST_POINTS)
    steps = [1 + round(i * (last - 1) / max(1, count - 1)) for i in range(count)]
    rates = [float(f"{schedule.at(step):.6g}") for step in steps]
    return {"steps": last, "lr": rates, "lr_steps": steps}
