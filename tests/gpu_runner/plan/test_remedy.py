import re

import pytest

import tiny_llama
from gpu_runner.config.resolve import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data.feed import BatchShape
from gpu_runner.plan import remedy
from gpu_runner.plan.predict import predict
from unfrozen.model import ModelConfig

LLAMA = ModelConfig.from_hf(
    tiny_llama.config(hidden_size=256, intermediate_size=688, num_hidden_layers=8).to_dict()
)
PACKED = BatchShape(1, 4096, 2048)


def config(**choices: object) -> TrainConfig:
    return resolve({"model": "x", "data": "y", "micro_batch": 8, "grad_accum": 1, **choices})


def advice(**choices: object) -> str:
    return remedy.advice(LLAMA, config(**choices), "fp32", PACKED, offloads=False)


def test_fewer_rows_at_once_come_first_for_they_cost_no_time() -> None:
    assert advice().startswith("Give --micro-batch 4 --grad-accum 2: predicted ")


def test_every_remedy_is_told_with_its_peak_and_its_time() -> None:
    told = r"--set checkpointing=selective: predicted \d\.\d\d GiB, \d+% more time"
    assert re.search(told, advice())


def test_remedies_lower_the_peak() -> None:
    now = predict(LLAMA, config(), "fp32", PACKED).peak_bytes / 2**30
    told = [float(size) for size in re.findall(r"predicted (\d\.\d\d) GiB", advice())]
    assert told
    assert all(size < now for size in told)


def test_what_is_in_use_is_not_advised() -> None:
    assert "checkpointing=full" not in advice(checkpointing="full")


def test_a_single_row_is_cut() -> None:
    assert "--seq-len 2048: predicted" in advice(micro_batch=1)


def test_of_a_model_that_cannot_be_predicted_only_the_direction_is_told() -> None:
    told = remedy.advice(None, config(), "fp32", PACKED, offloads=False)
    assert told == "Lower --micro-batch or --seq-len."


@pytest.mark.parametrize(("free", "micro_batch"), [(900, 8), (500, 4), (120, 1), (1, 1)])
def test_the_largest_micro_batch_that_fits_is_taken(free: int, micro_batch: int) -> None:
    found = remedy.fitted(config(), lambda choice: 100 * choice.micro_batch, free)
    assert (found.micro_batch, found.grad_accum) == (micro_batch, 8 // micro_batch)
    assert not found.auto_micro_batch
