"""Attention: at the rates that were published, by hand, and by the kernel that a job runs."""

from __future__ import annotations

from typing import Any

import pytest

from unfrozen.errors import PlanError
from unfrozen.job import Job
from unfrozen.model.catalogue import CATALOGUE
from unfrozen.plan import plan_job
from unfrozen.plan.flops import flops
from unfrozen.plan.step_time import job_gpu, step_time
from unfrozen.plan.timing.attention import Attention, attention, kernel

LLAMA = CATALOGUE["meta-llama/Llama-3.1-8B"].config
FLASH = {"attention": "flash", "seq_len": 4096}
VERSIONS = {"flash2": (319, 269), "flash3": (518, 424), "flash4": (518, 424)}
MEGATRON = {"params": "bf16", "grads": "fp32"}
MPT = {
    "model_type": "gpt",
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "vocab_size": 50368,
    "add_bias_linear": False,
    "max_position_embeddings": 65536,
}


def job(
    recipe: dict[str, Any], gpu: str = "H100", framework: str | None = None, **cluster: Any
) -> Job:
    config = MPT if recipe.pop("mpt", False) else LLAMA
    given = {"model": config, "recipe": recipe, "cluster": cluster, "gpu": gpu}
    return Job.read(given | {"framework": framework})


def seconds(recipe: dict[str, Any], gpu: str = "H100", **cluster: Any) -> Attention:
    found = job(dict(recipe), gpu, **cluster)
    local = found.model.architecture.split(found.cluster.tensor_parallel)
    return attention(found, local, job_gpu(found), 7e14, 2.5e12)


def test_each_job_runs_the_kernel_of_its_kind() -> None:
    assert kernel(job({"attention": "sdpa"})) == "flash-2"
    assert kernel(job(FLASH | MEGATRON)) == "newest"
    assert kernel(job({"attention": "flash", "params": "fp32", "mpt": True})) == "flash-1"
    assert kernel(job({"attention": "eager"})) == "eager"
    assert kernel(job({"attention": "sdpa_masked"})) == "masked"


@pytest.mark.parametrize(
    ("framework", "gpu", "expected"),
    [
        *((name, "B200", "flash-2") for name in ("transformers", "trl", "axolotl", "deepspeed")),
        *(("megatron", "H100", "newest"), ("llm-foundry", "H100", "flash-1")),
        *(("torchtitan", "H100", "flash-2"), ("torchtitan", "B200", "newest")),
    ],
)
def test_flash_is_the_version_of_the_framework_unless_the_job_names_one(
    framework: str, gpu: str, expected: str
) -> None:
    assert kernel(job({"attention": "flash"}, gpu, framework)) == expected
    named = {"flash2": "flash-2", "flash_attention_2": "flash-2", "flash4": "newest"}
    for asked, version in named.items():
        assert kernel(job({"attention": asked}, gpu, framework)) == version


def test_a_version_changes_the_time_alone() -> None:
    found = {name: job({"attention": name, "seq_len": 4096}) for name in VERSIONS}
    assert len({plan_job(each).allocated_bytes for each in found.values()}) == 1
    assert len({flops(each) for each in found.values()}) == 1
    for name, (forward, backward) in VERSIONS.items():
        timed = seconds({"attention": name, "seq_len": 4096})
        half = 2 * 4096 * 4096 * 4096
        assert timed.forward == pytest.approx(half / (forward * 1e12))
        assert timed.backward == pytest.approx(2.5 * half / (backward * 1e12))


def test_a_window_hides_scores_from_each_version() -> None:
    config = CATALOGUE["openai/gpt-oss-20b"].config
    asked = {"model": config, "gpu": "H100"}
    found = [Job.read(asked | {"recipe": {"attention": name}}) for name in ("flash", "flash2")]
    assert step_time(found[0]) == step_time(found[1])


@pytest.mark.parametrize(
    ("attention", "gpu"),
    [
        *(("flash3", name) for name in ("A100 40GB", "RTX 4090", "L40S", "MI300X", "B200", "T4")),
        *(("flash4", name) for name in ("A100 40GB", "RTX 5090", "GB10", "T4")),
        *(("flash2", name) for name in ("T4", "V100 PCIe 16GB")),
    ],
)
def test_a_version_without_kernels_for_a_gpu_is_refused(attention: str, gpu: str) -> None:
    with pytest.raises(PlanError, match=r"recipe.attention.*(use flash|use efficient)"):
        job({"attention": attention}, gpu)
    for name in ("H100", "GH200 96GB", "H20 96GB"):
        assert job({"attention": attention}, name).recipe.flashes


def test_newer_kernels_are_faster_and_masks_and_scores_slower() -> None:
    flash = seconds(FLASH).forward
    assert seconds(FLASH | MEGATRON).forward < flash
    for slower in ("sdpa_masked", "eager"):
        assert seconds({"attention": slower, "seq_len": 4096}).forward > 2 * flash


def test_context_parallel_ranks_share_the_scores() -> None:
    alone, shared = seconds(FLASH), seconds(FLASH, gpus=4, context_parallel=4)
    assert shared.forward == pytest.approx(alone.forward / 4)


def test_a_measured_4090_is_met_at_two_thousand_positions() -> None:
    found = seconds({"attention": "flash", "seq_len": 2048}, "RTX 4090")
    half = 2 * 2048 * 2048 * 4096
    assert found.forward == pytest.approx(half / 151e12, rel=0.08)  # apache/tvm flash_perf.md


