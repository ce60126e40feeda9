import pytest
import torch

from gpu_runner.rounding import COMPENSATION, StallGauge, exact, hold, settle, stochastic

GOES_ON, SKIPPED = torch.zeros(()), torch.ones(())


def test_stochastic_rounding_is_right_on_average() -> None:
    torch.manual_seed(0)
    value = torch.full((100_000,), 1.0 + 1 / 512)  # a quarter of the way from 1 to its neighbour
    rounded = stochastic(value).float()
    assert set(rounded.unique().tolist()) == {1.0, 1.0 + 1 / 128}
    assert float(rounded.mean()) == pytest.approx(float(value[0]), abs=1e-4)


def test_a_number_that_bf16_holds_stays() -> None:
    values = torch.tensor([0.0, -1.5, 2.0**-130, 3e38]).bfloat16().float()
    assert torch.equal(stochastic(values).float(), values)


def test_the_draw_follows_the_seed() -> None:
    values = torch.rand(1000)
    torch.manual_seed(1)
    first = stochastic(values)
    assert not torch.equal(first, stochastic(values))
    torch.manual_seed(1)
    assert torch.equal(first, stochastic(values))


def test_what_kahan_rounds_away_is_not_lost() -> None:
    weight, plain = torch.ones(1, dtype=torch.bfloat16), torch.ones(1, dtype=torch.bfloat16)
    state = {COMPENSATION: torch.zeros_like(weight)}
    for _ in range(1000):
        settle(weight, exact(weight, state) + 1e-3, state, "kahan", GOES_ON)
        settle(plain, exact(plain, {}) + 1e-3, {}, "nearest", GOES_ON)
    assert float(exact(weight, state)) == pytest.approx(2.0, rel=5e-3)
    assert float(plain) == 1.0


def test_stochastic_updates_arrive_on_average() -> None:
    torch.manual_seed(0)
    weight = torch.ones(4096, dtype=torch.bfloat16)
    for _ in range(1000):
        settle(weight, exact(weight, {}) + 1e-3, {}, "stochastic", GOES_ON)
    assert float(weight.float().mean()) == pytest.approx(2.0, rel=1e-2)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "kahan"])
def test_a_skipped_step_keeps_weight_and_compensation(rounding: str) -> None:
    weight = torch.ones(3, dtype=torch.bfloat16)
    state = {COMPENSATION: torch.full((3,), 0.25, dtype=torch.bfloat16)}
    settle(weight, torch.full((3,), float("nan")), state, rounding, SKIPPED)  # type: ignore[arg-type]
    assert torch.equal(weight.float(), torch.ones(3))
    assert torch.equal(state[COMPENSATION].float(), torch.full((3,), 0.25))


def test_fp32_weights_need_no_rounding() -> None:
    weight = torch.ones(3)
    settle(weight, torch.full((3,), 1 + 1e-6), {}, "stochastic", GOES_ON)
    assert torch.equal(weight, torch.full((3,), 1 + 1e-6))


def test_holding_takes_the_new_value_unless_skipped() -> None:
    kept = torch.zeros(2)
    hold(kept, torch.ones(2), GOES_ON)
    assert kept.tolist() == [1.0, 1.0]
    hold(kept, torch.tensor([float("inf"), float("nan")]), SKIPPED)
    assert kept.tolist() == [1.0, 1.0]


def test_the_gauge_counts_what_does_not_move_and_only_what_should() -> None:
    parameter = torch.nn.Parameter(torch.ones(8, dtype=torch.bfloat16))
    parameter.grad = torch.tensor([1, 1, 1, 1, 1, 1, 0, 0], dtype=torch.bfloat16)
    gauge = StallGauge([parameter])
    assert gauge.share() is None
    before = gauge.before()
    with torch.no_grad():
        parameter[:2] += 1  # two of the six that have a gradient
    gauge.after(before, GOES_ON)
    assert gauge.share() == pytest.approx(4 / 6)
    gauge.after(gauge.before(), SKIPPED)
    assert gauge.share() is None


def test_fp32_weights_have_no_gauge() -> None:
    assert not StallGauge([torch.nn.Parameter(torch.ones(2))]).useful
