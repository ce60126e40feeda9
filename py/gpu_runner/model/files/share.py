"""A model of which each process reads only what it will hold.

    begin    built from its configuration: parameters without memory, buffers with theirs; and
             compared by name and shape with the files, as transformers would
    cut      by `World.shard`, as any other
    fill     row by row from the safetensors files, or from the shards of a checkpoint

To the last bit it is what `load` gives; what `load` refuses is refused in the same words. Where the
files cannot be read in part (`WholeOnly`), `load` is the way, and each process then holds all of
the model in the memory of its host before it keeps its part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gpu_runner.config.bounds import Precision
from gpu_runner.errors import CheckpointError
from gpu_runner.model import attention
from gpu_runner.model.files import own_code
from gpu_runner.model.files.checks import check_count, check_vocabulary, check_weights
from gpu_runner.model.files.load import (
    DTYPES,
    Source,
    read_config,
    read_json,
    readable_errors,
)
from gpu_runner.model.files.load import WEIGHTS as WEIGHT_FILES
from gpu_runner.model.files.names import Take, WholeOnly, conversions, takes
from gpu_runner.world import local, placed, rows_of
from gpu_runner.world.shards import WEIGHTS, RowReader, StoredTensors


def written_in_parts(place: Path) -> bool:
    """Whether a checkpoint holds shards of the weights, and not whole files."""
    return (place / WEIGHTS).is_dir()


@dataclass(slots=True)
class Share:
    """A model without weights, and from where each of them is to be read."""

    source: Source
    model: Any
    stored: StoredTensors
    takes: list[Take]

    def fill(self, device: torch.device) -> None:
        """Read what of each parameter is held here, from the files to `device` one at a time.

        Raises `ModelLoadError`.
        """
        found: dict[str, nn.Parameter] = {}
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        buffers = dict(self.model.named_buffers())
        names: dict[nn.Parameter, list[str]] = {}
        for name, parameter in parameters.items():
            names.setdefault(parameter, []).append(name)
        with readable_errors(self.source, "weights"), self.stored.reading() as reader:
            for take in self.takes:
                for name, rows in self._read(take, reader, parameters):
                    if name in buffers:
                        buffers[name].copy_(rows)
                        continue
                    its = parameters[name]
                    part = rows.to(device, its.dtype, copy=True).contiguous()
                    held = nn.Parameter(placed(its, part))
                    found |= dict.fromkeys(names[its], held)
        self.model.load_state_dict(found, strict=False, assign=True)
        for buffer_name, buffer in buffers.items():
            if buffer.device != device:
                module, _, last = buffer_name.rpartition(".")
                setattr(self.model.get_submodule(module), last, buffer.to(device))

    @contextmanager
    def tensors(self) -> Iterator[Callable[[str], Tensor]]:
        """Any weight by its name, whole, in the model's precision; of a model that is not cut."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        of_target = {name: take for take in self.takes for name in take.targets}
        tied: dict[nn.Parameter, list[str]] = {}
        for name, parameter in parameters.items():
            tied.setdefault(parameter, []).append(name)
        with self.stored.reading() as reader:

            def whole_of(name: str) -> Tensor:
                same = tied[parameters[name]] if name in parameters else [name]
                there = next(other for other in same if other in of_target)
                with readable_errors(self.source, "weights"):
                    made = dict(self._read(of_target[there], reader, parameters))
                return made[there].to(parameters[name].dtype) if name in parameters else made[there]

            yield whole_of

    def _read(
        self, take: Take, reader: RowReader, parameters: dict[str, nn.Parameter]
    ) -> Iterator[tuple[str, Tensor]]:
        """(name, the rows that are held here) of every parameter or buffer that `take` makes."""
        first = parameters.get(take.targets[0])
        if take.converter is None:
            wanted = slice(None) if first is None else rows_of(first)
            yield take.targets[0], reader.rows(take.sources[0][1], wanted)
            return
        assert first is not None  # a buffer is converted by nobody
        if take.by_rows:
            held = range(*rows_of(first).indices(first.shape[0]))
            if not held:
                yield take.targets[0], local(first).new_empty(local(first).shape, device="cpu")
                return
            chosen = take.some(held)
        else:
            chosen = take
        made = chosen.convert(self.model, lambda name: reader.rows(name).to(first.dtype))
        for name, tensor in made.items():
            rows = slice(None) if take.by_rows else rows_of(parameters[name])
            yield name, tensor[rows]


