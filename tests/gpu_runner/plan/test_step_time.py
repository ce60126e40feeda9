"""What is said of a run's length before it starts."""

import pytest

from gpu_runner.config.load import resolve
from gpu_runner.plan import plan, step_time


@pytest.mark.parametrize(
    ("name", "gib", "gpu"),
    [
        ("NVIDIA A100-SXM4-80GB", 79.15, "A100 80GB SXM"),
        ("NVIDIA A100 80GB PCIe", 79.15, "A100 80GB PCIe"),
        ("NVIDIA A100-SXM4-40GB", 39.49, "A100 40GB"),
        ("NVIDIA H100 80GB HBM3", 79.1, "H100 SXM"),
        ("NVIDIA H100 PCIe", 79.1, "H100 PCIe"),
        ("NVIDIA H100 NVL", 93.1, "H100 NVL"),
        ("NVIDIA H200", 139.7, "H200"),
        ("NVIDIA GeForce RTX 4090", 23.64, "RTX 4090"),
        ("NVIDIA RTX A6000", 47.4, "RTX A6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 95.0, "RTX PRO 6000 Blackwell"),
        ("NVIDIA L40S", 44.3, "L40S"),
        ("Tesla T4", 14.56, "T4"),
        ("NVIDIA GeForce RTX 4060 Ti", 7.6, "RTX 4060 Ti 8GB"),
        ("NVIDIA GeForce RTX 4060 Ti", 15.6, "RTX 4060 Ti 16GB"),
        ("NVIDIA GB10", 119.6, "GB10"),
    ],
)
def test_a_gpu_is_known_by_what_cuda_calls_it(name: str, gib: float, gpu: str) -> None:
    found = step_time.find_gpu(name, int(gib * 2**30))
    assert found is not None
    assert found.name == gpu


def test_a_gpu_the_planner_has_not_heard_of_is_not_guessed() -> None:
    assert step_time.find_gpu("NVIDIA GeForce GTX 1080", 8 * 2**30) is None
    assert step_time.find_gpu("NVIDIA GeForce RTX 4060 Laptop GPU", 8 * 2**30) is None
    assert step_time.find_gpu("NVIDIA H100 80GB HBM3", 10 * 2**30) is None  # a slice of one


def test_on_a_cpu_a_longer_step_takes_longer_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_time, "best_matmul_flops", lambda *_: 1e11)
    one, two = (
        step_time.estimate_step_time(
            plan.make_plan(resolve({"model": "demo", "micro_batch": rows, "device": "cpu"}))
        )
        for rows in (4, 8)
    )
    assert one is not None
    assert two is not None
    assert two.step_seconds == pytest.approx(2 * one.step_seconds, rel=0.1)
    assert "100 GFLOP/s" in one.source
