"""A job from the file that a trainer reads, or from the command line that starts it.

`read_job` says which trainer a file was taken for, the keys that mattered, those that are not known
and those whose effect is not counted. A file that it names is looked up beside it by `beside`.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from unfrozen.errors import PlanError, strict_json
from unfrozen.frameworks.component_names import torchtitan_job, torchtune_job
from unfrozen.frameworks.facts import Facts, read_facts
from unfrozen.frameworks.formats import NAMES, Format, detect, flat, has_marks, read_format
from unfrozen.frameworks.headers import read_gguf, read_safetensors
from unfrozen.frameworks.script import Command, read_command, read_script
from unfrozen.frameworks.trained import megatron_job, trainer_job, unsloth_job
from unfrozen.frameworks.yaml_text import read_yaml
from unfrozen.job import KEYS, read_model
from unfrozen.job.cluster import Cluster
from unfrozen.job.recipe import RECIPE_SETTINGS

LARGEST_FILE: Final = 64_000_000
"""Bytes of a list of jobs; nothing larger is read."""
_LARGEST_TEXT: Final = 1_000_000
"""Characters of a trainer's file."""
Beside = Callable[[str], str | None]
"""Returns the text of a file that another names, None where there is none."""
_MODEL_KEYS: Final = frozenset(
    ("model_type", "architectures", "hidden_size", "n_embd", "text_config")
)
_STAGE_NAMED: Final = re.compile(r"z(?:ero)?([0-3])(?!\d)")
"""DeepSpeed's stage in a name: ms-swift's own (`zero3_offload`), or of a file that a trainer ships
(Axolotl's `zero3_bf16.json`, LLaMA-Factory's `ds_z3_config.json`)."""


_JOBS: Final = {
    **{"torchtitan": torchtitan_job, "torchtune": torchtune_job, "megatron": megatron_job},
    "unsloth": unsloth_job,
}
_TYPED: Final = re.compile(
    r"(?m)^\s*(\w+=\S+\s+)*(accelerate|torchrun|swift|megatron|unfrozen|axolotl|llamafactory-cli|deepspeed|tune|trl"
    r"|unsloth|python[\d.]*)\s+\S"
)
"""A line that starts a trainer."""


class Reading(NamedTuple):
    """A job as plain data, and what was read: None for our own JSON."""

    job: Any
    read: dict[str, Any] | None = None


def read_job(name: str, text: str, beside: Beside, gpus: int | None = None) -> Reading:
    """Return the job of a file by its ending and its keys, on so many GPUs, where somebody says how
    many. Raises PlanError.
    """
    given = _parse(name, text)
    if isinstance(given, Command):
        return _of_command(given, beside, gpus)
    if isinstance(given, list):
        return Reading(given)
    if not isinstance(given, Mapping) or not given:
        bound = "it holds neither a trainer's settings nor a job"
        raise PlanError("job", name or "this text", bound, "give another file, or paste a command")
    model = given.get("model")
    ours = isinstance(model, Mapping) and ("recipe" in given or "model_type" in model)
    if ours or set(given) <= {*KEYS}:
        return Reading(given)
    settings = flat(given)
    if given.keys() & _MODEL_KEYS and not has_marks(settings):
        return Reading({"model": given}, _describe("hf", list(given), [], {}))
    form = detect(settings)
    return _of_settings(form, settings, gpus, beside)


def read_typed(words: list[str], beside: Beside, gpus: int | None = None) -> Reading:
    """Return the job of a command that was typed after `--`. Raises PlanError."""
    variables = {}
    while words and re.fullmatch(r"[A-Za-z_]\w*=.*", words[0]):
        key, _, variables[key] = words[0].partition("=")
        words = words[1:]
    if not words:
        raise PlanError("--", "nothing", "no command follows it", "paste the training command")
    return _of_command(read_command(words, variables), beside, gpus)


