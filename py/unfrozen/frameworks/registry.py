"""The frameworks by name, `gpu_runner` (typed as `unfrozen train`) among them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from unfrozen.errors import PlanError
from unfrozen.frameworks import parallel_trainers as parallel
from unfrozen.frameworks import transformers_trainers as trainers
from unfrozen.frameworks.adapting import refuse
from unfrozen.job import Job
from unfrozen.planner.commands import typed_command
from unfrozen.planner.runner import can_train, launch, run_of


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework: `adapt` returns a job as it trains it, or raises PlanError; `write` its command
    by the options of `version`.
    """

    name: str
    label: str
    version: str
    adapt: Callable[[Job], Job]
    write: Callable[[Job], str]

    def command(self, job: Job, known: Mapping[str, str] | None = None) -> str:
        """Return the command below a comment: its version, and the words to fill in, but those that
        are `known`.
        """
        text, words = self.write(job), known or {}
        if words:  # at once: what is filled in holds no word
            one_of = "|".join(_standing(word).pattern for word in sorted(words, key=len)[::-1])
            text = re.sub(one_of, lambda word: words[word[0]], text)
        found = [f"{one}: {what}" for one, what in FILLED_IN.items() if _standing(one).search(text)]
        notes = [f"{self.label}{self.version and f' ({self.version})'}", "; ".join(found)]
        return "\n".join([*(f"# {note}" for note in notes if note), text])


FILLED_IN: Final = {
    "MODEL": "a name on the hub or a folder",
    "CHECKPOINT": "the weights as Megatron-LM saves them",
    "MODULE": "one of torchtitan's, such as llama3",
    "CONFIG": "a function of its config_registry.py",
    "DATA": "a name on the hub or a folder",
    "FILE.jsonl": "your data",
    "TEMPLATE": "a chat template, such as llama3",
    "RATE": "the learning rate",
    "STEPS": "how many to train",
    "OUT": "a new folder",
    "RANK": "the machine's number, from 0",
    "FIRST_HOST": "a machine that the others can reach",
}
"""Words of a command that stand for what no plan knows."""


def _standing(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w/]){re.escape(word)}(?!\w)")


UNFROZEN: Final = "unfrozen"


def _runner_job(job: Job) -> Job:
    """Return the job as the runner trains it. Raises PlanError where it cannot."""
    cluster, recipe = job.cluster, job.recipe
    alone = "none" if cluster.offload == "none" else "zero2"  # a gradient does not stay on the GPU
    refuse(
        job,
        UNFROZEN,
        method=("full",),
        tensor_parallel=(1,),
        context_parallel=(1,),
        pipeline_parallel=(1,),
        expert_parallel=(1,),
        shard_size=(None, cluster.alike),
        offload=("none", "optimizer"),
        sharding=(alone if cluster.gpus == 1 else "zero3",),
        frozen_tower=(True, job.model.architecture.vision),
    )
    model_type, found = job.model.architecture.model_type, launch(job)
    if not can_train(job.model.architecture):
        raise PlanError("model.model_type", model_type, "the runner cannot train it", "use another")
    run = run_of(job, found)
    if run.cluster.offload != cluster.offload:
        bound = "the runner keeps AdamW in CPU memory with fp32 weights, and no other optimizer"
        raise PlanError("cluster.offload", cluster.offload, bound, "set master to fp32")
    same = (recipe.micro_batch, recipe.grad_accum, recipe.seq_len, cluster.gpus)
    if same != (run.recipe.micro_batch, run.recipe.grad_accum, run.recipe.seq_len, found.gpus):
        bound = "the runner cannot divide these sequences evenly"
        raise PlanError("recipe.micro_batch", recipe.micro_batch, bound, "use another")
    sharded = replace(run.cluster, shard_size=cluster.shard_size)
    return replace(run, cluster=sharded)


def _runner_command(job: Job) -> str:
    """Return what to type on every machine; MODEL is a name of the hub or a folder."""
    groups = job.cluster.shard_size
    grouped = f" \\\n  --set shard_size={groups}" if groups else ""
    return typed_command(job, launch(job), "MODEL") + grouped


_TRL: Final = "TRL 1.16, transformers 5.24"

FRAMEWORKS: Final = {
    found.name: found
    for found in (
        Framework(
            "torchtitan", "torchtitan", "0.3", parallel.torchtitan_job, parallel.torchtitan_command
        ),
        Framework(
            "megatron", "Megatron-LM", "core 0.19", parallel.megatron_job, parallel.megatron_command
        ),
        Framework(
            *("deepspeed", "TRL with DeepSpeed", f"0.19, {_TRL}"),
            *(trainers.deepspeed_job, trainers.deepspeed_command),
        ),
        Framework(
            *("accelerate", "TRL with accelerate", f"1.15, {_TRL}"),
            *(trainers.accelerate_job, trainers.trl_command),
        ),
        Framework("axolotl", "Axolotl", "0.19", trainers.axolotl_job, trainers.axolotl_command),
        Framework(
            *("llama-factory", "LLaMA-Factory", "0.9.5"),
            *(trainers.llama_factory_job, trainers.llama_factory_command),
        ),
        Framework("unsloth", "Unsloth", "2026.10", trainers.unsloth_job, trainers.unsloth_command),
        Framework(UNFROZEN, "unfrozen train", "", _runner_job, _runner_command),
    )
}

LAUNCHED: Final = {
    **{name: name for name in FRAMEWORKS},
    **dict.fromkeys(("trl", "transformers"), trainers.ACCELERATE),
}
"""Who starts a job that takes the defaults of a framework (`unfrozen.job.framework_defaults`)."""
