"""What helps against forgetting, side by side: `python docs/experiments/forgetting.py`.

Each control is one choice of `gpu_runner train`, made alone; everything else is equal. A control is
run with several seeds, which change the order of the rows. Rows for replay and for EWC's Fisher are
drawn like those of pre-training and are never the held-out ones that are scored. With `--write` the
table goes into docs/forgetting.md, between the marks of its model. With `--keep FILE` every run
that ends is a line of FILE, and is not run again when the command is.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, Final

from rich.console import Console

from demo_model.skills import as_jsonl, numeral_rows
from gpu_runner import demo
from gpu_runner.config.load import resolve
from record_runs import smollm2_gguf

SEEDS: Final = (7, 8, 9)
NUMERALS: Final = "numerals"
DASHES: Final = "dashes"
"""Rows as `data`: a table names no path of a machine."""


@dataclass(frozen=True, slots=True)
class ForgettingControl:
    """One row of the table: its name, and the choices that differ from `plain`.

    `{earlier}` in a value is the file of rows that the model knew before. `back` is a blend after
    the run, in place of the trained model: of "ema" the average itself, of "alpha" the chosen α.
    Both go back from the same run: an average moves no weight.
    """

    id: str
    title: str
    choices: dict[str, Any] = field(default_factory=dict)
    back: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where one run ends: losses in nats a token, before and after, and ‖θ−θ₀‖/‖θ₀‖.

    `right` has, by set, held-out rows that are answered exactly: before, after, and of how many.
    """

    task_before: float
    task: float
    general_before: float
    general: float
    drift: float
    right: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """A model, how it is trained, and the controls that are compared on it."""

    model: Callable[[], str]
    choices: dict[str, Any]
    controls: tuple[ForgettingControl, ...]
    earlier_rows: Callable[[], tuple[str, str | None]]
    """(text of the earlier rows to train on, text of those to score or None for the shipped)."""


def with_paths(choices: dict[str, Any]) -> dict[str, Any]:
    """The same choices, NUMERALS or DASHES as the files that a run reads."""
    if choices.get("data") == NUMERALS:
        files = write_numerals()
    elif choices.get("data") == DASHES:
        files = demo.task_train(), demo.task_eval()
    else:
        return choices
    return choices | dict(zip(("data", "eval_data"), map(str, files), strict=True))


@cache
def write_numerals() -> tuple[Path, Path]:
    """Write Roman numerals, a task for a larger model, to train on and held out; the files."""
    folder = Path(tempfile.mkdtemp(prefix="numerals-"))
    files = folder / "train.jsonl", folder / "eval.jsonl"
    for file, rows in zip(files, numeral_rows(), strict=True):
        file.write_text(as_jsonl(rows), "utf-8", newline="\n")
    return files


def earlier_demo_rows() -> tuple[str, None]:
    """Rows like those the demo model was pre-trained on, as shipped."""
    return demo.earlier().read_text(encoding="utf-8"), None


def earlier_english_rows() -> tuple[str, str]:
    """The shipped English rows: every second one to train on, the others to score."""
    lines = demo.general_english().read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(lines[::2]), "".join(lines[1::2])


def controls(
    low_rate: float,
    l2sp: float,
    l2sp_pull: float,
    ewc: float,
    fisher_rows: int = 128,
) -> tuple[ForgettingControl, ...]:
    """The rows of a table, with the strengths that suit its model."""
    earlier = {"replay": "{earlier}", "replay_share": 0.1}
    fisher = {"fisher_data": "{earlier}", "fisher_rows": fisher_rows}
    return (
        ForgettingControl("plain", "nothing"),
        ForgettingControl("low-rate", f"rate {low_rate:g}", {"lr": low_rate}),
        ForgettingControl("replay", "replay, 10% of the tokens", earlier),
        ForgettingControl("l2sp", f"L2-SP in the loss, λ = {l2sp:g}", {"l2sp": l2sp}),
        ForgettingControl(
            "l2sp-pull", f"L2-SP decoupled, λ = {l2sp_pull:g}", {"l2sp_pull": l2sp_pull}
        ),
        ForgettingControl("ewc", f"EWC, λ = {ewc:g}", {"ewc": ewc} | fisher),
    )


