"""The planner's command: torchrun and the runner read it, and it computes the plan's step."""

import itertools
import shlex
from dataclasses import dataclass, replace
from typing import Any

import pytest
import typer.main
from torch.distributed.run import get_args_parser

from conftest import matrix
from gpu_runner.cli.application import application
from gpu_runner.cli.options import config_from_options
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import BatchShape
from gpu_runner.memory.formula import build_recipe
from gpu_runner.run.fine_tune import check_processes
from gpu_runner.world import World
from unfrozen import runner
from unfrozen.hardware import NODE_GPUS
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.planner import glance
from unfrozen.planner.presets import PRESETS
from unfrozen.planner.runner import can_train, launch, run_of
from unfrozen.planner.state import State, job_json

RECIPES: dict[str, State] = {preset.key: preset.apply({}) for preset in PRESETS} | {
    "batches": {"micro_batch": "6", "grad_accum": "4"},
    "early": {"optimizer_in_backward": "true"},
    "muon": {"optimizer": "muon", "activation_offload": "true"},
    "8-bit": {"moments": "int8", "master": "null"},
    "adapters": {"method": "qlora", "gpu": "RTX 4090"},
    "momentum": {"optimizer": "sgd_momentum", "params": "bf16", "master": "null"},
    "eager": {"kernels": "eager", "attention": "sdpa", "loss": "chunked"},
    "compiled": {"kernels": "fused", "checkpointing": "full"},
    "selective": {"kernels": "fused_block", "checkpointing": "selective"},
    "capped": {"model": "google/gemma-2-2b", "loss": "fused_linear"},
    "kahan": {"params": "bf16", "master": "null", "rounding": "kahan"},
    "rounded": {"params": "bf16", "master": "null", "rounding": "stochastic", "optimizer": "muon"},
    "fp8": {"gpu": "H100 SXM", "compute": "fp8", "optimizer": "lion"},
}
CLUSTERS: dict[str, State] = {
    "one": {},
    "pair": {"gpus": "2", "sharding": "zero1"},
    "machine": {"gpus": "8", "sharding": "zero3"},
    "tensor": {"gpus": "8", "tensor_parallel": "4", "sequence_parallel": "true"},
    "context": {"gpus": "8", "context_parallel": "2", "sharding": "zero2"},
    "odd": {"gpus": "13", "sharding": "zero3"},
    "offload": {"gpus": "16", "sharding": "zero3", "offload": "params"},
    "host": {"offload": "optimizer"},
    "hosts": {"gpus": "8", "sharding": "zero3", "offload": "optimizer"},
    "many": {"gpus": "1024", "sharding": "zero3"},
    "all": {"gpus": "64", "tensor_parallel": "8", "context_parallel": "2", "sharding": "zero1"},
}
STATES = {
    f"{recipe}-{cluster}": RECIPES[recipe] | CLUSTERS[cluster]
    for recipe, cluster in itertools.product(RECIPES, CLUSTERS)
}
ONE_OF_EACH = [STATES[f"{one}-{two}"] for one, two in zip(RECIPES, itertools.cycle(CLUSTERS))]


@dataclass
class Told:
    """What a command starts: processes on machines, and the run that the runner reads from it."""

    machines: int
    each: int
    config: TrainConfig
    torchrun: Any


def words(state: State) -> list[str]:
    """The command to copy, as a shell splits it."""
    command: str = glance(state)["commands"]["run"]  # type: ignore[index]
    return shlex.split(command.replace("\\\n", " "))


def told(state: State) -> Told:
    """The command, read by torchrun's parser and the runner's, and checked as the runner does."""
    found = words(state)
    if found[0] == "unfrozen":
        return Told(1, 1, read(found[1:], 1), None)
    assert found[0] == "torchrun"
    torchrun = get_args_parser().parse_args(found[1:])
    assert (torchrun.module, torchrun.training_script) == (True, "gpu_runner")
    machines, each = int(torchrun.nnodes.split(":")[0]), int(torchrun.nproc_per_node)
    gpus = launch(Job.read(job_json(state))).gpus
    return Told(machines, each, read(torchrun.training_script_args, gpus), torchrun)


