"""The demo's tokenizer: byte-level BPE of 768 pieces, digits one by one, no token unknown.

A digit is a token, so that sums have columns; a spaced letter is a token, so that words can be
turned round; frequent words of the grammars are tokens, so that sentences stay short.
"""

from __future__ import annotations

from random import Random
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from demo_model.skills import SKILLS

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
