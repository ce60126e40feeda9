"""A model in files.

Reading order:

- `own_code` — code that a model brings along
- `checks` — what must be so before a model is trained
- `load` — find a causal model, load every weight of it
- `names` — which stored tensors make which parameter
- `share` — each process reads only what it will hold
- `save` — what is left on disk, whole or file by file
"""
