"""A watched loop: what is logged, that training is unchanged, and that nothing stays behind."""

from __future__ import annotations

import copy
import gc
import random
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_llama
import unfrozen
from conftest import matrix
from gpu_runner.data.dataset import encode_dataset
from gpu_runner.data.encode import Encoder
from gpu_runner.train.evaluate import Evaluator
from unfrozen.held_out import paired_difference
from unfrozen.schema import LogOrder, read_event
from watched_loops import alerts, batches, events, model_of, rows, series, train

pytestmark = pytest.mark.slow

AUTOCAST = partial(torch.autocast, "cpu", torch.bfloat16)


@pytest.fixture
def tokenizer() -> Any:
    return tiny_llama.tokenizer()


def adamw(model: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3)


def test_every_step_is_logged_with_its_loss_norm_rate_and_tokens(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path, name="mine") as run:
        losses = train(model, optimizer, 4)
    assert run.place == tmp_path / "mine"
    assert series(run, "train/loss") == pytest.approx(losses)
    assert series(run, "opt/lr") == [1e-3] * 4
    assert series(run, "train/tokens") == [96.0, 192.0, 288.0, 384.0]
    assert not [norm for norm in series(run, "train/grad_norm") if not norm > 0]
    assert events(run)[0]["kind"] == "run.start"
    assert events(run)[-1]["status"] == "finished"


def test_mfu_and_accuracy_are_logged_for_steps_that_are_not_measured(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path, measure=False) as run:
        train(model, optimizer, 30)
    assert not [value for value in series(run, "perf/mfu") if not 0 < value < 1]
    assert len(series(run, "perf/mfu")) == 30
    assert not [value for value in series(run, "train/token_accuracy") if not 0 <= value <= 1]
    assert series(run, "train/token_accuracy")