def begin(source: Source, tokenizer: Any, params: Precision) -> Share:
    """The model of `source` in `params` precision, trainable, in training mode, without weights.

    Raises `WholeOnly` where its files cannot be read in part, `ModelLoadError` as `load` does.
    """
    config, shape = read_config(source)
    check_vocabulary(source.name, len(tokenizer), config.vocab_size)
    place = Path(source.place)
    own = written_in_parts(place)
    files = sorted((place / WEIGHTS).glob("*.safetensors")) if own else _files(source)
    _refuse(source, config, files)
    known = attention.arguments_for(shape)
    with readable_errors(source, "weights"):
        model = _skeleton(source, config, DTYPES[params], known)
    try:
        stored = StoredTensors(files)
    except (OSError, SafetensorError, CheckpointError) as error:
        raise WholeOnly(str(error)) from None
    _keep_precisions(model, DTYPES[params], stored if own else None)
    found, report = takes(model, stored, [] if own else conversions(model))
    check_weights(source.name, report)
    if not source.trusted:
        own_code.forget(model.config)
    model.requires_grad_(True)
    model.train()
    check_count(source.name, model, shape)
    return Share(source, model, stored, found)


def _files(source: Source) -> list[Path]:
    """The safetensors files that transformers would read; none where it would read others."""
    if source.kind == "gguf":
        return []
    one, index = WEIGHT_FILES[:2]
    if (found := _file(source, one)) is not None:
        return [found]
    if (found := _file(source, index)) is None:
        return []
    named = read_json(found).get("weight_map")
    names = sorted(set(map(str, named.values()))) if isinstance(named, dict) else []
    return [file for name in names if (file := _file(source, name)) is not None]


def _file(source: Source, name: str) -> Path | None:
    """A file of a model; from the hub it is fetched, once for all processes of a machine."""
    if source.kind == "hub":
        from transformers.utils.hub import cached_file

        with readable_errors(source, "weights"):
            found = cached_file(source.place, name, _raise_exceptions_for_missing_entries=False)
        return None if found is None else Path(found)
    path = Path(source.place) / name
    return path if path.is_file() else None


def _refuse(source: Source, config: Any, files: list[Path]) -> None:
    """Raise `WholeOnly` for what only `load` knows how to read, or to refuse."""
    reasons = {
        "its weights are no safetensors files": not files,
        "it is quantised": getattr(config, "quantization_config", None) is not None,
        "it brings code of its own": source.trusted and hasattr(config, own_code.KEY),
        "it names files of its own": bool(
            getattr(config, "transformers_weights", None)
            or getattr(type(config), "extra_files", ())
        ),
    }
    if found := [reason for reason, true in reasons.items() if true]:
        raise WholeOnly(found[0])


def _keep_precisions(model: Any, dtype: torch.dtype, own: StoredTensors | None) -> None:
    """Those that a run had, if it goes on; else refuse a model that wants others than `dtype`."""
    strict = getattr(model, "_keep_in_fp32_modules_strict", None)
    if own is None:
        if strict and dtype != torch.float32:
            raise WholeOnly(f"it keeps {', '.join(sorted(strict)[:3])} in fp32")
        return
    for name, parameter in model.named_parameters():
        if name in own:
            parameter.data = parameter.data.to(own.dtype(name))


def _skeleton(source: Source, config: Any, dtype: torch.dtype, known: dict[str, Any]) -> Any:
    """The model with parameters on no device; of what is random in making it nothing is drawn."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    with _without_memory():
        model: Any = AutoModelForCausalLM.from_config(
            config, dtype=dtype, trust_remote_code=source.trusted, **known
        )
    if model.can_generate():
        try:
            model.generation_config = GenerationConfig.from_pretrained(source.place)
        except OSError:
            model.generation_config = GenerationConfig.from_pretrained(
                source.place, config_file_name="config.json", _from_model_config=True
            )
    return model


@contextmanager
def _without_memory() -> Iterator[None]:
    """Parameters that modules are given lose their memory at once; buffers keep theirs.

    All of a model on the meta device would leave its buffers, rotary frequencies say, without
    values, and only the library knows how to make them again.
    """

    def forget(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        del module, name
        if parameter is None or parameter.is_meta:  # a tied one stays the same
            return None
        return nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(forget)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()