OWN_RUNS: Final = (
    ForgettingControl("ema", "moving average, 0.99", {"ema": 0.99}, back="ema"),
    ForgettingControl("alpha", "the way back, α chosen", {"ema": 0.99}, back="alpha"),
)
TRIALS: Final = {
    "demo": Trial(
        model=lambda: "demo",
        choices={"steps": 200},
        controls=controls(low_rate=3e-4, l2sp=0.01, l2sp_pull=10, ewc=1) + OWN_RUNS,
        earlier_rows=earlier_demo_rows,
    ),
    "smollm2": Trial(
        model=lambda: str(smollm2_gguf()),
        choices={
            "data": NUMERALS,
            "steps": 30,
            "lr": 3e-4,
            "micro_batch": 8,
            "grad_accum": 1,
            "eval_rows": 32,
            "seq_len": 64,
        },
        controls=controls(low_rate=1e-4, l2sp=0.1, l2sp_pull=100, ewc=1, fisher_rows=30) + OWN_RUNS,
        earlier_rows=earlier_english_rows,
    ),
}


def run(trial: Trial, control: ForgettingControl, seed: int, folder: Path) -> Outcome:
    """Train once, with its log under `folder`. Raises `RunnerError` if the run does."""
    from gpu_runner.run.fine_tune import fine_tune

    runs = folder / f"{'back' if control.back else control.id}-{seed}"
    if control.back and runs.exists():
        (log,) = runs.glob("*/events.jsonl")
        return way_back(outcome(log.read_text(encoding="utf-8").splitlines()), log.parent, control)
    to_train, to_score = trial.earlier_rows()
    earlier = folder / "earlier.jsonl"
    earlier.write_text(to_train, encoding="utf-8")
    given = {"model": trial.model(), "runs": str(runs), "seed": seed}
    given |= {"sample_tokens": 0} | ({} if control.back else {"save_every": 0})
    given |= with_paths(trial.choices)
    given["eval_every"] = given["steps"]
    if to_score is not None:
        scored = folder / "scored.jsonl"
        scored.write_text(to_score, encoding="utf-8")
        given["general"] = (("english", str(scored)),)
    values = {k: str(earlier) if v == "{earlier}" else v for k, v in control.choices.items()}
    fine_tune(resolve(given | values), Console(quiet=True))
    (log,) = runs.glob("*/events.jsonl")
    found = outcome(log.read_text(encoding="utf-8").splitlines())
    return way_back(found, log.parent, control) if control.back else found


def way_back(found: Outcome, run: Path, control: ForgettingControl) -> Outcome:
    """The outcome of a blend of the run's model, in place of that of the model."""
    import torch
    from safetensors.torch import load_file

    from gpu_runner.run.blend import BlendOptions, blend
    from gpu_runner.run.run_models import load_initial

    out = run / control.id
    options = BlendOptions(out=out)
    if control.back == "ema":
        options = BlendOptions(points=2, alpha=1.0, out=out, ema=True)
    made = blend(run, options, torch.device("cpu"))
    if made.model is None:  # nothing was won back
        return found
    scores = {
        one.suite: one for point in made.curve if point.alpha == made.alpha for one in point.scores
    }
    before = load_initial(run, torch.device("cpu")).model.state_dict()
    after = load_file(made.model / "model.safetensors")
    moved = sum(float((tensor - before[name]).square().sum()) for name, tensor in after.items())
    size = sum(float(before[name].square().sum()) for name in after)
    right = {
        suite: [was[0], exact.right, was[2]]
        for suite, was in found.right.items()
        if (exact := scores[suite].exact) is not None
    }
    return replace(
        found,
        task=scores["task"].loss,
        general=scores["general"].loss,
        drift=(moved / size) ** 0.5,
        right=right,
    )


