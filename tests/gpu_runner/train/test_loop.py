from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch

import tiny_llama
from gpu_runner.data.encode import Encoder
from gpu_runner.data.feed import Feed
from gpu_runner.errors import Diverged
from gpu_runner.memory.tracker import SilentMeter
from gpu_runner.model import attention
from gpu_runner.optim import optimizer
from gpu_runner.plan.intervals import Intervals
from gpu_runner.train.loop import State, StepResult, Training, TrainingStep, train, train_step
from unfrozen.schedules import Schedule


@dataclass
class Diary:
    """An observer that writes down what it is reported."""

    told: list[str] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def step_begins(self, number: int) -> None:
        pass

    def step_done(self, state: State, result: StepResult) -> None:
        self.told.append(f"step {state.step}" + (" skipped" if result.skipped else ""))
        self.losses.append(result.loss)

    def look(self, state: State) -> None:
        self.told.append(f"look {state.step}")

    def keep(self, state: State) -> None:
        self.told.append(f"keep {state.step}")


def job(
    *,
    micro_batch: int = 4,
    grad_accum: int = 1,
    steps: int = 4,
    go_on: Callable[[], bool] = lambda: True,
) -> tuple[Training, Diary]:
    encoder = Encoder(tiny_llama.tokenizer(), 60)
    diary = Diary()
    model = tiny_llama.model()
    step = TrainingStep(
        model=model,
        optimizer=optimizer.build(model, lr=1e-2, weight_decay=0.0),
        feed=Feed(
            tuple(encoder.encode(row) for row in tiny_llama.sums(24)), 0, micro_batch, grad_accum, 0
        ),
        schedule=Schedule("cosine", steps, 1e-2, 1),
        clip=1.0,
    )
    made = Training(
        step=step,
        state=State(),
        observer=diary,
        go_on=go_on,
        intervals=Intervals(steps, evaluate=2, save=3),
        measured_steps=frozenset({1}),
    )
    return made, diary


@pytest.mark.slow
def test_accumulation_does_not_change_the_step() -> None:
    whole, _ = job(micro_batch=8, grad_accum=1)
    parts, _ = job(micro_batch=4, grad_accum=2)
    single, _ = job(micro_batch=1, grad_accum=8)
    for number in (1, 2, 3):
        results = [train_step(j.step, number, SilentMeter()) for j in (whole, parts, single)]
        for loss, norm, _ in results[1:]:
            assert loss == pytest.approx(results[0][0], rel=1e-6)
            assert norm == pytest.approx(results[0][1], rel=1e-5)
    for other in (parts, single):
        for one, two in zip(
            whole.step.model.parameters(), other.step.model.parameters(), strict=True
        ):
            torch.testing.assert_close(one, two, rtol=0, atol=2e-4)  # of three updates of 1e-2


def test_the_loss_is_the_mean_over_all_trainable_tokens_of_the_step() -> None:
    made, _ = job(micro_batch=3, grad_accum=2)
    loss, _, _ = train_step(made.step, 1, SilentMeter())
    model = tiny_llama.model()
    total, count = 0.0, 0
    for batch in made.step.feed.step(1):
        logits = model(input_ids=batch.input_ids).logits[:, :-1]
        summed = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch.labels[:, 1:].flatten(), reduction="sum"
        )
        total, count = total + float(summed.detach()), count + batch.trainable_tokens
    assert loss == pytest.approx(total / count, rel=1e-6)


def test_every_weight_moves_in_one_step() -> None:
    made, _ = job(micro_batch=24)
    before = {name: p.detach().clone() for name, p in made.step.model.named_parameters()}
    train_step(made.step, 1, SilentMeter())
    assert all(not torch.equal(before[name], p) for name, p in made.step.model.named_parameters())


def test_training_looks_and_keeps_at_its_steps() -> None:
    made, diary = job(steps=4)
    train(made)
    assert diary.told == [
        "look 0", "step 1", "step 2", "look 2", "step 3", "keep 3", "step 4", "look 4",
    ]  # fmt: skip
    assert diary.losses[-1] < diary.losses[0]


def test_a_request_to_stop_is_honoured_after_the_step_and_kept() -> None:
    made, diary = job(steps=9)
    train(replace(made, go_on=lambda: made.state.step < 2))
    assert diary.told[-3:] == ["step 2", "look 2", "keep 2"]


def test_a_stop_right_after_a_checkpoint_does_not_write_it_again() -> None:
    made, diary = job(steps=9)
    train(replace(made, go_on=lambda: made.state.step < 3))
    assert diary.told.count("keep 3") == 1


def test_one_bad_gradient_is_skipped_counted_and_recovered_from() -> None:
    made, diary = job(steps=4)
    calls = []

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return gradient * float("nan") if len(calls) == 2 else gradient

    made.step.model.model.norm.weight.register_hook(poison)
    train(made)
    assert "step 2 skipped" in diary.told
    assert "step 3" in diary.told
    assert (made.state.skipped, made.state.skipped_in_a_row) == (1, 0)
    assert all(torch.isfinite(p).all() for p in made.step.model.parameters())


def test_many_bad_gradients_in_a_row_end_the_run() -> None:
    made, diary = job(steps=20)
    with torch.no_grad():
        made.step.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match=r"5 steps in a row were not finite.*Lower --lr"):
        train(made)
    assert made.state.step == 5
    assert not [loss for loss in diary.losses if loss == loss]  # a NaN is reported as it is


def test_a_resumed_run_does_not_look_at_step_zero_again() -> None:
    made, diary = job(steps=4)
    made.state.step = 2
    train(made)
    assert diary.told == ["step 3", "keep 3", "step 4", "look 4"]


def packed_job(micro_batch: int, grad_accum: int, *, packed: bool = True) -> Training:
    """A job whose model keeps documents apart."""
    made, _ = job(micro_batch=micro_batch, grad_accum=grad_accum)
    attention.register()
    made.step.model.set_attn_implementation(attention.NAME)
    feed = replace(made.step.feed, packed=packed)
    return replace(made, step=replace(made.step, feed=feed))


@pytest.mark.slow
def test_packing_and_accumulation_change_neither_loss_nor_gradients() -> None:
    padded = packed_job(8, 1, packed=False)
    jobs = [packed_job(8, 1), packed_job(4, 2), packed_job(2, 4), packed_job(1, 8)]
    assert len(list(jobs[0].step.feed.step(1))) == 1
    assert len(list(jobs[2].step.feed.step(1))) > 1
    for number in (1, 2, 3):
        loss, norm, _ = train_step(padded.step, number, SilentMeter())
        for other in jobs:
            same_loss, same_norm, _ = train_step(other.step, number, SilentMeter())
            assert same_loss == pytest.approx(loss, rel=1e-6)
            assert same_norm == pytest.approx(norm, rel=1e-5)


def test_the_gradients_of_packed_parts_add_up_to_those_of_the_whole() -> None:
    found = []
    for made in (packed_job(8, 1), packed_job(2, 4)):
        tokens = made.step.feed.trainable_tokens(1)
        for batch in made.step.feed.step(1):
            (made.step.loss(made.step.model, batch)[0] / tokens).backward()
        found.append([p.grad for p in made.step.model.parameters()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)