def read(arguments: list[str], processes: int) -> TrainConfig:
    """The run of these arguments; refused by the runner where that many processes cannot do it."""
    name, *options = arguments
    command = typer.main.get_command(application()).commands[name]  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", str(processes))
        config = config_from_options(command.make_context(name, options).params)
    check_processes(config, World(size=processes))
    return config


def differs(state: State) -> str:
    """What the page says the command does otherwise."""
    return "; ".join(glance(state)["commands"]["differs"])  # type: ignore[index]


def needs(state: State) -> Any:
    """What the page says the command takes, where it is not the plan."""
    return glance(state)["commands"]["needs"]  # type: ignore[index]


def where(state: State) -> str:
    """What the page says beside the command."""
    return str(glance(state)["commands"]["where"])  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize("state", matrix(STATES.values(), *ONE_OF_EACH), ids=STATES)
def test_the_command_is_one_the_runner_takes_and_computes_the_plans_step(state: State) -> None:
    job, found = Job.read(job_json(state)), told(state)
    sequences = job.recipe.micro_batch * job.recipe.grad_accum * job.cluster.replicas
    assert found.config.micro_batch * found.config.grad_accum == sequences
    assert found.config.micro_batch <= job.recipe.micro_batch
    assert found.config.checkpointing == job.recipe.checkpointing


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_its_processes_are_the_plans_gpus_or_the_page_says_why_not(cluster: str) -> None:
    state = CLUSTERS[cluster]
    cluster_ = Job.read(job_json(state)).cluster
    found, planned = told(state), launch(Job.read(job_json(state)))
    assert found.machines * found.each >= planned.gpus > (found.machines - 1) * found.each
    assert found.each <= NODE_GPUS
    assert (planned.gpus < cluster_.gpus) == ("step's sequences" in differs(state))
    assert planned.gpus == cluster_.gpus or cluster_.replicas < cluster_.gpus
    if not cluster_.tensor_parallel > 1 and not cluster_.context_parallel > 1:
        assert planned.gpus == cluster_.gpus


@pytest.mark.slow
@pytest.mark.parametrize("state", matrix(STATES.values(), *ONE_OF_EACH), ids=STATES)
def test_what_the_page_says_the_command_takes_is_what_the_runner_predicts(state: State) -> None:
    job = Job.read(job_json(state))
    run, config = run_of(job, launch(job)), told(state).config
    step = run.recipe
    shape = BatchShape(step.micro_batch, step.seq_len, step.tokens, step.grad_accum)
    on_card = replace(config, device="cuda")  # where the page's command runs, and measures
    assert build_recipe(on_card, config.compute, shape, run.model) == step
    away = config.optimizer_offload
    assert run.cluster == Cluster.of_runner(launch(job).gpus, offload=away) or run.cluster.gpus == 1
    if differs(state):
        assert f"{plan_job(run).device_bytes / 2**30:.3g}"[:3] in needs(state)["text"]


TRAINABLE = [name for name, found in CATALOGUE.items() if can_train(found.model.architecture)]


def test_what_reads_both_ways_is_planned_and_not_trained_here() -> None:
    others = set(CATALOGUE) - set(TRAINABLE)
    assert {"FacebookAI/roberta-base", "google-t5/t5-base"} <= others
    assert "google/gemma-3-4b-pt" in TRAINABLE  # its text, beside the frozen encoder
    assert "cannot train" in differs({"model": "google-t5/t5-base"})


@pytest.mark.parametrize("hub_id", matrix(TRAINABLE, *TRAINABLE[::20]))
def test_a_plan_left_alone_is_that_of_the_shortest_command(hub_id: str) -> None:
    for gpus in ({}, CLUSTERS["machine"]):
        state = {"model": hub_id, "params": "fp32"} | gpus
        job = Job.read(job_json(state))
        assert run_of(job, launch(job)) == job
        assert "--set" not in words(state)
        assert (differs(state), needs(state)) == ("", None)
    assert "fused=false" in words(state | {"kernels": "eager"}) or "Llama" not in hub_id


