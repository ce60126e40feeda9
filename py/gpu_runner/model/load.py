"""Find a causal language model, load all of its weights, and refuse what cannot be trusted.

A name is tried as the demo, a directory, a GGUF file, then a Hugging Face id. Missing or unexpected
weights, a tokenizer larger than the embedding and a configuration that `unfrozen.model` cannot
count exactly are errors, not warnings: a fine-tune that starts from half-random weights looks like
any other run.

A model can bring Python code of its own (`auto_map`), which transformers would run after a question
at the terminal. It is run only with --trust-remote-code. Without the flag, a model whose
architecture transformers has and `unfrozen.model` counts is trained by that, with a remark; any
other is refused.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import torch

from gpu_runner.config.bounds import Precision
from gpu_runner.config.schema import DEMO
from gpu_runner.data import hub
from gpu_runner.errors import ModelLoadError, is_out_of_memory
from gpu_runner.model import attention, gguf_file
from gpu_runner.system import foreign
from gpu_runner.system.foreign import ForeignCodeError
from gpu_runner.world import freeze_encoders
from gpu_runner.world.sharded_files import WEIGHTS as SHARDS
from unfrozen import plain
from unfrozen.errors import ModelError
from unfrozen.model import SUPPORTED, ModelConfig


def check_vocabulary(name: str, tokens: int, rows: int) -> None:
    """Raise `ModelLoadError` for a tokenizer with more `tokens` than the embedding has `rows`."""
    if tokens > rows:
        raise ModelLoadError(
            f"{name}: the tokenizer has {tokens:,} tokens, the embedding {rows:,} rows:"
            " ids beyond it would crash the model. Use the tokenizer that belongs to this model."
        )


def check_weights(name: str, report: dict[str, Any]) -> None:
    """Raise `ModelLoadError` for missing, unexpected or mismatched weights in a `report`."""
    for what, remedy in (
        ("missing", "the file is incomplete, or the configuration belongs to another model"),
        ("unexpected", "the configuration belongs to another model"),
        ("mismatched", "the configuration's sizes are not those of the file"),
    ):
        names = sorted(map(str, report.get(f"{what}_keys") or ()))
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise ModelLoadError(
                f"{name}: {len(names)} {what} weights: {', '.join(names[:5])}{more}."
                f" Refused: {remedy}."
            )


def check_count(name: str, model: Any, shape: ModelConfig | None) -> None:
    """Raise `ModelLoadError` unless a model has as many parameters as its configuration says."""
    counted = sum(parameter.numel() for parameter in model.parameters())  # tied ones once
    planned = counted if shape is None else shape.num_parameters + shape.frozen
    if counted != planned:
        raise ModelLoadError(
            f"{name} has {counted:,} parameters, but its configuration says"
            f" {planned:,}: the memory prediction would be wrong. Please report the model's"
            " config.json."
        )


DTYPES: Final[dict[str, torch.dtype]] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
TOKENIZERS: Final = ("tokenizer*", "vocab*", "*.model", "*.tiktoken")  # files of a tokenizer
TEXTS: Final = (".json", ".txt", ".jinja", ".model", ".tiktoken")
MOST_FILE_BYTES: Final = 2**28
"""The limit of a model's files other than weights; the longest tokenizer.json has a fourth."""
OLD_TEMPLATE: Final = "chat_template.json"
"""Where processors had their template before transformers 5; tokenizers do not read it."""
PROCESSORS: Final = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    OLD_TEMPLATE,
)
"""Files of what prepares pictures and sounds: saved as they were, beside the tokenizer."""
WEIGHTS: Final = (  # in the order in which transformers looks for them
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_HUB_ID: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model is: `place` is a directory or a hub id, `gguf_file` a file name in it."""

    kind: Literal["demo", "directory", "gguf", "hub"]
    name: str
    place: str
    gguf_file: str | None = None
    trusted: bool = False
    """Whether code that it brings may be run."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for every `from_pretrained` of this source."""
        gguf = {"gguf_file": self.gguf_file} if self.gguf_file else {}
        return {**gguf, "trust_remote_code": self.trusted}


def find(name: str, *, trusted: bool = False) -> Source:
    """Return the source that `name` means. Raises `ModelLoadError` that says what was tried."""
    if name == DEMO:
        from gpu_runner.demo import model_dir

        return Source("demo", DEMO, str(model_dir()))
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            inside = sorted(path.glob("*.gguf"))
            hint = f" Did you mean {inside[0]}?" if inside else ""
            if (path / "adapter_config.json").exists():
                hint = " It holds adapters: merge them into their model, and give that."
            raise ModelLoadError(f"{path} has no config.json: it is not a model directory.{hint}")
        _check_files(path)
        return Source("directory", path.resolve().name, str(path), trusted=trusted)
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelLoadError(
                f"{path} is a file, but not a .gguf one: give the model's directory, or a .gguf."
            )
        return Source("gguf", path.stem, str(path.parent), path.name)
    if not _HUB_ID.fullmatch(name) or name.startswith(".") or name.endswith(".gguf"):
        raise ModelLoadError(
            f"no model at {name!r}: tried a directory and a .gguf file, and it is not a Hugging"
            " Face id (owner/name). Check the path, or use --model demo."
        )
    return Source("hub", name, name, trusted=trusted)


def _check_files(path: Path) -> None:
    """Raise `ModelLoadError` for a directory without weights, or with what must not be read."""
    for file in sorted(path.iterdir()):
        with contextlib.suppress(FileNotFoundError):  # a link to nothing
            size = file.stat().st_size
            is_text = file.suffix in TEXTS and size > MOST_FILE_BYTES
            if is_text or not (file.is_file() or file.is_dir()):
                what = f"has {size:,} bytes" if is_text else "is a pipe or a device"
                raise ModelLoadError(f"{file} {what}: it is no file of a model. Move it away.")
    if not any((path / name).exists() for name in WEIGHTS):
        if any((path / SHARDS).glob("*.safetensors")):
            raise ModelLoadError(f"{path} is in shards: unfrozen export --to hf makes it a model.")
        others = ", ".join(sorted(file.name for file in path.glob("*.safetensors"))[:3])
        found = f"; {others} is not read" if others else ""
        raise ModelLoadError(
            f"{path} has no weights: none of {', '.join(WEIGHTS)}{found}. Copy them there from"
            " where the model came from."
        )
    first = next(path / name for name in WEIGHTS if (path / name).exists())
    if first.suffix != ".json":
        return
    named = read_json(first).get("weight_map")
    files = sorted(set(map(str, named.values()))) if isinstance(named, dict) else []
    absent = [name for name in files if not (path / name).exists()]
    if absent or not files:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise ModelLoadError(
            f"{path}: of the {len(files)} files of weights that {first.name} names,"
            f" {len(absent)} are not there: {', '.join(absent[:3])}{more}. Download them again."
        )


def read_config(source: Source) -> tuple[Any, ModelConfig | None]:
    """Return the transformers configuration and the `ModelConfig` of it, without loading a weight.

    The latter is None for a type that `unfrozen.model` does not know; then nothing is predicted.
    Raises `ModelLoadError` where it is not found or not JSON, or a key is missing or wrong.
    """
    if source.kind in ("demo", "directory"):
        raw = read_json(Path(source.place) / "config.json")
        shape = _shape(raw, source)  # before transformers fills missing keys with its defaults
        return _transformers_config(source), shape
    config = _transformers_config(source)
    return config, _shape(config.to_dict(), source)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises `ModelLoadError`."""
    try:
        raw = plain.read_json(path, MOST_FILE_BYTES, links=True)
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"{path} cannot be read as JSON: {error}. Download it again."
        ) from None
    if not isinstance(raw, dict):
        raise ModelLoadError(f"{path} holds a {type(raw).__name__}, but must be a JSON object.")
    return raw


def _shape(raw: dict[str, Any], source: Source) -> ModelConfig | None:
    known = raw.get("model_type") in (None, *SUPPORTED)
    if not source.trusted:
        refuse_custom_code(source.name, "config.json", raw, native=known)
    if not known:
        return None
    try:
        return ModelConfig.from_hf(raw).language  # its inputs are text
    except ModelError as error:
        raise ModelLoadError(f"model {source.name}: config.json: {error}") from None


def _transformers_config(source: Source) -> Any:
    if source.kind != "gguf":
        return _read_by_transformers(source)
    file = Path(source.place, source.gguf_file or "").stat()
    return deepcopy(_read_of_gguf(source, file.st_mtime_ns, file.st_size))


@lru_cache(maxsize=1)
def _read_of_gguf(source: Source, *_: int) -> Any:
    """Return a configuration, cached until the file changes: parsing it takes seconds.

    A child process with limits parses it first: a small file may claim to hold anything.
    """
    file = Path(source.place, source.gguf_file or "")
    try:
        foreign.call(lambda: _try_to_read_gguf(file))
    except ForeignCodeError as error:
        raise ModelLoadError(f"model {source.name}: reading {file.name} {error}.") from None
    return _read_by_transformers(source)


def _try_to_read_gguf(file: Path) -> None:
    with contextlib.suppress(Exception):  # transformers reports what is wrong with it
        gguf_file.parse(file)


def _read_by_transformers(source: Source) -> Any:
    from transformers import AutoConfig

    with _reading(source, "configuration"):
        return AutoConfig.from_pretrained(source.place, **source.arguments)


CUSTOM_CODE: Final = "auto_map"
"""The key of a configuration that names code of the model's own."""
_ASKS: Final = ("custom code which must be executed", "trust_remote_code")
"""Parts of the errors of transformers where it would have asked at a terminal."""


def refuse_custom_code(
    name: str, file: str, settings: Mapping[str, Any], *, native: bool = False
) -> None:
    """Raise `ModelLoadError` if `settings`, read from `file`, name code of the model's own.

    `native`: transformers has this architecture, and `unfrozen.model` counts it.
    """
    if settings.get(CUSTOM_CODE) and not native:
        raise _custom_code_error(name, f"{file} names {_code_names(settings[CUSTOM_CODE])}")


def _custom_code_error(name: str, found: str) -> ModelLoadError:
    return ModelLoadError(
        f"model {name!r} brings code of its own ({found}), which is not run. Give a model that"
        " transformers has, or read that code, and give --trust-remote-code if you trust it."
    )


def describe_custom_code(name: str, settings: Mapping[str, Any]) -> str:
    """Return a remark about a model that is trained without its own code; "" where it has none."""
    if not settings.get(CUSTOM_CODE):
        return ""
    return (
        f"{name} brings code of its own ({_code_names(settings[CUSTOM_CODE])}), which is not run:"
        f" transformers' own {settings.get('model_type')} is trained."
    )


def forget_custom_code(config: Any) -> None:
    """Remove the names from a configuration: the trained model is saved without such files."""
    vars(config).pop(CUSTOM_CODE, None)


def _code_names(mapped: object) -> str:
    """Return a few of the files or classes under `auto_map`."""
    found = list(mapped.values()) if isinstance(mapped, Mapping) else [mapped]
    flat = [str(one)[:60] for each in found for one in (each if isinstance(each, list) else [each])]
    names = list(dict.fromkeys(one for one in flat if one != "None"))
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def load_tokenizer(source: Source) -> Any:
    """Return the model's tokenizer. Raises `ModelLoadError` where there is none."""
    from transformers import AutoTokenizer

    place = Path(source.place)
    if source.kind == "directory" and not any(any(place.glob(name)) for name in TOKENIZERS):
        raise ModelLoadError(
            f"{place} has no tokenizer: copy tokenizer.json and tokenizer_config.json there from"
            " where the model came from."
        )
    settings = place / "tokenizer_config.json"
    if source.kind == "directory" and not source.trusted and settings.exists():
        refuse_custom_code(source.name, settings.name, read_json(settings))
    with _reading(source, "tokenizer"):
        found: Any = AutoTokenizer.from_pretrained(source.place, **source.arguments)
        if source.kind == "gguf":
            _forget_added(found, vocabulary_of(read_config(source)[0]))
            return found
        files = {name: file_of(source, name) for name in PROCESSORS}
        found.processor_files = {
            name: plain.read_whole(file, MOST_FILE_BYTES, links=True)
            for name, file in files.items()
            if file
        }
    if found.chat_template is None and (file := files[OLD_TEMPLATE]) is not None:
        found.chat_template = read_json(file).get("chat_template")
    return found


def file_of(source: Source, name: str) -> Path | None:
    """Return a file of a model, downloaded from the hub once for all processes of a machine."""
    if source.kind == "hub":
        from transformers.utils.hub import cached_file

        with readable_errors(source, name):
            found = cached_file(source.place, name, _raise_exceptions_for_missing_entries=False)
        return None if found is None else Path(found)
    path = Path(source.place) / name
    return path if path.is_file() else None


def _forget_added(tokenizer: Any, rows: int) -> None:
    """Remove tokens that transformers adds to those of a GGUF file, as GPT-2's end token is."""
    if len(tokenizer) > rows:
        given = json.loads(tokenizer.backend_tokenizer.to_str())
        given["added_tokens"] = [one for one in given["added_tokens"] if one["id"] < rows]
        tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(given))


