"""The demo network, a Llama of 0.8 million parameters; its tokenizer; how rows become its tensors.

The tokenizer is byte-level BPE of 768 pieces, no token unknown. A digit is a token, so that sums
have columns; a spaced letter is one, so that words can be turned round; frequent words of the
grammars are tokens, so that sentences stay short. Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from demo_model.skills import SKILLS, PromptCompletion

#: Label of a position that carries no loss.
IGNORED: Final = -100


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A freshly initialised network: 4 layers, width 128, 4 heads on 2 key-value heads, tied."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def encode(
    rows: Sequence[PromptCompletion], tokenizer: PreTrainedTokenizerFast
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows as right-padded tensors; padding comes last, so causal attention never looks at it.

    Returns:
        ids (B, T); targets (B, T), already shifted so that `targets[:, t]` follows `ids[:, t]`,
        `IGNORED` on padding; completion (B, T), true where the target belongs to the completion
        or is the end token.
    """
    end: int = tokenizer.eos_token_id
    prompts = tokenizer([row.prompt for row in rows]).input_ids
    completions = tokenizer([row.completion for row in rows]).input_ids
    length = max(len(p) + len(c) for p, c in zip(prompts, completions, strict=True))
    ids = torch.full((len(rows), length), end)
    targets = torch.full((len(rows), length), IGNORED)
    completion = torch.zeros((len(rows), length), dtype=torch.bool)
    for i, (prompt, answer) in enumerate(zip(prompts, completions, strict=True)):
        document = torch.tensor([*prompt, *answer, end])
        ids[i, : len(document) - 1] = document[:-1]
        targets[i, : len(document) - 1] = document[1:]
        completion[i, len(prompt) - 1 : len(document) - 1] = True
    return ids, targets, completion


def token_losses(model: LlamaForCausalLM, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of every target in nats, (B, T); zero on padding."""
    logits = model(input_ids=ids).logits  # (B, T, V)
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    ).view_as(targets)


@torch.no_grad()
def score(
    model: LlamaForCausalLM, rows: Sequence[PromptCompletion], tokenizer: PreTrainedTokenizerFast
) -> tuple[float, float]:
    """Held-out loss a completion token in nats, and the share of rows answered exactly.

    A row is exact when the largest logit is right at every position of the completion and at its
    end, given the right tokens before; greedy decoding then writes exactly that completion.
    """
    ids, targets, completion = encode(rows, tokenizer)
    logits = model(input_ids=ids).logits  # (B, T, V)
    losses = torch.nn.functional.cross_entropy(
        logits[completion], targets[completion], reduction="mean"
    )
    right = (logits.argmax(-1) == targets) | ~completion
    return losses.item(), right.all(dim=1).float().mean().item()


VOCABULARY_SIZE: Final = 768
END_TOKEN: Final = "<|end|>"
#: Documents of each skill the merges are counted on.
_CORPUS_ROWS: Final = 4000


def train_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Count merges on a sample of the pre-training stream; same seed, same tokenizer.

    The end token closes every document and also pads; nothing is put in front of a text.
    """
    corpus = [
        "".join(draw(rng))
        for skill, (draw, _) in SKILLS.items()
        for rng in [Random(f"{seed}-tokenizer-{skill}")]
        for _ in range(_CORPUS_ROWS)
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_TOKEN,
        pad_token=END_TOKEN,
        clean_up_tokenization_spaces=False,
        model_max_length=128,
    )
