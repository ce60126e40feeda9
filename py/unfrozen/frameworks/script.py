"""Command lines and shell scripts of trainers: the one that trains, its options, its files.

Nothing is run: words are split as a shell splits them, lines that go on are joined, values that the
script itself gives a variable are filled in, and files that it writes itself are read.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from unfrozen.errors import PlanError
from unfrozen.frameworks.yaml_text import scalar

_HEREDOC: Final = re.compile(
    r"cat\s*>\s*(\S+)\s*<<\s*['\"]?(\w+)['\"]?\n(.*?)\n\2(?=\n|$)", re.DOTALL
)
_ASSIGNED: Final = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")
_NUMBERS: Final = r"\s*(\d+(?:\s*\\?[*/]\s*\d+)*)\s*"
_EXPRESSION: Final = re.compile(rf"\$\(expr{_NUMBERS}\)|\$\(\({_NUMBERS}\)\)")
_FLAGS: Final = {
    *("module", "m", "multi_gpu", "use_fsdp", "use_deepspeed", "use_parallelism_config", "cpu"),
    *("mps", "tpu", "no_python", "debug", "quiet", "standalone", "same_network", "no_local_rank"),
}
"""Options of launchers without a value."""
_TRAINS: Final = {
    "swift": ("sft", "pt", "rlhf"),
    "megatron": ("sft", "pt"),
    "unfrozen": ("train",),
    "llamafactory-cli": ("train",),
    "axolotl": ("train",),
    "trl": ("sft", "dpo", "grpo"),
    "unsloth": ("train",),
    "tune": ("run",),
}


class Command(NamedTuple):
    """A command that trains: who reads it, its settings, the launcher's, its GPUs and its files."""

    trainer: str
    settings: dict[str, object]
    launcher: dict[str, object]
    gpus: int | None
    files: dict[str, str]
    config: str = ""


