"""Collectives: by hand, over the link that is slowest, and beside what others measured."""

from __future__ import annotations

import pytest

from unfrozen.hardware import find
from unfrozen.plan.timing.communication import BASE_SECONDS, CROWD, HOP_SECONDS, ring

GB = 1e9


def test_a_gather_inside_a_machine_by_hand() -> None:
    found = ring(find("H100"), 8)
    assert not found.outside
    hops = BASE_SECONDS + 7 * HOP_SECONDS["nvlink"]
    assert found.gather(8 * GB) == pytest.approx(hops + 7 * GB / (0.8 * 450 * GB))
    assert found.reduce(GB) == 2 * found.gather(GB)


def test_a_ring_between_machines_uses_all_of_their_adapters() -> None:
    """Eight of 400 Gb/s: 400 GB/s, of which 0.8 is reached; NVLink would be 360."""
    found = ring(find("H100"), 64)
    assert found.outside
    assert found.rate == pytest.approx(0.8 * 8 * 50 * GB)


def test_replicas_of_tensor_parallel_ranks_have_one_adapter_each() -> None:
    found = ring(find("H100"), 8, stride=8)
    assert found.outside
    assert found.rate == pytest.approx(0.8 * 50 * GB)
    assert ring(find("H100"), 8, stride=4).rate == pytest.approx(0.8 * 2 * 50 * GB)


def test_a_gpu_alone_waits_for_nobody() -> None:
    assert ring(find("H100"), 1).gather(GB) == 0


def test_busbw_of_a_dgx_a100_is_met() -> None:
    """NCCL's own table caps it at 235 GB/s (src/graph/tuning.cc); 230 to 250 are reported."""
    assert 230 * GB <= ring(find("A100-80GB"), 8).rate <= 250 * GB


def test_gpus_without_links_talk_over_pcie_and_geforces_through_the_host() -> None:
    paper, relayed = ring(find("A100 80GB PCIe"), 8), ring(find("RTX 4090"), 8)
    assert paper.rate == pytest.approx(14.2 * GB, rel=0.01)  # 13.5 measured, SimuMax a100_pcie.json
    assert relayed.rate == pytest.approx(paper.rate / 2)


def test_a_faster_link_is_never_slower() -> None:
    times = [ring(find(name), 8).gather(GB) for name in ("B200", "H100", "A100-80GB", "RTX 4090")]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("gpu", "gpus", "hops"),
    [
        ("H100", 8, 7 * 3.4e-6),
        ("A100 80GB PCIe", 8, 7 * 5.7e-6),
        ("H100", 64, 56 * 3.4e-6 + 7 * 14.0e-6),  # inside of eight machines, and between them
    ],
)
def test_latencies_are_those_of_nccls_tuner(gpu: str, gpus: int, hops: float) -> None:
    """ncclTopoTuneModel: 8.4 µs of a ring, and for each step 3.4, 5.7 or 14 (simple protocol)."""
    assert ring(find(gpu), gpus).latency == pytest.approx(8.4e-6 + hops, rel=1e-9)


def test_an_exchange_is_as_slow_as_the_slower_of_both_ways_after_one_hop() -> None:
    inside = ring(find("H100"), 8)
    assert inside.exchange(GB, GB) == pytest.approx(8.4e-6 + 3.4e-6 + GB * 7 / 8 / inside.rate)
    found = ring(find("H100"), 64)
    between = GB * 7 / 8 / (0.8 * 50 * GB)
    assert found.exchange(GB, GB) == pytest.approx(8.4e-6 + 14e-6 + between)
    near = GB / 8 * (1 - 8 / 64) / found.rate
    assert found.exchange(GB, 0.0) == pytest.approx(8.4e-6 + 14e-6 + near)
    assert ring(find("H100"), 1).exchange(GB, GB) == 0


def test_what_a_hidden_collective_costs_is_what_was_measured() -> None:
    """18.9% slower beside it, and 10.2% slower again one after the other (arXiv 2507.03114)."""
    assert pytest.approx(0.189 / (1.102 * 1.189 - 1)) == CROWD


def test_pcie_reaches_what_was_measured_and_geforces_half_of_it() -> None:
    assert ring(find("A100 80GB PCIe"), 8).rate == pytest.approx(0.45 * 31.5 * GB)
    assert ring(find("RTX 4090"), 8).rate == pytest.approx(0.5 * 0.45 * 31.5 * GB)


def test_a_ring_of_pairs_is_as_slow_as_their_own_link_and_one_of_single_gpus_is_not() -> None:
    gpu = find("A100 80GB PCIe")
    assert ring(gpu, 16, stride=4).rate == pytest.approx(0.45 * 31.5 * GB)
    assert ring(gpu, 16, stride=8).rate == pytest.approx(0.8 * gpu.network_gb_s * GB)
    assert ring(gpu, 16, stride=64).rate == pytest.approx(0.8 * gpu.network_gb_s * GB)