def run_anew(trial: Trial, control: ForgettingControl, seed: int) -> Outcome:
    """`run` in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return run(trial, control, seed, Path(folder))


def outcome(lines: Sequence[str]) -> Outcome:
    """The last numbers of a finished run's log."""
    (end,) = [event for event in map(json.loads, lines) if event["kind"] == "run.end"]
    losses, exact = end["summary"]["losses"], end["summary"].get("exact", {})
    (task_before, task), (general_before, general) = losses["task"], losses["general"]
    right = {
        suite: [both["before"]["right"], both["after"]["right"], both["after"]["of"]]
        for suite, both in exact.items()
    }
    drift = end["summary"]["drift"]
    return Outcome(task_before, task, general_before, general, drift, right)


def kept(file: Path | None, key: dict[str, Any], make: Callable[[], Outcome]) -> Outcome:
    """The outcome that `file` holds for `key`, else a new one, which is added to it.

    A key has every choice of a run, so that a changed trial is run anew (changed code is not seen:
    take another file). A torn last line, of a command that was killed, counts as none.
    """
    if file is None:
        return make()
    known = json.loads(json.dumps(key))
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    for line in text.splitlines(keepends=True):
        if line.endswith("\n") and (entry := json.loads(line))["key"] == known:
            return Outcome(**entry["outcome"])
    found = make()
    whole = text[: text.rfind("\n") + 1] + json.dumps({"key": key, "outcome": asdict(found)}) + "\n"
    file.write_text(whole, encoding="utf-8")
    return found


def table(trial: Trial, found: dict[str, list[Outcome]]) -> str:
    """The outcomes as a Markdown table: means over seeds, and the spread of the general loss.

    Rows that are answered exactly follow for the sets in which they are counted.
    """
    first = found["plain"][0]
    counted = [suite for suite in ("task", "general") if suite in first.right]
    lines = [
        "".join(
            [
                "| control | task loss | general loss | forgotten | drift |",
                *(f" {suite} right, of {first.right[suite][2]} |" for suite in counted),
            ]
        ),
        "|" + "---|" * (5 + len(counted)),
        "".join(
            [
                f"| before training | {first.task_before:.3f} | {first.general_before:.3f} | | |",
                *(f" {first.right[suite][0]} |" for suite in counted),
            ]
        ),
    ]
    return "\n".join([*lines, *(row(one, found[one.id]) for one in trial.controls)])


def row(control: ForgettingControl, runs: Sequence[Outcome]) -> str:
    """The line of a control in the table."""
    general = [one.general for one in runs]
    spread = f" ± {(max(general) - min(general)) / 2:.3f}" if len(runs) > 1 else ""
    forgotten = mean(general) - runs[0].general_before
    counted = [suite for suite in ("task", "general") if suite in runs[0].right]
    return (
        f"| {control.title} | {mean(one.task for one in runs):.3f} |"
        f" {mean(general):.3f}{spread} | {forgotten:+.3f} |"
        f" {mean(one.drift for one in runs):.2%} |"
        + "".join(f" {mean(one.right[suite][1] for one in runs):.1f} |" for suite in counted)
    )


def renewed(
    document: str, name: str, controls: Sequence[ForgettingControl], rows: dict[str, str]
) -> str:
    """The table of `name` in `document` with these rows, by control; the others stay."""
    lines = (
        document.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name} -->")[0].splitlines()
    )
    known = {line.split(" | ")[0].removeprefix("| "): line for line in lines[3:]}
    columns = lines[0].count("|")  # one of few seeds may count more
    cut = {one: "|".join(row.split("|")[:columns]) + "|" for one, row in rows.items()}
    known |= {one.title: cut[one.id] for one in controls if one.id in rows}
    return "\n".join([*lines[:3], *(known[one.title] for one in controls if one.title in known)])


