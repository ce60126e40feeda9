"""Experiments that run in the page, up to a full fine-tune of a small model.

`tiny` and `pulls` need nothing; everything else needs numpy, the only library used here.

Reading order:

- `tiny` — a network of one hidden layer: pre-training, fine-tuning, forgetting
- `pulls` — two weights and three penalties: weight decay, L2-SP, EWC
- `optimizer` — AdamW over arrays, L2-SP and EWC: what the runner's are tested against
- `operations` — matmul, norm, rotation, gated unit, cross-entropy, attention, with derivatives
- `llama` — the model: loss and gradients by hand
- `tokenizer` — text to token ids and back
- `demo` — the demo model and its data, out of their files
- `answers` — greedy ones; losses and exact match of held-out rows; models between two models
- `choices` — the settings of a run: bounds, dials, presets, a challenge
- `step` — one step: gradients, penalties, update
- `memory` — what numpy holds at each instant, and the prediction
- `fine_tune` — a run, as a stream of events
- `session` — a reader's runs and questions, as the page's worker drives them
"""