def read_script(text: str) -> Command:
    """Return the one command of a script that trains. Raises PlanError."""
    files = {name: body for name, _, body in _HEREDOC.findall(text)}
    lines = _HEREDOC.sub("", text).replace("\\\r\n", " ").replace("\\\n", " ").split("\n")
    variables: dict[str, str] = {}
    found: list[tuple[list[str], dict[str, str]]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            words = shlex.split(_EXPRESSION.sub(_value, _fill(line, variables)), comments=True)
        except ValueError as error:
            raise PlanError(
                f"line {number}", line[:80], f"the shell refuses it ({error})", "correct it"
            ) from None
        words, own = _assigned(words, variables)
        if not words:
            variables |= own
        elif _trains(words):
            found.append((words, variables | own))
    if len(found) != 1:
        bound = "a script has one command that trains"
        remedy = "paste the one to plan after --" if found else "paste the command after --"
        raise PlanError("job", f"{len(found)} of them", bound, remedy)
    return read_command(*found[0], files)


def _assigned(words: list[str], variables: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the words after the variables that stand before them, and those variables."""
    words = [word for word in words if word != "export"]
    own: dict[str, str] = {}
    at = 0
    while at < len(words) and (found := _ASSIGNED.fullmatch(words[at])):
        own[found[1]] = _fill(found[2], variables)
        at += 1
    rest = [_fill(word, {**variables, **own}) for word in words[at:]]
    return rest[1:] if rest[:1] in (["env"], ["nohup"], ["exec"]) else rest, own


def _fill(word: str, variables: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        return variables.get(found[1] or found[3], found[2] if found[2] is not None else found[0])

    return _VARIABLE.sub(value, word)


def _value(found: re.Match[str]) -> str:
    first, *rest = re.findall(r"\d+|[*/]", found[1] or found[2])
    total = int(first)
    for sign, number in zip(rest[::2], rest[1::2], strict=True):
        total = total * int(number) if sign == "*" else total // (int(number) or 1)
    return str(total)


def _trains(words: Sequence[str]) -> bool:
    name = words[0].rpartition("/")[2]
    if name in _TRAINS:
        return len(words) > 1 and words[1] in _TRAINS[name]
    launches = name in ("torchrun", "deepspeed") or words[:2] == ["accelerate", "launch"]
    python = re.fullmatch(r"python[\d.]*", name) is not None
    return launches or name == "run_train.sh" or (python and any("--" in word for word in words))


def options(words: Sequence[str]) -> tuple[dict[str, object], list[str]]:
    """Return the options of words, by name without dashes, and the words that stand alone."""
    found: dict[str, object] = {}
    alone: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        key, equals, value = word.partition("=")
        if word.startswith("--") and len(word) > 2:
            name = key[2:]
            if equals:
                found[name] = scalar(value)
                continue
            values = []
            while at < len(words) and not (words[at].startswith("--") or _is_override(words[at])):
                values.append(words[at])
                at += 1
            found[name] = _typed(values)
        elif _is_override(word):  # by = as hydra has it, by : torchtitan's choices of a class
            name, value = re.split("[=:]", word, maxsplit=1)
            found[name.lstrip("+")] = scalar(value)
        else:
            alone.append(word)
    return found, alone


def _is_override(word: str) -> bool:
    return re.match(r"[+]?[a-z_][\w.]*=|[a-z]+(-[a-z]+)+:\w+$", word) is not None


def _typed(values: list[str]) -> object:
    if not values:
        return True
    return scalar(values[0]) if len(values) == 1 else values


def read_command(
    words: Sequence[str], variables: Mapping[str, str], files: Mapping[str, str] | None = None
) -> Command:
    """Return what one command says. Raises PlanError for one that no trainer here starts."""
    launcher: dict[str, object] = {}
    rest = list(words)
    name = rest[0].rpartition("/")[2]
    if name in ("torchrun", "deepspeed") or rest[:2] == ["accelerate", "launch"]:
        launcher, rest = _launched(rest[2 if name == "accelerate" else 1 :])
    elif name == "tune":  # tune run, its launcher's options, a recipe and its words
        launcher, rest = _launched(rest[2:])
        rest[:1] = ["tune", "run"]
    elif re.fullmatch(r"python[\d.]*", name):
        rest = rest[2 if rest[1:2] == ["-m"] else 1 :]
    if "--" in rest:  # Axolotl's and tune's: what follows is the launcher's
        at = rest.index("--")
        launcher |= options(rest[at + 1 :])[0]
        rest = rest[:at]
    trainer, alone = _trainer(rest)
    own, more = options(alone)
    files = dict(files or {})
    config = (
        str(own.pop("config", "")) if trainer != "torchtitan" or "job.config_file" in own else ""
    )
    config = str(own.pop("job.config_file", config)) or str(variables.get("CONFIG_FILE", ""))
    config = config or next((each for each in more if re.search(r"\.(ya?ml|json|toml)$", each)), "")
    return Command(trainer, own, launcher, _gpus(launcher, variables), files, config)


def _launched(words: list[str]) -> tuple[dict[str, object], list[str]]:
    """Return the options of a launcher, and the script or module that it starts with its words."""
    at = 0
    while at < len(words):
        word = words[at]
        if word in ("-m", "--module", "--no_python", "--no-python"):
            at += 1
        elif word.startswith("-"):
            takes = "=" not in word and word.lstrip("-").replace("-", "_") not in _FLAGS
            at += 1 + takes
        else:
            break
    before = [word for word in words[:at] if word not in ("-m", "--module")]
    return options(before)[0], words[at:]


def _trainer(words: list[str]) -> tuple[str, list[str]]:
    """Return whose command this is, and its words after the name."""
    if not words:
        raise PlanError("job", "nothing", "no script is started", "paste the whole command")
    name, base = words[0], words[0].rpartition("/")[2]
    if base in ("unfrozen", "gpu_runner"):
        bound = "a run of ours is planned as it will be by the command itself"
        raise PlanError("--", " ".join(words[:2]), bound, "add --dry-run to it")
    verb = 2 if base in _TRAINS else 1
    if base == "megatron":  # of ms-swift, whose options are Megatron-LM's, spelled by _
        return base, [re.sub("_", "-", word) if word[:2] == "--" else word for word in words[verb:]]
    table = (
        ("axolotl", "axolotl"),
        ("llama-factory", "llamafactory"),
        ("ms-swift", "swift"),
        ("torchtune", "tune"),
        ("torchtitan", "torchtitan"),
        ("megatron", "pretrain_gpt"),
        ("unsloth", "unsloth"),
    )
    for trainer, word in table:
        if word in (base if word in ("tune", "swift") else name):
            return trainer, words[verb:]
    if base == "run_train.sh":
        return "torchtitan", words[1:]
    said = re.search(r"(?:^|[./])(dpo|grpo)(?:_\w+)?(?:\.py)?$", words[verb - 1])
    return "trl", [*(("--objective", said[1]) if said else ()), *words[verb:]]


def _gpus(launcher: Mapping[str, object], variables: Mapping[str, str]) -> int | None:
    """Return the processes that a launcher starts; None where nothing says how many."""
    said = {key.replace("-", "_"): value for key, value in launcher.items()}
    if isinstance(said.get("num_processes"), int):
        return int(str(said["num_processes"]))
    nodes = _to_count(said.get("nnodes") or said.get("num_nodes") or variables.get("NNODES")) or 1
    names = ("nproc_per_node", "num_gpus")
    each = next((n for key in names if (n := _to_count(said.get(key)))), None)
    each = each or _to_count(variables.get("NPROC_PER_NODE")) or _to_count(variables.get("NGPU"))
    shown = variables.get("CUDA_VISIBLE_DEVICES") or variables.get("ASCEND_RT_VISIBLE_DEVICES")
    if each is None and shown and re.fullmatch(r"\d+(,\d+)*", shown):
        each = shown.count(",") + 1
    return each * nodes if each else None


def _to_count(value: object) -> int | None:
    return int(str(value)) if re.fullmatch(r"[1-9]\d{0,6}", str(value)) else None
