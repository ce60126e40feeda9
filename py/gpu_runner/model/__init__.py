"""The model: loading and saving, attention, blocks and loss.

Reading order:

- `replaced_here` — a function of another library, replaced in some threads
- `document_attention` — attention within documents as one operator
- `attention` — attention that never crosses a document, for models of transformers
- `gguf_file` — a GGUF file, parsed once, or written from a model
- `load` — a causal model is found, checked and loaded whole
- `meta_tensors` — the tensors of a model that is built without memory, for a plan
- `sharded_load` — each process reads only its shard
- `save` — a model is written, whole or file by file
- `fused_blocks` — blocks of Llama-like models that save fewer activations
- `offload` — saved activations wait in CPU memory
- `blocks` — blocks checkpointed and compiled; experts under autocast
- `head` — how the logits follow from the head, asked of the model
- `loss` — cross-entropy as (sum, count)
- `routers` — where tokens go in a mixture of experts, and the loss that balances them
- `added_tokens` — tokens that a run adds: tokenizer, embedding and head
"""
