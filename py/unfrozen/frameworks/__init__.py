"""A layout as the command of a framework: torchtitan, Megatron-LM, TRL, Axolotl, ours and others;
and a job from the files and commands that their users have.

Each framework adapts a job (its own dtypes, or a refusal of what it has no option for) and has the
command for that. Options were read in the sources that each module names, and are tested against
them. What no plan knows (the model, the data, the learning rate) is a word in capitals.

Reading order:

- `command_lines` — refusals, launchers and lines that all of them need
- `torchtitan` — FSDP2, tensor, context, pipeline and expert parallelism
- `megatron` — the same, with ZeRO-1 or Megatron-FSDP
- `trl` — TRL's trainer over accelerate (DDP, FSDP2) or DeepSpeed (ZeRO 1 to 3), with adapters
- `axolotl` — the same over accelerate, as a file of settings
- `llama_factory` — alone, under DDP or DeepSpeed, as a file of settings
- `unsloth` — adapters or all weights on one GPU
- `registry` — all of them by name, and `gpu_runner`
- `tables` — a layout in letters; inverse questions as text and as data
- `yaml_text` — YAML, by the standard library alone
- `keys` — what each key of a trainer's file says, and which are of no effect
- `script` — shell scripts and command lines, of which nothing is run
- `trained` — a job of a trainer of transformers, from what the keys say
- `component_names` — the same for torchtitan and torchtune, whose files name components
- `headers` — what the headers of safetensors and GGUF say of a model
- `reading` — the job of any such file, and how it was read
"""