MXFP4: Final = "mxfp4"


def is_packed(source: Source, config: Any) -> bool:
    """Return whether a model's weights are in MXFP4 and must be unpacked, as gpt-oss' experts are.

    Raises `ModelLoadError` for another quantization.
    """
    given = getattr(config, "quantization_config", None)
    if given is None or source.kind == "gguf":
        return False
    method = given.get("quant_method") if isinstance(given, Mapping) else None
    if method != MXFP4:
        raise _quantized(source, f"by {method or 'an unknown method'}")
    return True


def _quantized(source: Source, how: str) -> ModelLoadError:
    return ModelLoadError(
        f"{source.name} is quantized {how}: its weights cannot take small updates. Give the"
        " original model, in bf16 or fp32."
    )


def load(
    source: Source, tokenizer: Any, params: Precision, device: torch.device, added: int = 0
) -> Any:
    """Return the model in `params` precision on `device`, trainable, in training mode.

    A model whose type `unfrozen.model` knows attends within documents; see `attention`. Weights in
    MXFP4 are unpacked. The last `added` tokens get their embedding rows later. Raises
    `ModelLoadError` for weights that are missing, unexpected or of another shape, a tokenizer with
    more tokens than the embedding has rows, and an unexpected number of parameters.
    """
    from transformers.utils.quantization_config import Mxfp4Config

    config, shape = read_config(source)
    check_vocabulary(source.name, len(tokenizer) - added, vocabulary_of(config))
    known = attention.arguments_for(shape) | ({"config": config} if source.gguf_file else {})
    if is_packed(source, config):
        known["quantization_config"] = Mxfp4Config(dequantize=True)
    with _reading(source, "weights"):
        loaded: Any = class_of(config).from_pretrained(
            source.place,
            **known,
            dtype=DTYPES[params],
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the report names them
            **source.arguments,
        )
        model, report = loaded
    gguf_file.forget()
    check_weights(source.name, report)
    _unquantize(source, model)
    if not source.trusted:
        forget_custom_code(model.config)
    freeze_encoders(model)
    model.to(device).train()
    if shape is None and sees(config):
        check_reads_text(source.name, model)
    check_count(source.name, model, shape)
    return model


