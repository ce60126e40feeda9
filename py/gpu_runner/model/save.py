"""Save a model as a directory that transformers loads unchanged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gpu_runner.atomic import Written, write_file
from gpu_runner.world.sharded_files import write_whole
from unfrozen.parameter_groups import layer_of

MOST_FILE_BYTES: Final = 5 * 10**9  # the hub's advice; one file is in memory at a time
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """Write a model that is whole, as transformers does, and its tokenizer."""
    model.save_pretrained(directory)
    save_tokenizer(tokenizer, directory)


def save_tokenizer(tokenizer: Any, directory: Path) -> None:
    """Write a tokenizer, and the files of the processor that it came with."""
    tokenizer.save_pretrained(directory)
    for name, content in getattr(tokenizer, "processor_files", {}).items():
        (directory / name).write_bytes(content)


def save_around(
    model: Any, tokenizer: Any, directory: Path, dtype: torch.dtype | None = None
) -> None:
    """Write all but the weights, which are in `dtype`, or of the type that they have."""
    model.config.dtype = str(dtype or model.dtype).removeprefix("torch.")
    model.config.architectures = [type(model).__name__.removeprefix("FSDP")]
    if model.is_remote_code():
        from transformers.dynamic_module_utils import custom_object_save

        custom_object_save(model, directory, config=model.config)
    model.config.save_pretrained(directory)
    if model.can_generate():
        model.generation_config.save_pretrained(directory)
    save_tokenizer(tokenizer, directory)


def save_weights(
    model: Any,
    directory: Path,
    whole_of: Callable[[str], Tensor],
    dtype: torch.dtype | None = None,
    *,
    most_bytes: int = MOST_FILE_BYTES,
    writes: bool = True,
) -> dict[str, Written]:
    """Write and flush the weights of a model that may be sharded, file by file; return the files.

    `whole_of` returns a whole weight by name, in CPU memory, and is called once for each, in the
    same order on every process, `writes` or not. Names and shapes in the files are those of
    transformers. In memory are the tensors of one file and of one layer. `dtype` is that of the
    files; None keeps each weight's own.
    """
    empty = {
        name: torch.empty(tensor.shape, dtype=_file_dtype(tensor, dtype), device="meta")
        for name, tensor in _weights_of(model).items()
    }
    if not writes:
        for name in empty:
            whole_of(name)
        return {}
    left = dict.fromkeys(empty)  # in order

    def once(name: str) -> Tensor:
        del left[name]
        return whole_of(name)

    try:
        return _write_files(model, directory, empty, once, most_bytes)
    except Exception:
        for name in list(left):  # or the other processes would wait
            whole_of(name)
        raise


def _write_files(
    model: Any,
    directory: Path,
    empty: dict[str, Tensor],
    whole_of: Callable[[str], Tensor],
    most_bytes: int,
) -> dict[str, Written]:
    published = {
        name: made for layer in _layers(empty) for name, made in _as_published(model, layer).items()
    }
    files = _group_by_file({name: made.nbytes for name, made in published.items()}, most_bytes)
    layers = _layers(empty)
    waiting: dict[str, Tensor] = {}
    written = {}
    for file, names in files.items():
        while not waiting.keys() >= set(names):
            layer = {name: whole_of(name).to(like.dtype) for name, like in next(layers).items()}
            waiting |= _as_published(model, layer)
            del layer
        tensors = {name: waiting.pop(name) for name in names}
        written[file] = write_whole(directory / file, tensors, {"format": "pt"})
        del tensors
    if len(files) > 1:
        index = {
            "metadata": {
                "total_parameters": sum(tensor.numel() for tensor in empty.values()),
                "total_size": sum(made.nbytes for made in published.values()),
            },
            "weight_map": {name: file for file, names in files.items() for name in names},
        }
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        write_file(directory / INDEX, text)
    return written


def _group_by_file(sizes: dict[str, int], most_bytes: int) -> dict[str, list[str]]:
    """Return file → names in order; a file has at most `most_bytes`, or one tensor."""
    lists: list[list[str]] = []
    held = 0
    for name, size in sizes.items():
        if not lists or held + size > most_bytes:
            lists.append([])
            held = 0
        lists[-1].append(name)
        held += size
    if len(lists) == 1:
        return {WEIGHTS: lists[0]}
    many = f"{len(lists):05d}"
    return {f"model-{n:05d}-of-{many}.safetensors": names for n, names in enumerate(lists, 1)}


def _weights_of(model: Any) -> dict[str, Tensor]:
    """Return the tensors of a model that are saved, by name; tied ones once."""
    kept = model.state_dict().keys() - set(model._keys_to_ignore_on_save or ())
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor for name, tensor in named if name in kept}


def _layers(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors layer by layer: those of a layer are converted together."""
    for _, layer in groupby(tensors.items(), lambda item: layer_of(item[0])):
        yield dict(layer)


def _as_published(model: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names and in the shapes that transformers writes."""
    from transformers.core_model_loading import revert_weight_conversion

    found: dict[str, Tensor] = revert_weight_conversion(model, tensors)
    return found


def _file_dtype(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
