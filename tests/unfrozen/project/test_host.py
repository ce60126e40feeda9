"""Host memory, disk and evaluation of a plan, from the states by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from unfrozen.hardware import find
from unfrozen.job import Job
from unfrozen.job.cluster import Cluster
from unfrozen.memory.adapters import adapter_parameters
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.project.host import PLAIN_HOST_GB, evaluation_bytes, needs, usual_host_bytes

ONE_B = CATALOGUE["meta-llama/Llama-3.2-1B"]


def job(cluster: Cluster, **recipe: object) -> Job:
    asked = {"model": ONE_B.config, "gpu": "H100", "recipe": {"attention": "flash"} | recipe}
    return replace(Job.read(asked), cluster=cluster)


@pytest.mark.parametrize(
    ("cluster", "width"),
    [
        (Cluster(8, "zero3"), 0),
        (Cluster(8, "zero1", offload="optimizer"), 4 + 8),
        (Cluster(8, "zero2", offload="optimizer"), 4 + 8 + 2),
        (Cluster(8, "zero3", offload="params"), 4 + 8 + 2 + 2),
        (Cluster(16, "zero3", offload="params"), (4 + 8 + 2 + 2) / 2),  # on each of two machines
        (Cluster(2, "none", offload="optimizer"), 2 * (4 + 8)),  # of each copy
    ],
)
def test_what_is_offloaded_waits_in_the_host(cluster: Cluster, width: float) -> None:
    assert needs(job(cluster), "deepspeed").steps == pytest.approx(width * ONE_B.num_parameters)


def test_offloaded_activations_wait_in_the_host_too() -> None:
    kept, away = job(Cluster(4, "zero3")), job(Cluster(4, "zero3"), activation_offload=True)
    here, there = (plan_job(one).instants["end_of_forward"]["activations"] for one in (away, kept))
    assert needs(away, "").steps == 4 * (there - here)


def test_a_trainer_without_shards_reads_the_model_in_every_process() -> None:
    one, two = needs(job(Cluster(2)), "deepspeed"), needs(job(Cluster(2)), "unfrozen")
    assert one.load >= 2 * 2 * ONE_B.num_parameters
    assert two.load < one.load / 2


def test_fsdp_of_accelerate_reads_the_model_once_a_machine() -> None:
    sharded = job(Cluster(8, "zero3"), params="fp32")
    assert needs(sharded, "accelerate").load == 4 * ONE_B.num_parameters
    assert needs(sharded, "unfrozen").load < 2 * ONE_B.num_parameters


def test_a_checkpoint_has_weights_and_optimizer_or_adapters_alone() -> None:
    full, lora = needs(job(Cluster()), ""), job(Cluster(), method="lora")
    assert full.checkpoint == pytest.approx((2 + 4 + 8) * ONE_B.num_parameters)
    assert full.finished == 2 * ONE_B.num_parameters
    assert lora.recipe.lora
    adapters = 2 * adapter_parameters(lora.model, lora.recipe.lora)
    assert needs(lora, "").finished == adapters
    assert needs(lora, "").checkpoint < 10 * adapters


def test_an_evaluation_grows_with_its_sequences_and_has_no_gradients() -> None:
    eight = job(Cluster(8, "zero3"), seq_len=8192)
    one, more = (evaluation_bytes(eight, count) for count in (1, 8))
    vocabulary = eight.model.architecture.vocab
    assert more - one > 7 * 8192 * vocabulary * 2
    states = plan_job(eight).instants["end_of_forward"]
    assert (
        one < sum(states.values()) + plan_job(eight).device_bytes - plan_job(eight).allocated_bytes
    )


def test_machines_with_fast_links_have_more_memory() -> None:
    assert usual_host_bytes(find("RTX 4090"), 2) == 2 * PLAIN_HOST_GB * 10**9
    assert usual_host_bytes(find("H100"), 64) == usual_host_bytes(find("H100"), 8)