def published(
    trial: Trial, found: dict[str, list[Outcome]], known: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The outcomes as the page draws them: means over seeds, and how a run is told its control.

    Of `known` controls those that are not found anew stay.
    """
    first, *_ = found.values()
    controls = {one["id"]: one for one in known} | {
        control.id: {
            "id": control.id,
            "title": control.title,
            "flags": flags(control),
            "task": round(mean(one.task for one in found[control.id]), 3),
            "general": round(mean(one.general for one in found[control.id]), 3),
            "drift": round(mean(one.drift for one in found[control.id]), 4),
        }
        for control in trial.controls
        if control.id in found
    }
    return {
        "choices": trial.choices,
        "seeds": len(first),
        "before": {
            "task": round(first[0].task_before, 3),
            "general": round(first[0].general_before, 3),
        },
        "controls": [controls[one.id] for one in trial.controls if one.id in controls],
    }


def flags(control: ForgettingControl) -> str:
    """What `train` is given for it; `OLD.jsonl` are rows of what the model knew before."""
    options = {"lr": "--lr", "replay": "--replay", "replay_share": "--replay-share"}
    files = {"{earlier}": "OLD.jsonl", "{instruct}": "PROMPTS.jsonl"}
    values = {k: files.get(v, v) for k, v in control.choices.items()}
    said = [
        f"{options[name]} {value}" if name in options else f"--set {name}={value}"
        for name, value in values.items()
    ]
    return " ".join(said)


def written(document: str, name: str, text: str) -> str:
    """`document` with the table of `name` replaced. Raises `ValueError` without its marks."""
    begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    if begin not in document or end not in document:
        raise ValueError(f"the document has no marks for {name}: add {begin.strip()} and its end")
    head, rest = document.split(begin)
    return head + begin + text + end + rest.split(end)[1]


def run_all(
    name: str,
    trial: Trial,
    controls: Sequence[ForgettingControl],
    seeds: Sequence[int],
    keep: Path | None,
) -> dict[str, list[Outcome]]:
    """The outcomes of these controls, seed by seed; those in the file `keep` are not run again."""
    found: dict[str, list[Outcome]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for control, seed in product(controls, seeds):
            key = {"name": name, "trial": trial.choices, "seed": seed, "control": control.choices}
            key |= {"back": control.back} if control.back else {}
            together = partial(run, trial, control, seed, Path(folder))
            anew = partial(run_anew, trial, control, seed)
            one = kept(keep, key, together if control.back else anew)
            print(f"{control.id} {seed}: {one}", flush=True)
            found.setdefault(control.id, []).append(one)
    return found


def main() -> None:
    """Run a trial, print its table, and with --write put it into the document."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=[*TRIALS], default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--only", nargs="+", help="these controls alone: their rows are renewed")
    parser.add_argument("--steps", type=int, help="instead of the trial's own number")
    parser.add_argument("--write", type=Path, help="the document, docs/forgetting.md")
    parser.add_argument(
        "--publish", type=Path, help="the page's copy, web/measurements/forgetting.json"
    )
    parser.add_argument("--keep", type=Path, help="a file of the runs that are done, to go on from")
    given = parser.parse_args()
    trial = TRIALS[given.name]
    if given.steps:
        trial = replace(trial, choices=trial.choices | {"steps": given.steps})
    chosen = [one for one in trial.controls if not given.only or one.id in given.only]
    found = run_all(given.name, trial, chosen, given.seeds, given.keep)
    document = given.write.read_text(encoding="utf-8") if given.write else ""
    rows = {one.id: row(one, found[one.id]) for one in chosen}
    text = table(trial, found) if len(chosen) == len(trial.controls) else "\n".join(rows.values())
    if given.only and document:
        text = renewed(document, given.name, trial.controls, rows)
    print(text)
    if given.write:
        given.write.write_text(written(document, given.name, text), encoding="utf-8")
    if given.publish:
        known = json.loads(given.publish.read_text("utf-8")) if given.publish.exists() else {}
        stay = known.get(given.name, {}).get("controls", ()) if given.only else ()
        known[given.name] = published(trial, found, stay)
        text = json.dumps(known, indent=1, ensure_ascii=False) + "\n"
        given.publish.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
