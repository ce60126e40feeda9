"""The model: found, loaded, its blocks and its loss.

Reading order:

- `document_attention` — attention within each document, as one operator
- `attention` — attention that never crosses a document
- `custom_code` — code that a model brings along
- `load` — a causal model is found, checked and loaded whole
- `sharded_load` — each process reads only what it will hold
- `save` — a model is written, whole or file by file
- `fused_blocks` — Llama-like blocks that save less: fused norms and feed-forward part
- `experts` — experts that take part in autocast
- `offload` — activations that wait on the CPU for the backward pass
- `blocks` — blocks recomputed, offloaded, compiled
- `loss` — cross-entropy as (sum, count), and NEFTune's noise
- `routers` — where tokens go in a mixture of experts, and the loss that balances them
- `added_tokens` — tokens that a run adds: tokenizer, embedding and head
"""