def test_where_the_command_needs_more_than_the_plan_it_says_whether_that_fits() -> None:
    state = {"gpus": "8", "tensor_parallel": "8", "params": "fp32"}
    assert glance(state)["verdict"]["kind"] == "yes"  # type: ignore[index]
    assert needs(state)["worse"]
    assert "of 79.1\xa0GiB: it does not fit." in needs(state)["text"]
    batch = state | {"micro_batch": "8"}  # of which each GPU takes one sequence, and a share
    assert "on each GPU: it fits." in needs(batch)["text"]
    assert not needs(batch)["worse"]
    assert needs(batch | {"gpu": ""})["text"].endswith("GiB on each GPU.")


def test_what_blocks_logits_and_attention_of_a_model_are_is_reported_where_the_plan_differs() -> (
    None
):
    assert "Attention implementation: FlashAttention, not SDPA" in differs({"attention": "sdpa"})
    assert "Rounding of bf16 updates: " in differs(RECIPES["8-bit"] | {"rounding": "kahan"})
    assert "Rounding of bf16 updates: " not in differs(RECIPES["kahan"])
    assert "Kernels: " in differs(RECIPES["selective"])
    assert "Kernels: " in differs({"model": "google/gemma-2-2b", "kernels": "fused_block"})
    capped = differs({"model": "google/gemma-2-2b", "attention": "eager", "loss": "linear"})
    assert "Attention implementation: " in capped
    assert "Cross-entropy: " in capped


def test_a_rack_of_trays_is_started_tray_by_tray() -> None:
    state = {"gpu": "GB200", "gpus": "72", "sharding": "zero3"}
    assert (told(state).machines, told(state).each) == (18, 4)
    assert "18 machines; 4 GPUs per machine" in where(state)
    assert (told({**state, "gpus": "4"}).machines, told({**state, "gpus": "8"}).machines) == (1, 2)


def test_one_gpu_needs_no_torchrun_and_one_machine_no_meeting_place() -> None:
    assert told({}).torchrun is None
    assert where({}) == ""
    machine = told(CLUSTERS["machine"])
    assert (machine.torchrun.standalone, machine.machines, machine.each) == (True, 1, 8)
    assert "all 8 GPUs together" in where(CLUSTERS["machine"])


def test_machines_meet_at_the_first_of_them() -> None:
    found = told({"gpus": "32", "sharding": "zero3"})
    assert (found.machines, found.each, found.torchrun.standalone) == (4, 8, False)
    assert (found.torchrun.rdzv_backend, found.torchrun.rdzv_id) == ("c10d", "1")
    assert found.torchrun.rdzv_endpoint == "FIRST_HOST:29500"
    assert "on each of 4 machines; 8 GPUs per" in where({"gpus": "32", "sharding": "zero3"})


def test_gpus_that_fill_no_machine_leave_the_last_one_fewer() -> None:
    assert told(CLUSTERS["odd"]).each == 8
    assert "on the last with --nproc-per-node 5" in where(CLUSTERS["odd"])
    twelve = {"gpus": "12", "sharding": "zero3"}
    assert (told(twelve).machines, told(twelve).each) == (2, 6)
    assert "on the last" not in where(twelve)


def test_accumulation_counts_the_micro_batches_of_all_gpus() -> None:
    config = told(CLUSTERS["machine"] | {"micro_batch": "6", "grad_accum": "4"}).config
    assert (config.micro_batch, config.grad_accum) == (6, 32)
    config = told(CLUSTERS["tensor"] | {"micro_batch": "6", "grad_accum": "4"}).config
    assert (config.micro_batch, config.grad_accum) == (6, 8)
    config = told(CLUSTERS["tensor"] | {"micro_batch": "6", "grad_accum": "2"}).config
    assert (config.micro_batch, config.grad_accum) == (3, 8)


