import pytest

from gpu_runner.config.schema import TrainConfig
from gpu_runner.optim.optimizer import betas


def config(**choices: float) -> TrainConfig:
    return TrainConfig(model="demo", data="demo", **choices)  # type: ignore[arg-type]


def test_without_a_half_life_both_are_as_chosen() -> None:
    assert betas(config(), 100.0) == (0.9, 0.999)
    assert betas(config(beta1=0.8, beta2=0.95), 100.0) == (0.8, 0.95)


@pytest.mark.parametrize("tokens", [10.0, 1000.0, 50_000.0])
def test_after_its_half_life_a_square_counts_half(tokens: float) -> None:
    beta1, beta2 = betas(config(beta2_tokens=1e6), tokens)
    assert beta1 == 0.9
    assert beta2 ** (1e6 / tokens) == pytest.approx(0.5)


def test_batches_of_four_times_the_tokens_remember_a_quarter_of_the_updates() -> None:
    _, small = betas(config(beta2_tokens=1e6), 1000.0)
    _, large = betas(config(beta2_tokens=1e6), 4000.0)
    assert large == pytest.approx(small**4)
