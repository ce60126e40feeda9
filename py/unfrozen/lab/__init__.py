"""Experiments small enough to run while one reads, up to a real full fine-tune in the page.

`tiny` needs nothing; everything else needs numpy, the only library anything here uses.

Reading order:

1. `tiny` — a network of one hidden layer: pre-training, fine-tuning, forgetting
2. `adamw` — AdamW over arrays: what the runner's optimizer is tested against
3. `anchors` — L2-SP and EWC: ways to stay near the pre-trained weights
4. `products` — matrix products, by numpy or by a kernel of the page
5. `operations` — norm, rotation, gated unit, cross-entropy, each with its derivative
6. `attention` — causal attention, and its derivative
7. `llama` — the model: loss and gradients by hand
8. `tokenizer` — text to token ids and back
9. `safetensors` — weights out of a file
10. `rows` — data as ids, with a mask of what is learned
11. `answer` — greedy answers
12. `demo` — the demo model and its rows
13. `choices` — what a run may be told
14. `step` — one step: gradients, penalties, update
15. `meter` — what numpy holds at each instant
16. `predict` — what `unfrozen.memory` says it will
17. `fine_tune` — a run, as a stream of events
"""
