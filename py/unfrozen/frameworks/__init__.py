"""A layout in the words of those who run it: torchtitan, Megatron-LM, DeepSpeed, accelerate, ours.

Each module says what its framework makes of a job (`takes`: its own precisions, or a refusal of
what it has no option for) and what to type (`command`). Options were read in the sources that each
names. What a command does not say (the model, the data, the learning rate) is the reader's own.

Reading order:

- `words` — what commands have in common: refusals, machines, lines
- `torchtitan` — FSDP2, tensor, context, pipeline and expert parallelism
- `megatron` — the same, with ZeRO-1 or Megatron-FSDP
- `accelerate` — DDP, FSDP2 and context parallelism under TRL's trainer
- `deepspeed` — ZeRO 1 to 3 under TRL's trainer
- `ours` — `gpu_runner`
- `known` — all of them by name
- `table` — ranked layouts as text and as data
- `solved` — inverse questions: the most that fits, the fewest cards, the best layout
- `page` — … as the page shows them
"""
