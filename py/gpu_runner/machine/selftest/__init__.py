"""Whether this machine computes what it should: every path of the runner, a figure and its bound.

Each check is one sentence. What a machine has not (a card, a second one, a compiler) is skipped and
said; what breaks is a failed check with its error, and the walk goes on. All of it takes under two
minutes. The checks ask the installed PyTorch and transformers, not our tests' expectations of them.

Reading order:

- `figures` — a check, its figure, and what it is carried out on
- `numerics` — gradients, loss, accumulation, packing, resuming, skipping
- `kernels` — attention by every kernel, beside scores written out in 64 bits
- `formats` — fp32, TF32, bf16: gradients of a model beside those in 64 bits
- `updates` — every optimizer beside its formula; rounded weights beside exact ones
- `steps` — what a block keeps, losses, experts, files, memory, waits
- `pair` — two processes beside one
- `report` — what was found and where, as JSON or Markdown to send
- `walk` — all of it, a line a check
"""
