"""One training run of the comparison, by the runner's own parts, and what is kept of it.

Both methods go through `fine_tune.fit`: the same rows in the same order, loss, schedule,
clipping, optimizer, evaluation and log. Only what is trained differs, and how its way is measured.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

import torch
from rich.console import Console

from forgetting import DASHES, earlier_english_rows, with_paths
from gpu_runner.atomic import Saved, publish
from gpu_runner.checkpoint.origins import Origins
from gpu_runner.config.load import resolve
from gpu_runner.errors import Diverged
from gpu_runner.memory.formula import build_recipe
from gpu_runner.memory.prediction import Prediction
from gpu_runner.model.load import find, load, load_tokenizer
from gpu_runner.model.save import save
from gpu_runner.optim import optimizer as optim
from gpu_runner.plan import plan
from gpu_runner.plan.plan import RunPlan
from gpu_runner.run import payloads
from gpu_runner.run.checkpointer import Checkpointer
from gpu_runner.run.fine_tune import PreparedRun, fine_tune, fit
from gpu_runner.train.initial_weights import InitialWeights
from gpu_runner.world import World
from lora.methods import FROZEN, AdapterDrift, Method, Trained, adapt
from record_runs import smollm2_gguf
from unfrozen.job.recipe import Lora
from unfrozen.memory.instants import instants


@dataclass(frozen=True, slots=True)
class Setting:
    """What every run of a comparison shares."""

    id: str
    model: Callable[[Path], str]
    """Makes the model, in a folder for it where it has to be made; returns what `--model` takes."""
    choices: dict[str, Any]
    general: Callable[[], dict[str, str]] = dict
    """Texts of the general sets by name; without any, the shipped ones are scored."""
    text_set: str = "general"
    """The general set whose loss is compared."""
    answer_set: str = "general"
    """The general set whose exact answers are compared."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: how, at which peak rate, with which order of rows (and start of the adapters)."""

    method: Method
    rate: float
    seed: int

    @property
    def id(self) -> str:
        """Its name in files."""
        return f"{self.method.id}-{self.rate:g}-{self.seed}"


@dataclass(frozen=True, slots=True)
class TrialResult:
    """Where a run ends: losses in nats a token, ‖θ−θ₀‖/‖θ₀‖, numbers trained, bytes.

    `task` and `general` are None where the run diverged; `general` is the loss on the `text_set`.
    """

    task_before: float
    task: float | None
    general_before: float
    general: float | None
    drift: float
    trained: int
    predicted_bytes: int
    measured_bytes: int
    looks: list[list[float]]
    """[step, task loss, general loss] of every evaluation that was finite."""
    task_right: list[int]
    """Held-out rows that greedy decoding answers exactly: before, after, and of how many."""
    general_right: list[int]
    """The same of the `answer_set`."""
    answers: dict[str, str]
    """Sample prompt → what the model writes after training."""


SETTINGS: Final = {
    "smollm2": Setting(
        "smollm2",
        lambda folder: unpacked(smollm2_gguf(), folder),
        {
            **{"data": DASHES, "steps": 16, "micro_batch": 8, "grad_accum": 1},
            **{"eval_rows": 64, "seq_len": 64, "eval_every": 16, "sample_tokens": 12},
            "sample_prompts": ("Write 47 with dashes:", "What is the capital of Poland?"),
        },
        lambda: {"english": earlier_english_rows()[1], "capitals": capital_rows()},
        text_set="general/english",
        answer_set="general/capitals",
    ),
}


def unpacked(gguf: Path, folder: Path) -> str:
    """A directory in `folder` with the weights of a GGUF file as fp32, which load in no time."""
    directory = folder / gguf.stem
    source = find(str(gguf))
    tokenizer = load_tokenizer(source)
    save(load(source, tokenizer, "fp32", torch.device("cpu")), tokenizer, directory)
    return str(directory)