def test_the_page_accepts_what_is_written(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        train(model, optimizer, 3)
    order = LogOrder()
    for event in events(run):
        verdict = read_event(event)
        assert (verdict.problem, verdict.unknown) == ("", 0)
        assert order.accept(verdict.value) == ""


def test_the_first_batch_is_shown_token_by_token_as_its_labels_train_it(
    tmp_path: Path, tokenizer: Any
) -> None:
    (batch,) = batches(1)
    batch["input_ids"][0, 15] = batch["labels"][0, 15] = tokenizer.eos_token_id
    batch["attention_mask"][0, 16:] = 0  # padding
    batch["labels"][0, 16:] = -100
    model = model_of()
    with unfrozen.watch(model, tokenizer=tokenizer, runs=tmp_path, lengths=(5, 9, 9)) as run:
        model(**batch).loss.backward()
    (told,) = events(run, "rows")
    assert (told["how"].split(";")[0], len(told["first"])) == ("the first batch of the loop", 3)
    assert (told["lengths"]["shortest"], told["lengths"]["longest"]) == (5, 9)
    first = told["first"][0]
    assert (first["tokens"], first["trained"]) == (16, 8)
    assert [(part["as"], len(part["texts"])) for part in first["parts"]] == [
        *(("read", 8), ("trained", 7), ("end", 1))
    ]
    assert first["parts"][-1]["texts"] == [tokenizer.eos_token]
    written = "".join(text for part in first["parts"] for text in part["texts"])
    assert written == tokenizer.decode(batch["input_ids"][0, :16])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "not known: this watch was given no tokenizer="),
        ({"tokenizer": tiny_llama.tokenizer()}, "its labels are not passed to the model"),
    ],
)
def test_what_cannot_be_known_of_the_examples_is_said(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    model = model_of()
    (batch,) = batches(1)
    with unfrozen.watch(model, runs=tmp_path, **given) as run:
        model(batch["input_ids"]).logits.mean().backward()
    (told,) = events(run, "rows")
    assert said in told["how"]
    assert not [row for row in told.get("first", []) if "trained" in row]


@pytest.mark.parametrize("autocast", matrix([AUTOCAST, None], AUTOCAST), ids=["bf16", "fp32"])
@pytest.mark.parametrize("micro_batches", matrix([1, 3], 3))
def test_the_training_is_the_same_bit_for_bit(
    tmp_path: Path, tokenizer: Any, autocast: Any, micro_batches: int
) -> None:
    def trained(watched: bool) -> tuple[list[float], dict[str, Any], torch.Tensor]:
        model = model_of("gpt2")  # with dropout: random numbers are drawn in every step
        optimizer = adamw(model)
        torch.manual_seed(7)
        context: AbstractContextManager[Any] = (
            unfrozen.watch(
                model,
                optimizer,
                runs=tmp_path,
                task=rows(),
                general={"same": rows(3)},
                tokenizer=tokenizer,
                eval_every=2,
                prompts=["add 2 and 2"],
                new_tokens=4,
            )
            if watched
            else nullcontext()
        )
        with context:
            wrapped = {} if autocast is None else {"autocast": autocast}
            losses = train(model, optimizer, 5, micro_batches, **wrapped)
        return losses, copy.deepcopy(model.state_dict()), torch.get_rng_state()

    alone, watched = trained(False), trained(True)
    assert watched[0] == alone[0]
    assert all(torch.equal(watched[1][name], value) for name, value in alone[1].items())
    assert torch.equal(watched[2], alone[2])


def test_other_random_numbers_are_not_drawn_either(tmp_path: Path, tokenizer: Any) -> None:
    random.seed(3), np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist()
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(
        model, optimizer, runs=tmp_path, task=rows(), tokenizer=tokenizer, name="fixed"
    ):
        train(model, optimizer, 3)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_forgetting_is_measured_from_step_0_on(tmp_path: Path, tokenizer: Any) -> None:
    model = model_of()
    optimizer = adamw(model)
    options = {"task": rows(), "general": {"cats": rows(3), "dogs": rows(2)}}
    with unfrozen.watch(
        model, optimizer, runs=tmp_path, tokenizer=tokenizer, steps=4, eval_every=2, **options
    ) as run:
        train(model, optimizer, 4)
    found = [(event["step"], event["suite"]) for event in events(run, "eval")]
    suites = ("task", "general/cats", "general/dogs", "general")
    assert found == [(step, suite) for step in (0, 2, 4) for suite in suites]
    assert events(run, "drift")[0]["total"] == 0.0
    assert events(run, "drift")[-1]["total"] > 0
    assert not (run.place / "initial.safetensors").exists()


class BareModel(torch.nn.Module):
    """A model that gives logits, and whose head nobody can name."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(input_ids=ids).logits
        return logits


@pytest.mark.parametrize("wrap", [lambda model: model, BareModel])
def test_every_held_out_example_is_scored_as_train_scores_it(
    tmp_path: Path, tokenizer: Any, wrap: Callable[[Any], Any]
) -> None:
    model = model_of()
    watched = wrap(model)
    with unfrozen.watch(
        watched, adamw(watched), runs=tmp_path, tokenizer=tokenizer, task=rows(), steps=1
    ) as run:
        watched(torch.tensor([[3, 4, 5]]))
    (event, *_) = events(run, "eval")
    found = encode_dataset("task", [("", row) for row in rows()], Encoder(tokenizer, 64))
    cpu = torch.device("cpu")
    (score,) = Evaluator({"task": found}, 4, 0, cpu, nullcontext).run(model.eval())
    assert event["loss"] == pytest.approx(score.loss, rel=1e-5)
    assert event["row_losses"] == pytest.approx(list(score.row_losses), rel=1e-4)
    assert score.exact is not None
    assert event["exact"] == score.exact.as_json()
    assert event["row_right"] == "".join("01"[right] for right in score.row_right)


def test_a_later_evaluation_has_the_interval_of_the_change_of_its_loss(
    tmp_path: Path, tokenizer: Any
) -> None:
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(
        model, optimizer, runs=tmp_path, tokenizer=tokenizer, task=rows(), steps=2
    ) as run:
        train(model, optimizer, 2)
    first, *_, last = events(run, "eval")
    assert (first["step"], last["step"]) == (0, 2)
    assert "change" not in first
    found = paired_difference(first["row_losses"], last["row_losses"])
    assert found is not None
    assert last["change"] == pytest.approx([found.low, found.high], rel=1e-3)


def test_close_keeps_nothing_alive_and_removes_every_hook(tmp_path: Path) -> None:
    own = torch.autograd.backward, torch.nn.utils.clip_grad_norm_
    model = model_of()
    optimizer = adamw(model)
    run = unfrozen.watch(model, optimizer, runs=tmp_path)
    train(model, optimizer, 2)
    run.close()
    assert (torch.autograd.backward, torch.nn.utils.clip_grad_norm_) == own
    assert not model._forward_pre_hooks
    assert not model._forward_hooks
    watched = weakref.ref(model), weakref.ref(optimizer)
    del model, optimizer
    gc.collect()
    assert [one() for one in watched] == [None, None]


def test_a_deleted_model_ends_its_run(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    run = unfrozen.watch(model, optimizer, runs=tmp_path)
    train(model, optimizer, 2)
    del model, optimizer
    gc.collect()
    assert events(run)[-1]["status"] == "stopped"
    assert events(run)[-1]["reason"] == "the model was deleted"


def test_an_error_of_the_loop_is_how_its_run_ended(tmp_path: Path) -> None:
    model = model_of()
    run = unfrozen.watch(model, adamw(model), runs=tmp_path)

    def loop() -> None:
        with run:
            model(input_ids=torch.tensor([[3, 4]])).logits.sum()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert events(run)[-1]["status"] == "failed"
    assert "ZeroDivisionError" in events(run)[-1]["reason"]


def test_an_evaluation_of_the_loop_is_not_a_step(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        losses = train(model, optimizer, 2)
        model.eval()
        for _ in range(3):  # without no_grad, as it is often forgotten
            model(input_ids=torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]]))
        model.train()
        losses += train(model, optimizer, 2)
    assert series(run, "train/loss") == pytest.approx(losses)


def test_a_loss_computed_outside_of_the_model_is_logged(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    ids = torch.randint(3, 128, (2, 16))
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for _ in range(3):
            logits = model(ids).logits
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
            )
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert series(run, "train/loss")[-1] == pytest.approx(loss.item())


def test_micro_batches_are_weighted_by_their_trained_tokens(tmp_path: Path) -> None:
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    ids = torch.randint(3, 128, (1, 16))
    few = torch.where(torch.arange(16) < 14, -100, ids)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        losses = []
        for labels in (ids, few):
            output = model(input_ids=ids, labels=labels)
            output.loss.backward()
            losses.append(output.loss.item())
        optimizer.step()
    assert series(run, "train/loss") == pytest.approx([(15 * losses[0] + 2 * losses[1]) / 17])


def test_the_optimizer_is_found_if_it_is_not_passed(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(model, runs=tmp_path) as run:
        train(model, optimizer, 3)
    assert len(series(run, "train/loss")) == 3
    assert events(run, "predicted")


def test_two_optimizers_are_one_step(tmp_path: Path) -> None:
    model = model_of()
    head = list(model.lm_head.parameters())
    others = [p for p in model.parameters() if all(p is not one for one in head)]
    both = torch.optim.AdamW(others, lr=1e-3), torch.optim.SGD(head, lr=1e-2)
    with unfrozen.watch(model, both, runs=tmp_path) as run:
        for _ in range(3):
            model(**next(batches(1))).loss.backward()
            for optimizer in both:
                optimizer.step()
                optimizer.zero_grad()
    assert len(series(run, "train/loss")) == 3
    assert series(run, "opt/lr") == [1e-2] * 3
    assert {event["instant"] for event in events(run, "mem")} >= {"backward", "optimizer_step"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda m: m.eval(), "in evaluation mode"),
        (lambda m: m.model.embed_tokens.requires_grad_(False), "weights are frozen"),
        (lambda m: m.to(torch.bfloat16), "without a master copy"),
    ],
)
def test_the_first_step_warns_of_likely_mistakes(tmp_path: Path, spoil: Any, said: str) -> None:
    model = model_of(tie_word_embeddings=False)
    spoil(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        train(model, optimizer, 2)
    assert said in alerts(run)


def test_weights_without_an_optimizer_are_named(tmp_path: Path) -> None:
    model = model_of(tie_word_embeddings=False)
    optimizer = torch.optim.AdamW(model.model.parameters(), lr=1e-3)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        train(model, optimizer, 2)
    assert "1 tensors require gradients but belong to no optimizer (lm_head.weight" in alerts(run)


def test_stalled_weights_are_counted(tmp_path: Path) -> None:
    model = model_of().to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        train(model, optimizer, 2)
    assert series(run, "opt/stalled_ratio")[0] > 0.9
