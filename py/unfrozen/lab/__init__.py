"""Experiments small enough to run while one reads, up to a real full fine-tune in the page.

`tiny` and `warm_up` need nothing; everything else needs numpy, the only library used here.

Reading order:

- `tiny` — a network of one hidden layer: pre-training, fine-tuning, forgetting
- `warm_up` — the same network under AdamW: the spike of a run without warm-up
- `pulls` — two weights and three pulls: weight decay, L2-SP, EWC
- `adamw` — AdamW over arrays: what the runner's optimizer is tested against
- `anchors` — L2-SP and EWC: ways to stay near the pre-trained weights
- `products` — matrix products, by numpy or by a kernel of the page
- `operations` — norm, rotation, gated unit, cross-entropy, each with its derivative
- `attention` — causal attention, and its derivative
- `llama` — the model: loss and gradients by hand
- `tokenizer` — text to token ids and back
- `safetensors` — weights out of a file
- `rows` — data as ids, with a mask of what is learned
- `answer` — greedy answers
- `demo` — the demo model and its rows
- `choices` — what a run may be told
- `step` — one step: gradients, penalties, update
- `meter` — what numpy holds at each instant
- `predict` — what `unfrozen.memory` says it will
- `fine_tune` — a run, as a stream of events
- `page_run` — what the page's element shows: dials, presets, a challenge
- `session` — a reader's runs and questions, as the page's worker drives them
"""