def run(setting: Setting, model: str, wanted: Run, folder: Path) -> tuple[TrialResult, Path]:
    """Train `model` once with the log under `folder`; returns where it ended, and the log.

    A run that diverges has an outcome as well. Raises `RunnerError` for whatever else goes wrong,
    KeyboardInterrupt when it was asked to stop.
    """
    given: dict[str, Any] = {"model": model, "runs": str(folder), "seed": wanted.seed}
    given |= {"lr": wanted.rate, "fused": False, "save_every": 0} | with_paths(setting.choices)
    for name, text in setting.general().items():
        scored = folder / f"{name}.jsonl"
        scored.write_text(text, encoding="utf-8")
        given["general"] = (*given.get("general", ()), (name, str(scored)))
    planned = plan.make_plan(resolve(given))
    quiet, trained = Console(quiet=True), 0
    try:
        if wanted.method.rank is None:
            trained = _parameters(planned)
            fine_tune(planned.config, quiet)
        else:
            adapted = _adapted(planned, wanted.method.rank, folder / wanted.id)
            trained = Trained(adapted.model).count
            rank = f"Adapters of rank {wanted.method.rank} train"
            fit(adapted, quiet, [("info", f"{rank}, {trained:,} numbers; the model is frozen.")])
    except Diverged:
        pass
    (log,) = folder.glob("*/events.jsonl")
    return outcome(setting, log, trained), log


def outcome(setting: Setting, log: Path, trained: int) -> TrialResult:
    """What the last line of a run's log says of it. Raises KeyboardInterrupt if it was stopped."""
    lines = log.read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    (end,) = [event for event in events if event["kind"] == "run.end"]
    if end["status"] == "stopped":
        raise KeyboardInterrupt
    found, whole = end["summary"], end["status"] == "finished"
    (task_before, task), (before, after) = (
        found["losses"]["task"],
        found["losses"][setting.text_set],
    )
    whole = whole and all(isinstance(loss, float) for loss in (task, after))
    return TrialResult(
        task_before=task_before,
        task=task if whole else None,
        general_before=before,
        general=after if whole else None,
        drift=float(found["drift"]),
        trained=trained,
        predicted_bytes=found["predicted_peak_bytes"],
        measured_bytes=found["measured_peak_bytes"],
        looks=_looks(events, setting.text_set),
        task_right=_right(found["exact"]["task"], whole),
        general_right=_right(found["exact"][setting.answer_set], whole),
        answers={
            event["prompt"]: event["text"].strip()
            for event in events
            if event["kind"] == "sample" and event["when"] == "after"
        },
    )


def _right(exact: dict[str, dict[str, int]], whole: bool) -> list[int]:
    """A model that diverged answers nothing; its log has the last answers before that."""
    before, after = exact["before"], exact["after"]
    return [before["right"], after["right"] if whole else 0, before["of"]]


def _looks(events: list[dict[str, Any]], text_set: str) -> list[list[float]]:
    losses: dict[int, dict[str, Any]] = defaultdict(dict)
    for event in events:
        if event["kind"] == "eval":
            losses[event["step"]][event["suite"]] = event["loss"]
    looks = [[step, at["task"], at[text_set]] for step, at in losses.items()]
    return [look for look in looks if all(isinstance(value, int | float) for value in look)]


def provenance() -> dict[str, Any]:
    """What computes a run here: versions, processor, threads, day."""
    hardware = payloads.hardware(torch.device("cpu"))
    return {
        "versions": payloads.versions() | {"peft": version("peft")},
        "cpu": hardware["cpu"],
        "threads": hardware["threads"],
        "date": f"{date.today()}",
    }


def predicted(planned: RunPlan, rank: int) -> Prediction | None:
    """What the planner says that a run with adapters of `rank` holds."""
    if planned.shape is None:
        return None
    config, largest = planned.config, planned.heaviest
    full = build_recipe(config, planned.compute, largest, planned.shape)
    recipe = replace(full, lora=Lora(rank=rank, dtype=config.params, library="peft"))
    found = instants(planned.shape, recipe, loss_tokens=max(1, largest.loss_tokens))
    return Prediction(found, 0)


def _parameters(planned: RunPlan) -> int:
    """Of the whole model; 0 where it cannot be counted."""
    return planned.shape.num_parameters if planned.shape else 0


