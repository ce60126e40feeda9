"""Writes tests/unfrozen/frameworks/options.json: every option that the frameworks' parsers accept.

    pip install --no-deps --target FOLDER PACKAGES      # `--packages` prints them, pinned
    .venv/bin/python docs/framework_options.py FOLDER

The sources are read, not run: fields of dataclasses and of pydantic's models, calls of
`add_argument`. An option is the names or the kind of its values: "flag" stands alone (in files, and
where transformers reads it, true or false), "int" and "float" are numbers, "text" is any.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

OUT: Final = Path(__file__).parents[1] / "tests/unfrozen/frameworks/options.json"
PACKAGES: Final = (
    *("accelerate==1.15.0", "axolotl==0.19.0", "deepspeed==0.19.8", "llamafactory==0.9.5"),
    *("megatron-core==0.19.2", "torchtitan==0.3.0", "transformers==5.24.0", "trl==1.16.0"),
    "unsloth==2026.10.9",
)
_PLAIN: Final = {"int": "int", "float": "float", "bool": "flag"}
_AXOLOTL: Final = "axolotl/utils/schemas"
_FACTORY: Final = "llamafactory/hparams"
_ZERO: Final = "deepspeed/runtime/zero"

Options = dict[str, "str | list[str]"]


class Sources:
    """The installed packages below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cache  # noqa: B019
    def tree(self, file: str) -> ast.Module:
        """Return the parsed file."""
        return ast.parse((self.folder / file).read_text(encoding="utf-8"))

    @cache  # noqa: B019
    def classes(self, package: str) -> dict[str, ast.ClassDef]:
        """Return the classes of a file, or of all below a folder, by name."""
        found: dict[str, ast.ClassDef] = {}
        place = self.folder / package
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    found.setdefault(node.name, node)
        return found

    def fields(self, package: str, name: str) -> dict[str, ast.AnnAssign]:
        """Return the fields of a class and of its bases in the package."""
        node = self.classes(package).get(name)
        if node is None:
            return {}
        own = {
            each.target.id: each
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        }
        for base in node.bases:
            own = self.fields(package, ast.unparse(base).rpartition(".")[2]) | own
        return own

    def options(self, package: str, *names: str) -> Options:
        """Return the fields of classes as options."""
        return {
            key: kind_of(each.annotation)
            for name in names
            for key, each in self.fields(package, name).items()
        }

    def arguments(self, file: str) -> Options:
        """Return the options of the calls of `add_argument` in a file."""
        found: Options = {}
        for node in ast.walk(self.tree(file)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument"):
                given = {word.arg: word.value for word in node.keywords if word.arg}
                words = [a.value for a in node.args if isinstance(a, ast.Constant)]
                found |= {str(w): kind_of_argument(given) for w in words if str(w).startswith("-")}
        return found


def kind_of(annotation: ast.expr) -> str | list[str]:
    """Return the values of a field by its annotation."""
    text = ast.unparse(annotation).strip("'\"")
    literal = re.search(r"Literal\[([^\]]*)\]", text)
    kinds = [kind for word, kind in _PLAIN.items() if re.search(rf"\b{word}\b", text)]
    if literal:
        values = ast.literal_eval(f"[{literal[1]}]")
        return [str(value) for value in values] + (["true", "false"] if "flag" in kinds else [])
    free = re.search(r"\b(str|Path|list|List|dict|Dict|Any)\b", text)
    return "text" if free or not kinds else "float" if "float" in kinds else kinds[0]


def kind_of_argument(given: dict[str, ast.expr]) -> str | list[str]:
    """Return the values of an option by the words of `add_argument`."""
    if "action" in given and ast.unparse(given["action"]).strip("'") in (
        "store_true",
        "store_false",
    ):
        return "flag"
    if "choices" in given:
        try:
            return [str(each) for each in ast.literal_eval(given["choices"])]
        except ValueError:
            return "text"
    kind = ast.unparse(given["type"]) if "type" in given else "text"
    return kind if kind in ("int", "float") else "text"


def megatron(sources: Sources) -> Options:
    """Return the options of Megatron-LM: of `add_argument`, and of the fields of its configs."""
    file = "megatron/training/arguments.py"
    found = sources.arguments(file)
    excluded = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.walk(sources.tree(file))
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.List)
        and all(isinstance(each, ast.Constant) for each in node.value.elts)
    }
    for node in ast.walk(sources.tree(file)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ArgumentGroupFactory":
            without = next((w.value for w in node.keywords if w.arg == "exclude"), ast.List([]))
            names = (
                excluded.get(without.id, [])
                if isinstance(without, ast.Name)
                else ast.literal_eval(without)
            )
            for key, field in sources.fields("megatron", ast.unparse(node.args[0])).items():
                found |= {} if key in names else dict(_flags(key, field))
    return found


def _flags(key: str, field: ast.AnnAssign) -> Iterator[tuple[str, str | list[str]]]:
    """Yield the options of a field, as Megatron-LM's `ArgumentGroupFactory` names them."""
    kind, name = kind_of(field.annotation), key.replace("_", "-")
    named = re.search(r"['\"]arg_names['\"]: (\[[^\]]*\])", ast.unparse(field))
    if named:
        yield from ((each, kind) for each in ast.literal_eval(named[1]))
    elif kind == "flag" and field.value and ast.unparse(field.value).startswith("True"):
        yield from ((f"--{word}-{name}", kind) for word in ("no", "disable"))
    else:
        yield f"--{name}", kind


def torchtitan(sources: Sources) -> Options:
    """Return the options of torchtitan by group, and the ways to recompute."""
    groups = {"training": "TrainingConfig", "parallelism": "ParallelismConfig"}
    found: Options = {
        f"--{group}.{key}": kind
        for group, name in {**groups, "compile": "CompileConfig"}.items()
        for key, kind in sources.options("torchtitan/config", name).items()
    }
    ways = (sources.folder / "torchtitan/distributed/activation_checkpoint.py").read_text()
    named = re.findall(r"tyro\.conf\.subcommand\(\"([\w-]+)\"\)", ways)
    return found | {"activation-checkpoint": named, "--module": "text", "--config": "text"}


def deepspeed(sources: Sources) -> Options:
    """Return the keys of DeepSpeed's file, those inside others behind a dot."""
    constants = (
        node.value.value
        for file in ("deepspeed/runtime/constants.py", f"{_ZERO}/config.py")
        for node in sources.tree(file).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    )
    found: Options = {word: "text" for word in constants if isinstance(word, str) and word}
    inside = {
        "bf16": ("deepspeed/runtime", "DeepSpeedBF16Config"),
        "zero_optimization": (_ZERO, "DeepSpeedZeroConfig"),
        "zero_optimization.offload_optimizer": (_ZERO, "DeepSpeedZeroOffloadOptimizerConfig"),
        "zero_optimization.offload_param": (_ZERO, "DeepSpeedZeroOffloadParamConfig"),
    }
    for key, (package, name) in inside.items():
        found |= {f"{key}.{word}": kind for word, kind in sources.options(package, name).items()}
    return found


def unsloth(sources: Sources) -> Options:
    """Return the options of `unsloth train`: those of its config, and negated flags."""
    names = ("Config", "DataConfig", "TrainingConfig", "LoraConfig", "LoggingConfig")
    found = sources.options("unsloth_cli", *names)
    flags = {key for key, kind in found.items() if kind == "flag"}
    both = found | {f"no_{key}": "flag" for key in flags}
    return {f"--{key.replace('_', '-')}": kind for key, kind in both.items()}


def all_options(folder: Path) -> dict[str, Options]:
    """Return the options of every parser, by framework."""
    sources = Sources(folder)
    training = sources.options("transformers/training_args.py", "TrainingArguments")
    hf = training | sources.options(
        "trl", "ScriptArguments", "ModelConfig", "_BaseConfig", "SFTConfig"
    )
    fsdp = {f"fsdp_config.{k}": v for k, v in sources.options(_AXOLOTL, "FSDPConfig").items()}
    factory = ("Model", "Data", "Training", "Finetuning", "Generating")
    return {
        "accelerate": sources.arguments("accelerate/commands/launch.py"),
        "trl": {f"--{key}": kind for key, kind in hf.items()},
        "axolotl": sources.options(_AXOLOTL, "AxolotlInputConfig") | fsdp,
        "llama-factory": training | sources.options(_FACTORY, *(f"{n}Arguments" for n in factory)),
        "unsloth": unsloth(sources),
        "deepspeed": deepspeed(sources),
        "megatron": megatron(sources),
        "torchtitan": torchtitan(sources),
    }


def main(words: list[str]) -> None:
    """Write the table, or print the packages to install."""
    if words == ["--packages"]:
        print(" ".join(PACKAGES))
        return
    options: dict[str, Any] = {
        name: dict(sorted(found.items())) for name, found in all_options(Path(words[0])).items()
    }
    OUT.write_text(json.dumps({"packages": PACKAGES, **options}, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