def read_weights(name: str, data: bytes, beside: Beside) -> Reading:
    """Return the model of a file of weights, from its header. Raises PlanError."""
    if name.endswith(".gguf"):
        config, held = read_gguf(name, data)
        used = sorted(config)
    else:
        held, text = read_safetensors(name, data), beside("config.json")
        if text is None:
            bound = f"it holds {held:,} parameters, and no config.json beside it says whose"
            raise PlanError("job", name, bound, "put the model's config.json beside it")
        config, used = strict_json(text, of_model=True), ["config.json"]  # type: ignore[assignment]
    counted = read_model(config).num_parameters
    effects = {"parameters": f"the header has {held:,}, its configuration says {counted:,}"}
    said = _describe(name.rpartition(".")[2], used, [], effects if held != counted else {})
    return Reading({"model": config}, said)


def read_run(name: str, lines: str) -> Reading:
    """Return the job of a run of ours from the first lines of its log. Raises PlanError."""
    for line in lines.splitlines():
        with contextlib.suppress(ValueError):
            event = strict_json(line)
            if isinstance(event, dict) and event.get("kind") == "run.start":
                break
    else:
        bound = "no line of its beginning says how the run started"
        raise PlanError("job", name, bound, "give the folder of a run of `unfrozen train`")
    said = {key: event.get(key) or {} for key in ("recipe", "config", "hardware")}
    recipe = {
        key: said["recipe"][key] for key in said["recipe"] if key in (*RECIPE_SETTINGS, "lora")
    }
    cluster = asdict(Cluster.of_runner(said["hardware"].get("processes") or 1))
    job = {"model": said["config"].get("model"), "recipe": recipe, "cluster": cluster}
    return Reading(job, _describe("unfrozen", sorted(recipe), [], {}))


_LABELS: Final = {
    "hf": "a model's config.json",
    "gguf": "the header of a GGUF file",
    "safetensors": "the header of a safetensors file",
    "unfrozen": "a run of `unfrozen train`",
}


def reading_text(read: Mapping[str, Any], gpus: str = "--cluster '{\"gpus\": 8}' says so") -> str:
    """Return what was read, in one line or more; `gpus` is how to say their number."""
    name, effects = read["format"], {**read.get("effects", {})}
    label = read_format(name).label if name in NAMES else _LABELS[name]
    found = [
        f"Read as {label}: {', '.join(read['used'])}." if name != "hf" else f"Read as {label}."
    ]
    if read["unknown"]:
        found.append(f"Unknown keys, which change nothing here: {', '.join(read['unknown'])}.")
    if "gpus" in effects:
        found.append(f"One GPU is planned: {effects.pop('gpus')}; {gpus}.")
    if "deepspeed" in effects:
        found.append(f"{effects.pop('deepspeed')}.")
    found += [f"{key} is not counted: {effect}." for key, effect in effects.items()]
    return "\n".join(found)


def _parse(name: str, text: str) -> object:
    ending = name.rpartition(".")[2].lower()
    body = text.lstrip("\ufeff \t\r\n")
    is_json = ending == "json" or body[:1] in ("{", "[")
    if not is_json and len(text) > _LARGEST_TEXT:
        bound = f"a trainer's file has at most {_LARGEST_TEXT:,} characters"
        raise PlanError("job", name, bound, "give the trainer's own file")
    if ending in ("yaml", "yml"):
        return read_yaml(text)
    if ending == "toml":
        return _toml(text)
    if ending in ("sh", "bash") or body.startswith(("#!", "cat > ")):
        return read_script(text)
    if is_json:
        try:
            return strict_json(text)
        except ValueError as error:
            bound = f"this is not JSON ({error})"
            raise PlanError("job", name, bound, "correct the file") from None
    if re.search(r"(?m)^\s*\[[\w.]+\]\s*$", text):
        return _toml(text)
    if _TYPED.search(text):
        return read_script(text)
    return read_yaml(text)


def _toml(text: str) -> object:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PlanError("job", text[:40], f"this is not TOML ({error})", "correct it") from None


def _describe(
    name: str, used: list[str], unknown: list[str], effects: Mapping[str, str]
) -> dict[str, Any]:
    found: dict[str, Any] = {"format": name, "used": used, "unknown": unknown}
    return found | ({"effects": dict(effects)} if effects else {})