def _adapted(planned: RunPlan, rank: int, directory: Path) -> PreparedRun:
    """A run like that of `fine_tune`, of which only fresh adapters train."""
    config = planned.config
    directory.mkdir(mode=0o700)
    model = load(planned.source, planned.tokenizer, config.params, planned.device)
    torch.manual_seed(config.seed)  # the start of the adapters
    trained = adapt(model, rank)
    optimizer = optim.build(trained, lr=config.lr, weight_decay=config.weight_decay)
    config = replace(config, allow_untrained=FROZEN)
    return PreparedAdapterRun(
        plan=replace(planned, config=config, prediction=predicted(planned, rank)),
        directory=directory,
        model=model,
        initial_weights=cast(InitialWeights, AdapterDrift()),
        optimizer=optimizer,
        world=World(),
        origins=Origins("", "", {}, {}, {}, {}),  # no checkpoint records it
    )


class PreparedAdapterRun(PreparedRun):
    """A run that leaves adapters, not a model."""

    def checkpointer(self) -> Checkpointer:
        """Who writes the adapters."""
        return self.checkpointer_of(AdapterCheckpointer, self.directory / "adapters")


class AdapterCheckpointer(Checkpointer):
    """Writes what was trained, and nothing of the frozen model."""

    def finish(self) -> Saved:
        """The adapters in one safetensors file, under their names in the model."""
        from safetensors.torch import save_file

        tensors = {n: p.detach() for n, p in Trained(self.model).named_parameters()}
        return publish(
            self.output, lambda place: save_file(tensors, place / "adapters.safetensors")
        )


# What a model knows before: a chat model is asked as users ask, and a right answer is in the words
# of SmolLM2 unchanged. Countries whose capital has two names or spellings are left out.
_LISTED: Final = """
Afghanistan: Kabul; Albania: Tirana; Argentina: Buenos Aires; Australia: Canberra;
Austria: Vienna; Bangladesh: Dhaka; Belgium: Brussels; Bulgaria: Sofia; Cambodia: Phnom Penh;
Chile: Santiago; China: Beijing; Croatia: Zagreb; Cuba: Havana; Denmark: Copenhagen;
Ecuador: Quito; Egypt: Cairo; Estonia: Tallinn; Ethiopia: Addis Ababa; Finland: Helsinki;
Germany: Berlin; Ghana: Accra; Greece: Athens; Hungary: Budapest; Iceland: Reykjavik;
India: New Delhi; Indonesia: Jakarta; Iran: Tehran; Iraq: Baghdad; Ireland: Dublin; Italy: Rome;
Jamaica: Kingston; Japan: Tokyo; Kenya: Nairobi; Latvia: Riga; Lebanon: Beirut;
Lithuania: Vilnius; Malaysia: Kuala Lumpur; Mongolia: Ulaanbaatar; Morocco: Rabat;
Nepal: Kathmandu; New Zealand: Wellington; Nigeria: Abuja; Norway: Oslo; Pakistan: Islamabad;
Peru: Lima; Poland: Warsaw; Portugal: Lisbon; Romania: Bucharest; Russia: Moscow;
Senegal: Dakar; Serbia: Belgrade; Slovakia: Bratislava; South Korea: Seoul; Spain: Madrid;
Sudan: Khartoum; Sweden: Stockholm; Switzerland: Bern; Syria: Damascus; Thailand: Bangkok;
Turkey: Ankara; Venezuela: Caracas; Vietnam: Hanoi; Zambia: Lusaka; Zimbabwe: Harare
"""
CAPITALS: Final = dict(pair.split(": ") for pair in " ".join(_LISTED.split()).split("; "))


def capital_rows() -> str:
    """Return a question and its answer for each country, as JSON lines."""
    return "".join(f"{json.dumps(_row(*pair))}\n" for pair in CAPITALS.items())


def _row(country: str, capital: str) -> dict[str, str]:
    return {
        "prompt": f"What is the capital of {country}?",
        "completion": f"The capital of {country} is {capital}.",
    }
