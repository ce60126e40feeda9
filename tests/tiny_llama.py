"""A real Llama with random weights and a real tokenizer that fits a test: 27,040 weights."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tokenizer(*, chat: bool = False) -> PreTrainedTokenizerFast:
    """One token a byte, and </s>; offsets included."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {letter: index + 1 for index, letter in enumerate(sorted(letters))}
    core = Tokenizer(models.BPE({"</s>": 0, **vocabulary}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["</s>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="</s>")
    if chat:
        fast.chat_template = CHAT
    return fast


def config(**changes: object) -> LlamaConfig:
    """Two layers of width 32; tied, as small models are."""
    sizes = {
        "vocab_size": 264,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    return LlamaConfig(**{**sizes, **changes})


def model(seed: int = 0, **changes: object) -> LlamaForCausalLM:
    """Random weights that depend on `seed` alone."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(config(**changes))


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    """A JSONL file of `rows`."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def sums(count: int) -> list[dict[str, object]]:
    """Prompt and completion rows of different lengths."""
    pairs = [(7 * i % 50, 11 * i % 120) for i in range(count)]
    return [{"prompt": f"{a}+{b}=", "completion": str(a + b)} for a, b in pairs]


def directory(path: Path, *, chat: bool = False, **changes: object) -> Path:
    """A model directory as one would download it."""
    model(**changes).save_pretrained(path)
    tokenizer(chat=chat).save_pretrained(path)
    return path