@pytest.mark.parametrize(
    ("length", "forward", "backward"),
    [
        (256, 191 / 2, 132 / 2),  # below the shortest that was measured in proportion
        (64, 191 / 4, 132 / 4),  # but for the shortest, which fill no tile
        (768, 191 + 0.584963 * (260 - 191), 132 + 0.584963 * (193 - 132)),  # log2(1.5)
        *((512, 191, 132), (1024, 260, 193), (2048, 298, 240), (4096, 319, 269), (8192, 333, 286)),
        *((16384, 335, 292), (32768, 335, 292)),
        (3072, 298 + 0.584963 * (319 - 298), 240 + 0.584963 * (269 - 240)),  # log2(1.5)
    ],
)
def test_both_directions_follow_the_figures(length: int, forward: float, backward: float) -> None:
    found = seconds({"attention": "flash", "seq_len": length})
    half = 2 * length * length * 4096
    assert found.forward == pytest.approx(half / (forward * 1e12), rel=1e-5)
    assert found.backward == pytest.approx(2.5 * half / (backward * 1e12), rel=1e-5)


def test_kernels_differ_by_published_factors() -> None:
    flash = seconds(FLASH)
    first = seconds(FLASH | {"params": "fp32", "mpt": True})
    half = 2 * 4096 * 4096 * 2048
    assert first.forward == pytest.approx(1.8 * half / 319e12)
    masked = seconds(FLASH | {"attention": "sdpa_masked"})  # both halves, at 0.6 of the rate
    assert masked.forward == pytest.approx(2 / 0.6 * flash.forward)
    assert masked.backward == pytest.approx(2 / 0.6 * flash.backward)


@pytest.mark.parametrize(
    ("dtype", "ahead", "back"),
    [  # product, scale, mask, softmax, cast, product; of both, cast, softmax, scale, products
        ("bf16", (2, 2 + 2, 2 + 2, 2 + 4, 4 + 2, 2), (2, 2, 2 + 4, 4 + 4 + 2, 2 + 2, 2 + 2)),
        ("fp32", (4, 4 + 4, 4 + 4, 4 + 4, 0, 4), (4, 4, 0, 4 + 4 + 4, 4 + 4, 4 + 4)),
    ],
)
def test_eager_attention_computes_both_halves_and_moves_each_score_kernel_by_kernel(
    dtype: str, ahead: tuple[int, ...], back: tuple[int, ...]
) -> None:
    scores = 4096 * 4096
    found = seconds({"attention": "eager", "seq_len": 4096, "params": dtype, "compute": dtype})
    moved = [sum(kernels) * scores * 32 / 2.5e12 for kernels in (ahead, back)]
    assert found.forward == pytest.approx(4 * scores * 4096 / 7e14 + moved[0])
    assert found.backward == pytest.approx(8 * scores * 4096 / 7e14 + moved[1])


def test_a_fused_softmax_reads_and_writes_each_score_once() -> None:
    scores = 4096 * 4096
    found = seconds({"attention": "eager", "kernels": "fused", "seq_len": 4096})
    moved = [width * scores * 32 / 2.5e12 for width in (2 + 2 + 2 + 2, 2 + 2 + 3 * 2 + 2 + 2)]
    assert found.forward == pytest.approx(4 * scores * 4096 / 7e14 + moved[0])
    assert found.backward == pytest.approx(8 * scores * 4096 / 7e14 + moved[1])


@pytest.mark.parametrize(
    ("head_dim", "share"),
    [
        *((128, 1), (64, 284 / 319), (96, 284 / 319), (80, 284 / 319 * 80 / 96), (256, 1)),
        *((32, (284 / 319) ** 2), (40, 284 / 319 * 40 / 64), (20, (284 / 319) ** 2 * 20 / 32)),
    ],
)
def test_narrow_heads_run_slower_and_are_padded_to_a_multiple_of_32(
    head_dim: int, share: float
) -> None:
    config = LLAMA | {"head_dim": head_dim}
    found = Job.read({"model": config, "recipe": FLASH, "gpu": "H100"})
    timed = attention(found, found.model.architecture, job_gpu(found), 7e14, 2.5e12)
    half = 2 * 4096 * 4096 * 32 * head_dim
    assert timed.forward == pytest.approx(half / (share * 319e12))


def test_a_scan_runs_at_the_rate_of_attention_and_three_times_as_long_backward() -> None:
    sizes = {"hidden_size": 2560, "num_hidden_layers": 64, "vocab_size": 50288, "num_heads": 80}
    inside = {"head_dim": 64, "state_size": 128, "n_groups": 1, "chunk_size": 256, "expand": 2}
    config = {"model_type": "mamba2"} | sizes | inside
    found = Job.read({"model": config, "recipe": {"seq_len": 4096}, "gpu": "H100"})
    a = found.model.architecture
    timed = attention(found, a, job_gpu(found), 7e14, 2.5e12)
    flops = 4096 * (2 * 256 * (128 + 5120) + 4 * 128 * 5120)
    assert timed.forward == pytest.approx(
        flops / (job_gpu(found).flash_attention_2_tflops[0] * 1e12)
    )
    assert timed.backward == pytest.approx(3 * timed.forward)


def test_cudnn_gains_on_a_b200_what_torchtitan_measured() -> None:
    """Llama-3.1-8B at 8k: 10,902 → 12,211 tokens a second (pytorch/torchtitan pull 1196)."""
    recipe = {"params": "fp32", "compute": "bf16", "attention": "sdpa", "kernels": "fused"}
    recipe |= {"checkpointing": "selective", "seq_len": 8192, "loss": "logits_bf16"}
    given = {"model": "meta-llama/Llama-3.1-8B", "recipe": recipe, "gpu": "B200"}
    given |= {"cluster": {"gpus": 8, "sharding": "zero3"}, "framework": "torchtitan"}
    own = Job.read(given)
    before = Job.read(given | {"recipe": recipe | {"attention": "flash2"}})
    gain = step_time(before).seconds / step_time(own).seconds
    assert gain == pytest.approx(12_211 / 10_902, abs=0.05)