def _of_command(command: Command, beside: Beside, gpus: int | None) -> Reading:
    """Return the job of a command: its file's settings, its options, its launcher's."""
    own = command.files.get

    def look(path: str) -> str | None:
        written = own(path)
        return beside(path) if written is None else written

    settings: dict[str, object] = {}
    form = read_format(command.trainer)
    if command.config:
        settings = flat(_parse(command.config, _look(command.config, look, "config")))
    settings |= flat(command.settings)
    if command.trainer == "trl" and has_marks(settings):  # a script of anybody's
        form = detect(settings)
    launcher = _launcher(command, look)
    return _of_settings(form, settings, gpus or command.gpus, look, launcher)


def _launcher(command: Command, look: Beside) -> dict[str, object]:
    """Return the settings of accelerate, from the launcher's options and the file they name."""
    found: dict[str, object] = {}
    path = command.launcher.get("config_file")
    if isinstance(path, str):
        found = flat(_parse(path, _look(path, look, "--config_file")))
    return found | {
        key: value
        for key, value in command.launcher.items()
        if key in read_format("accelerate").keys
    }


def _look(path: str, look: Beside, key: str) -> str:
    text = look(path)
    if text is None:
        raise PlanError(key, path, "no such file is beside the one that names it", "put it there")
    return text


def _of_settings(
    form: Format,
    settings: Mapping[str, object],
    gpus: int | None,
    look: Beside,
    launcher: Mapping[str, object] | None = None,
) -> Reading:
    facts, used, unknown, effects = read_facts(form, settings)
    for other, more in (("accelerate", launcher or {}), ("deepspeed", None)):
        prefix = "" if other == "accelerate" else "deepspeed: "
        if more is None:
            more = _deepspeed(facts, look, effects)
        if more:
            added, keys, others, notes = read_facts(read_format(other), more)
            if other == "accelerate":
                used += [key for key in keys if key not in used]
            else:
                used += [f"{prefix}{key}" for key in keys]
            unknown += [f"{prefix}{key}" for key in others]
            effects |= notes
            facts["keys"] = added.pop("keys") | facts["keys"]
            _merge(facts, added, other)
    facts = {key: value for key, value in facts.items() if value is not None}
    facts = {**form.defaults, **facts}
    job = _JOBS.get(form.name, trainer_job)(form.name, facts, gpus)
    if job["cluster"]["gpus"] == 1 and not gpus and "gpus" not in facts:
        effects["gpus"] = "nothing says how many there are"
    if facts.get("model"):
        job = {"model": facts["model"], **job}
    return Reading(job, _describe(form.name, used, unknown, effects))


def _merge(facts: Facts, added: Facts, other: str) -> None:
    """Add what a launcher's file says. Raises PlanError where it contradicts the trainer's."""
    for fact, value in added.items():
        if fact in ("optim", "step_sequences", "bf16", "fp16"):
            continue
        ours = facts.get(fact)
        if ours is not None and ours != value and fact in ("micro_batch", "grad_accum"):
            bound = f"the trainer's own file says {ours}"
            key = read_format(other).key_of(fact)
            raise PlanError(
                f"{other}: {key}", value, bound, "set one of them to auto, or both alike"
            )
        facts[fact] = value


def _deepspeed(facts: Facts, look: Beside, effects: dict[str, str]) -> dict[str, object]:
    """Return DeepSpeed's settings from the file that a trainer names, or from that name."""
    given = facts.pop("deepspeed", None)
    if given in (None, "", False):
        return {}
    if not isinstance(given, str):
        return flat(given)
    if (text := look(given)) is not None:
        return flat(_parse(given, text))
    name = given.rpartition("/")[2]
    if (stage := _STAGE_NAMED.search(name)) is None:
        raise PlanError(
            "deepspeed", given, "no such file is beside the one that names it", "put it there"
        )
    if name.endswith(".json"):
        effects["deepspeed"] = f"{given} is not here: its name says stage and offload"
    found: dict[str, object] = {"zero_optimization.stage": int(stage[1])}
    if "offload" in name and "param" not in name:
        found["zero_optimization.offload_optimizer.device"] = "cpu"
    if "offload" in name and stage[1] == "3":
        found["zero_optimization.offload_param.device"] = "cpu"
    return found
