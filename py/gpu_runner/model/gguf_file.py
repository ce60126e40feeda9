"""GGUF files: parsed once where transformers parses one three times, and written from a model.

Each parse takes seconds, for a vocabulary holds a hundred thousand texts: gguf makes several slices
of a memory map of every one, transformers a list of its bytes, and a map of all names of tensors
for every module of a model.

Names of what is written are those of the `gguf` package, the reference of llama.cpp. Three things
differ from a Hugging Face model: rows of queries and keys of the Llama family stand in the order of
the original rotary embedding (pairs side by side); vectors stay in fp32; and the pre-tokenizer is a
name, which stands for code in llama.cpp. What it has no name for is refused.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from struct import Struct
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from gpu_runner.errors import UsageError

GgufType = Literal["f16", "bf16", "q8_0"]
TYPES: Final[tuple[GgufType, ...]] = ("f16", "bf16", "q8_0")
ARCHITECTURES: Final = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""llama.cpp's name of the architecture by `model_type`."""
OTHERWISE: Final = "llama.cpp's convert_hf_to_gguf.py may: give it what `export --to hf` writes"
_SPLITS: Final = {  # how text is split before merges: the names that llama.cpp has for it
    "digits, gpt-2": "smollm",
    "gpt-2": "gpt-2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "llama-bpe",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2",
}
_NORMAL, _CONTROL, _USER = 1, 3, 4  # kinds of tokens


def parse(file: Path) -> Any:
    """Return gguf's reader of a file, whose arrays hold Python's numbers and texts.

    Raises ValueError for an array that is longer than its file.
    """
    from gguf.constants import GGUFValueType
    from gguf.gguf_reader import GGUFReader

    class ArrayReader(GGUFReader):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, np.asarray(value) if name == "data" else value)

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            start = orig_offs + 12  # behind the type of its items and their number
            if raw_type != GGUFValueType.ARRAY or start > len(self.data):
                return super()._get_field_parts(orig_offs, raw_type)
            item = GGUFValueType(self._get(orig_offs, np.uint32)[0])
            length = int(self._get(orig_offs + 4, np.uint64)[0])
            if item == GGUFValueType.STRING:
                swapped = self.byte_order == "S"
                values, end = _texts(self.data.data, start, length, swapped=swapped)
            elif item in self.gguf_scalar_to_np:
                number = self.gguf_scalar_to_np[item]
                there = (len(self.data) - start) // np.dtype(number).itemsize
                numbers = self._get(start, number, min(length, there))
                values, end = numbers.tolist(), start + numbers.nbytes
            else:
                return super()._get_field_parts(orig_offs, raw_type)
            if len(values) < length:
                raise ValueError(f"an array of {length:,} items ends with the file")
            as_it_is = [GGUFValueType.ARRAY, None]
            return end - orig_offs, values, list(range(length)), as_it_is

    return ArrayReader(file)


def _texts(data: memoryview, start: int, length: int, *, swapped: bool) -> tuple[list[str], int]:
    """Return at most `length` texts from `start` on, each behind its size, and where they end."""
    size = Struct(">Q" if swapped == (sys.byteorder == "little") else "<Q")
    texts: list[str] = []
    for _ in range(length):
        begin = start + size.size
        end = begin + size.unpack_from(data, start)[0] if begin <= len(data) else begin
        if end > len(data):
            break
        texts.append(str(data[begin:end], "utf-8"))
        start = end
    return texts, start


@lru_cache(maxsize=1)
def _parse_once(file: Path, *_: int) -> Any:
    return parse(file)


@contextmanager
def parsed_once() -> Iterator[None]:
    """While this lasts, transformers gets the parsed file that it got the last time."""
    import gguf

    def reader(file: str | Path) -> Any:
        found = Path(file).stat()
        return _parse_once(Path(file), found.st_mtime_ns, found.st_size)

    names = gguf.get_tensor_name_map
    own = {"GGUFReader": gguf.GGUFReader, "get_tensor_name_map": names}
    vars(gguf).update(GGUFReader=reader, get_tensor_name_map=cache(names))
    try:
        yield
    finally:
        vars(gguf).update(own)


forget = _parse_once.cache_clear
"""Let the parsed file go: nothing reads it after the weights."""


class CannotWrite(UsageError):
    """A model or a tokenizer that this module does not write."""


@dataclass(frozen=True, slots=True)
class GgufModel:
    """What is written: a model in CPU memory, its tokenizer, a name, the trained end token."""

    model: Any
    tokenizer: Any
    name: str
    end: int | None = None
    """The token that ends trained answers; None where it is not known."""

    def write(self, file: Path, kind: GgufType) -> None:
        """Write it. Raises `CannotWrite`, `OSError`."""
        import gguf

        config = self.model.config
        architecture = _architecture(config)
        vocabulary = _read_vocabulary(self.tokenizer, config.vocab_size)
        writer = gguf.GGUFWriter(file, architecture)
        try:
            _add_shape(writer, config, self.name, kind)
            _add_vocabulary(writer, vocabulary)
            self._add_ends(writer)
            for name, tensor in _tensors(self.model, architecture):
                data, dtype = _as_stored(tensor, kind)
                writer.add_tensor(name, data, raw_dtype=dtype)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()

    def _add_ends(self, writer: Any) -> None:
        """Add the tokens that begin, end and pad texts, and the chat template.

        Generation ends at `eos` and at `eot`: so the token that ends trained answers is one.
        """
        tokenizer = self.tokenizer
        settings = self.model.generation_config.eos_token_id
        ends = settings if isinstance(settings, list) else [settings]
        eos = next((one for one in ends if one is not None), tokenizer.eos_token_id)
        if eos is None:
            raise CannotWrite("the tokenizer has no end token: a model that never stops is no use.")
        writer.add_eos_token_id(int(eos))
        if self.end is not None and self.end != eos:
            writer.add_eot_token_id(self.end)
        bos = tokenizer.bos_token_id  # named in any case: else readers take a token of their own
        writer.add_bos_token_id(int(eos if bos is None else bos))
        writer.add_pad_token_id(int(tokenizer.pad_token_id or eos))
        first = tokenizer("a").input_ids[:1]
        writer.add_add_bos_token(bos is not None and first == [bos])
        if tokenizer.chat_template:
            writer.add_chat_template(tokenizer.chat_template)


