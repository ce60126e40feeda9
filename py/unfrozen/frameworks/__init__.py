"""A layout as the command of a framework: torchtitan, Megatron-LM, TRL, Axolotl, ours and others;
and a job from the files and commands that their users have.

A framework is a table (`axolotl.toml`), read both ways: its keys and their words, its defaults, the
text of its command. Options were read in the sources that each names, and are tested against them.
Beside it stands what is no plain key: a job as the framework trains it (its own dtypes, or a
refusal of what it has no option for), and layouts.

Reading order:

- `formats` — the tables, and which trainer a file is of
- `adapting` — refusals, states and machines that all frameworks need
- `facts` — what a file asks for, and what a job is, under one name for all trainers
- `yaml_text` — YAML, by the standard library alone
- `writing` — commands and files by the tables
- `parallel_trainers` — torchtitan and Megatron-LM: FSDP2, ZeRO-1, four parallelisms
- `transformers_trainers` — TRL, Axolotl, LLaMA-Factory and Unsloth
- `registry` — all of them by name, and `gpu_runner`
- `tables` — a layout in letters; inverse questions as text and as data
- `script` — shell scripts and command lines, of which nothing is run
- `trained` — a job of a trainer of transformers, from what the keys say
- `component_names` — the same for torchtitan and torchtune, whose files name components
- `headers` — what the headers of safetensors and GGUF say of a model
- `reading` — the job of any such file, and how it was read
"""
