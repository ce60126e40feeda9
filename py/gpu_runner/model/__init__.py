"""The model: found, loaded, its blocks and its loss.

Reading order:

- `documents` — attention within each document, as one operator
- `attention` — attention that never crosses a document
- `files` — found, read whole or in part, written
- `fused` — Llama-like blocks that keep less: norms and feed-forward part, fused
- `experts` — experts that take part in autocast
- `offload` — what waits on the host for the backward pass, and its way there and back
- `blocks` — what a block keeps: recomputed, moved to the host, compiled
- `loss` — cross-entropy as (sum, count)
- `noise` — noise on the embeddings of a training step
- `routing` — what a router says and whom it chooses, in any mixture of experts
- `router` — where tokens go in a mixture of experts, and what spreads them
- `vocabulary` — tokens that a run adds: tokenizer, embedding and head
"""
