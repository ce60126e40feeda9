"""The model: found, loaded, its blocks and its loss.

Reading order:

- `documents` — attention within each document, as one operator
- `attention` — attention that never crosses a document
- `own_code` — code that a model brings along
- `load` — find a causal model, load every weight of it
- `fused` — Llama-like blocks that keep less: norms and feed-forward part, fused
- `offload` — what waits on the host for the backward pass, and its way there and back
- `blocks` — what a block keeps: recomputed, moved to the host, compiled
- `loss` — cross-entropy as (sum, count)
- `noise` — noise on the embeddings of a training step
- `router` — where tokens go in a mixture of experts, and what spreads them
- `vocabulary` — tokens that a run adds: tokenizer, embedding and head
"""