def _architecture(config: Any) -> str:
    """Return llama.cpp's name of an architecture. Raises `CannotWrite`."""
    kind = config.model_type
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise CannotWrite(f"model type {kind} is not written as GGUF here ({known}): {OTHERWISE}.")
    rope = getattr(config, "rope_parameters", None) or {}
    scaling = rope.get("rope_type", "default")
    if scaling != "default":
        raise CannotWrite(f"rotary embeddings of type {scaling} are not written here: {OTHERWISE}.")
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True):
        raise CannotWrite(f"a sliding window ({window:,} tokens) is not written here: {OTHERWISE}.")
    return ARCHITECTURES[kind]


def _add_shape(writer: Any, config: Any, name: str, kind: GgufType) -> None:
    import gguf

    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    rope = getattr(config, "rope_parameters", None) or {}
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    types = {"f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
    writer.add_file_type(gguf.LlamaFileType[types[kind]])


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    split: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str]


def _read_vocabulary(tokenizer: Any, rows: int) -> _Vocabulary:
    """Return a byte-level BPE as GGUF has it, padded to the rows of the embedding."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    model = data["model"]
    if model["type"] != "BPE" or model.get("byte_fallback"):
        raise CannotWrite(f"only byte-level BPE tokenizers are written as GGUF here: {OTHERWISE}.")
    by_id = {token: text for text, token in model["vocab"].items()}
    added = {one["id"]: one for one in data["added_tokens"]}
    tokens, kinds = [], []
    for token in range(rows):
        if token in added:
            tokens.append(added[token]["content"])
            kinds.append(_CONTROL if added[token]["special"] else _USER)
        else:
            tokens.append(by_id.get(token, f"[PAD{token}]"))
            kinds.append(_NORMAL if token in by_id else _USER)
    merges = [one if isinstance(one, str) else " ".join(one) for one in model["merges"]]
    return _Vocabulary(_split_of(data), tokens, kinds, merges)


def _split_of(data: dict[str, Any]) -> str:
    """Return llama.cpp's name of a pre-tokenizer. Raises `CannotWrite` where it has none."""
    given = data["pre_tokenizer"] or {}
    parts = given.get("pretokenizers", [given])
    found = []
    for part in parts:
        if part.get("type") == "Digits" and part.get("individual_digits"):
            found.append("digits")
        elif part.get("type") == "Split":
            found.append(part["pattern"].get("Regex", ""))
        elif part.get("type") == "ByteLevel":
            found += ["gpt-2"] if part.get("use_regex") else []
        else:
            found.append(str(part.get("type")))
    name = _SPLITS.get(", ".join(found))
    if name is None or data["normalizer"] not in (None, {"type": "NFC"}):
        raise CannotWrite(f"llama.cpp's name of this pre-tokenizer is not known here: {OTHERWISE}.")
    return name


def _add_vocabulary(writer: Any, found: _Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(found.split)
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.kinds)
    writer.add_token_merges(found.merges)


def _tensors(model: Any, architecture: str) -> Iterator[tuple[str, Tensor]]:
    """Yield (name in the file, tensor) of each parameter, in fp32; tied ones once."""
    import gguf

    config = model.config
    names = gguf.get_tensor_name_map(
        gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers
    )
    for name, parameter in model.named_parameters():
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if stored is None:
            raise CannotWrite(f"{name} has no name in GGUF: {OTHERWISE}.")
        tensor = parameter.detach().float()
        if architecture == "llama" and ".self_attn.q_proj." in name:
            tensor = _pairs_side_by_side(tensor, config.num_attention_heads)
        elif architecture == "llama" and ".self_attn.k_proj." in name:
            tensor = _pairs_side_by_side(tensor, config.num_key_value_heads)
        yield stored, tensor


def _pairs_side_by_side(tensor: Tensor, heads: int) -> Tensor:
    """Reorder the rows of each head: Hugging Face has the first of all pairs, then the second."""
    shape = tensor.shape
    return tensor.view(heads, 2, -1, *shape[1:]).transpose(1, 2).reshape(shape)


def _as_stored(tensor: Tensor, kind: GgufType) -> tuple[np.ndarray[Any, Any], Any]:
    """Return the bytes of a tensor and its type: vectors in fp32, rows not in blocks in f16."""
    import gguf

    types = gguf.GGMLQuantizationType
    data = tensor.contiguous().numpy()
    if tensor.dim() < 2:
        return data, types.F32
    if kind == "bf16":
        return tensor.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint8), types.BF16
    if kind == "q8_0" and tensor.shape[-1] % gguf.GGML_QUANT_SIZES[types.Q8_0][0] == 0:
        return gguf.quants.quantize(data, types.Q8_0), types.Q8_0
    return data.astype(np.float16), types.F16