def test_what_gpus_share_in_the_plan_and_not_in_the_run_is_reported() -> None:
    exact = {"params": "fp32"}
    assert differs(CLUSTERS["machine"] | exact) == ""
    assert "Sharding: ZeRO-3" in differs(CLUSTERS["pair"] | exact)
    assert "Tensor parallel size: 1, not 4" in differs(CLUSTERS["tensor"])
    assert "Context parallel size: 1, not 2" in differs(CLUSTERS["context"])
    apart = differs(CLUSTERS["machine"] | exact | {"outer_apart": "false"})
    assert apart == "Wrap embedding and head separately: on, not off"
    assert "CPU offload: none, not " in differs(CLUSTERS["offload"])
    assert ": 3, not 6" in differs(CLUSTERS["tensor"] | {"micro_batch": "6"})


def test_what_several_gpus_cannot_do_is_left_out_and_said() -> None:
    state = RECIPES["8-bit"] | {"activation_offload": "true"}
    assert told(state).config.activation_offload
    assert not told(state | CLUSTERS["machine"]).config.activation_offload
    assert "Offload activations to CPU: off" in differs(state | CLUSTERS["machine"])


def test_what_several_gpus_can_do_is_asked_of_them() -> None:
    assert told(RECIPES["muon"] | CLUSTERS["machine"]).config.optimizer == "muon"
    assert told(RECIPES["8-bit"] | CLUSTERS["machine"]).config.optimizer == "adamw8bit"
    early = told(RECIPES["early"] | CLUSTERS["machine"]).config
    assert (early.optimizer_in_backward, early.grad_accum, early.clip) == (True, 8, 0)
    shared = RECIPES["early"] | CLUSTERS["tensor"] | {"micro_batch": "8"}
    assert told(shared).config.optimizer_in_backward
    many = RECIPES["early"] | {"micro_batch": str(2 * runner.MOST_AT_ONCE)}
    assert not told(many).config.optimizer_in_backward
    assert "backward: off, not on" in differs(many)


def test_the_command_says_what_the_runner_can_do_of_the_plan() -> None:
    config = told({"checkpointing": "full", "loss": "chunked", "kernels": "fused"}).config
    assert (config.checkpointing, config.loss, config.compile) == ("full", "chunked", True)
    moments = told({"moments": "int8", "master": "null", "activation_offload": "true"}).config
    assert (moments.optimizer, moments.activation_offload) == ("adamw8bit", True)
    early = told(RECIPES["early"]).config
    assert (early.optimizer_in_backward, early.clip) == (True, 0)
    assert told({"optimizer": "sgd_momentum"}).config.momentum == 0.9
    assert told({"loss": "logits_fp32", "kernels": "eager"}).config.loss == "full"
    assert not told({"kernels": "eager"}).config.fused


@pytest.mark.parametrize("cluster", ["host", "hosts"])
def test_adamw_in_cpu_memory_is_asked_of_the_runner(cluster: str) -> None:
    state = CLUSTERS[cluster] | {"params": "bf16", "master": "fp32"}
    config = told(state).config
    assert (config.optimizer_offload, config.params, config.rounding) == (True, "bf16", "nearest")
    assert "Master weights: " not in differs(state)
    assert "CPU offload: " not in differs(state)
    assert "CPU offload: none, not " in differs(state | {"optimizer": "muon"})


@pytest.mark.parametrize(
    "state",
    [
        {"micro_batch": "65536"},
        {"micro_batch": "65536", "optimizer_in_backward": "true"},
        {"grad_accum": "1000000", "gpus": "24", "sharding": "zero3"},
        {"seq_len": "1"},
        {"gpus": "1000000", "sharding": "zero3"},
    ],
    ids=str,
)
def test_a_plan_beyond_the_runners_bounds_is_brought_within_them(state: State) -> None:
    told(state)
    assert differs(state)