def sees(config: Any) -> bool:
    """Return whether a configuration is of a whole vision-language model, not of its text alone."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    kind, named = type(config), (config.architectures or [""])[0]
    alone = kind in MODEL_FOR_CAUSAL_LM_MAPPING and named.endswith("ForCausalLM")
    return kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and not alone


def class_of(config: Any) -> Any:
    """Return the class of transformers that loads the whole of a model, vision encoder included."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.modeling_outputs import MoeCausalLMOutputWithPast

    if config.model_type == "llama4":  # transformers 5.24 reads it, and no output has it
        MoeCausalLMOutputWithPast.image_outputs = None
    return AutoModelForImageTextToText if sees(config) else AutoModelForCausalLM


def vocabulary_of(config: Any) -> int:
    """Return how many rows the embedding of tokens has. Raises `ModelLoadError` for none."""
    found = (
        None if config.is_encoder_decoder else getattr(config.get_text_config(), "vocab_size", None)
    )
    if not isinstance(found, int):
        raise ModelLoadError(
            f"a model of type {config.model_type} does not go on with the text that it reads: give"
            " one that answers a prompt from left to right."
        )
    return found


@torch.no_grad()
def check_reads_text(name: str, model: Any) -> None:
    """Raise `ModelLoadError` for a model that trains on no text without a picture or a sound."""
    ids = torch.zeros(1, 4, dtype=torch.long, device=model.device)
    try:
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=slice(None)).logits
        read = model.get_output_embeddings() is not None and logits.shape[:2] == ids.shape
        why = "its head is not that of a language model"
    except Exception as error:  # whatever it does with the picture that is not there
        read, why = False, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if not read:
        raise ModelLoadError(
            f"{name} is a {type(model).__name__}, which does not read text alone ({why}). Give a"
            " model that does."
        )


