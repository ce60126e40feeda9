import pytest
import torch

from gpu_runner.optim.rounding import (
    CHUNK,
    COMPENSATION,
    Noise,
    StallGauge,
    add_compensation,
    assign_unless_skipped,
    noises,
    stochastic,
    write_rounded,
)

GOES_ON, SKIPPED = torch.zeros(()), torch.ones(())


def noise(number: int = 1, *, seed: int = 0, tensor: int = 0) -> Noise:
    """That of an update."""
    return noises(seed, tensor, torch.tensor(float(number)), 1)[0]


def test_stochastic_rounding_is_right_on_average() -> None:
    value = torch.full((100_000,), 1.0 + 1 / 512)  # a quarter of the way from 1 to its neighbour
    rounded = stochastic(value, noise()).float()
    assert set(rounded.unique().tolist()) == {1.0, 1.0 + 1 / 128}
    assert float(rounded.mean()) == pytest.approx(float(value[0]), abs=1e-4)


def test_a_number_that_bf16_holds_stays() -> None:
    values = torch.tensor([0.0, -1.5, 2.0**-130, 3e38]).bfloat16().float()
    assert torch.equal(stochastic(values, noise()).float(), values)


@pytest.mark.slow
def test_the_noise_is_uniform_and_new_for_every_element_update_tensor_and_seed() -> None:
    count = 4096
    first, second = noises(0, 0, torch.tensor(1.0), 2)
    drawn = [first, second, noise(2), noise(tensor=1), noise(seed=1)]
    bits = torch.stack([one.bits(0, count) for one in drawn]).float() / 2**16
    assert bits.mean(1) == pytest.approx(torch.full((5,), 0.5), abs=0.02)
    assert bits.var(1) == pytest.approx(torch.full((5,), 1 / 12), abs=0.005)
    assert torch.corrcoef(bits) == pytest.approx(torch.eye(5), abs=0.07)
    of_one = torch.stack([noise(number).bits(7, 1) for number in range(1, 4097)]).float() / 2**16
    assert float(of_one.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(of_one.var()) == pytest.approx(1 / 12, abs=0.005)


def test_a_part_is_rounded_as_it_would_be_in_the_whole() -> None:
    values = torch.rand(CHUNK + 1000)
    whole = stochastic(values, noise())
    assert torch.equal(whole, stochastic(values, noise()))
    cut = CHUNK - 3
    parts = (stochastic(values[:cut], noise()), stochastic(values[cut:], noise().after(cut)))
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.slow
def test_what_kahan_rounds_away_is_not_lost() -> None:
    weight, plain = torch.ones(1, dtype=torch.bfloat16), torch.ones(1, dtype=torch.bfloat16)
    state = {COMPENSATION: torch.zeros_like(weight)}
    for _ in range(1000):
        write_rounded(
            weight, add_compensation(weight, state) + 1e-3, state, "kahan", GOES_ON, noise()
        )
        write_rounded(plain, add_compensation(plain, {}) + 1e-3, {}, "nearest", GOES_ON, noise())
    assert float(add_compensation(weight, state)) == pytest.approx(2.0, rel=5e-3)
    assert float(plain) == 1.0


@pytest.mark.slow
def test_stochastic_updates_arrive_on_average() -> None:
    weight = torch.ones(4096, dtype=torch.bfloat16)
    for number in range(1000):
        write_rounded(
            weight, add_compensation(weight, {}) + 1e-3, {}, "stochastic", GOES_ON, noise(number)
        )
    assert float(weight.float().mean()) == pytest.approx(2.0, rel=1e-2)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "kahan"])
def test_a_skipped_step_keeps_weight_and_compensation(rounding: str) -> None:
    weight = torch.ones(3, dtype=torch.bfloat16)
    state = {COMPENSATION: torch.full((3,), 0.25, dtype=torch.bfloat16)}
    nan = torch.full((3,), float("nan"))
    write_rounded(weight, nan, state, rounding, SKIPPED, noise())  # type: ignore[arg-type]
    assert torch.equal(weight.float(), torch.ones(3))
    assert torch.equal(state[COMPENSATION].float(), torch.full((3,), 0.25))


def test_fp32_weights_need_no_rounding() -> None:
    weight = torch.ones(3)
    write_rounded(weight, torch.full((3,), 1 + 1e-6), {}, "stochastic", GOES_ON, noise())
    assert torch.equal(weight, torch.full((3,), 1 + 1e-6))


def test_holding_takes_the_new_value_unless_skipped() -> None:
    kept = torch.zeros(2)
    assign_unless_skipped(kept, torch.ones(2), GOES_ON)
    assert kept.tolist() == [1.0, 1.0]
    assign_unless_skipped(kept, torch.tensor([float("inf"), float("nan")]), SKIPPED)
    assert kept.tolist() == [1.0, 1.0]


def test_the_gauge_counts_what_does_not_move_and_only_what_should() -> None:
    parameter = torch.nn.Parameter(torch.ones(8, dtype=torch.bfloat16))
    parameter.grad = torch.tensor([1, 1, 1, 1, 1, 1, 0, 0], dtype=torch.bfloat16)
    gauge = StallGauge([parameter])
    assert gauge.share() is None
    before = gauge.before([parameter])
    with torch.no_grad():
        parameter[:2] += 1  # two of the six that have a gradient
    gauge.after(before, GOES_ON)
    assert gauge.share() is None, "the step may have another update"
    gauge.end_step()
    assert gauge.share() == pytest.approx(4 / 6)
    gauge.after(gauge.before([parameter]), SKIPPED)
    gauge.end_step()
    assert gauge.share() is None


def test_fp32_weights_have_no_gauge() -> None:
    assert not StallGauge([torch.nn.Parameter(torch.ones(2))]).useful