def _unquantize(source: Source, model: Any) -> None:
    """Remove the quantization of a loaded GGUF file; raise `ModelLoadError` for any other."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is None:
        return
    if source.kind != "gguf":
        raise _quantized(source, "after loading")
    quantizer.remove_quantization_config(model)  # so that the saved model loads like any other


def _about_file(place: Path, reason: str) -> str:
    """Return what to do about a weights file that cannot be read."""
    if not any(place.glob("*.safetensors")):
        text = "its .bin file is damaged or holds more than tensors, and such a file may run"
        return f"{text} programs. Get the model as safetensors."
    return f"{reason.rstrip('.')}. Download the file again."


@contextmanager
def _reading(source: Source, part: str) -> Iterator[None]:
    """The same for a GGUF file, which is parsed once for all its parts."""
    once = gguf_file.parsed_once() if source.kind == "gguf" else contextlib.nullcontext()
    with readable_errors(source, part), once:
        yield


@contextmanager
def readable_errors(source: Source, part: str) -> Iterator[None]:
    """Raise what transformers raises for a bad `part` of a source as one sentence."""
    away = source.kind == "hub" and hub.is_away()
    try:
        yield
    except Exception as error:  # a corrupt file can make a parser raise anything
        if is_out_of_memory(error):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        reason = " ".join(lines[: 1 + lines[0].endswith(":")]) or type(error).__name__
        if any(part in reason for part in _ASKS) and not source.trusted:
            raise _custom_code_error(source.name, f"for its {part}") from None
        if "does not recognize this architecture" in reason:
            reason = (
                "transformers does not know its model_type. Update it (pip install -U"
                " transformers), or correct config.json."
            )
        elif part == "weights" and source.kind == "directory":
            reason = _about_file(Path(source.place), reason)
        elif source.kind == "gguf":
            reason = f"{reason.rstrip('.')}. Download the file again, or another one."
        if away:
            reason = "the hub cannot be reached, and it is not in the cache. Check the name."
        tried = {
            "hub": "tried a directory, a .gguf file and the Hugging Face hub",
            "gguf": f"tried it as GGUF file {source.gguf_file}",
        }.get(source.kind, f"tried the directory {source.place}")
        raise ModelLoadError(
            f"the {part} of model {source.name!r} cannot be loaded ({tried}): {reason}"
        ) from error
