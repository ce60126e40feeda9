"""EWC's Fisher: beside its numpy version, on the rows it says, once."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.data.encode import Encoder
from gpu_runner.data.feed import Batch, collate
from gpu_runner.errors import DataError, UsageError
from gpu_runner.model.loss import loss_sum
from gpu_runner.optim import optimizer
from gpu_runner.plan import plan
from gpu_runner.plan.plan import RunPlan
from gpu_runner.train import fisher
from gpu_runner.train.initial_weights import InitialWeights
from gpu_runner.world import World
from unfrozen.lab import optimizer as lab_optimizer


def batches(count: int) -> list[Batch]:
    encoder = Encoder(tiny_llama.tokenizer(), 60)
    return [collate([encoder.encode(row)], 0) for row in tiny_llama.sums(count)]


def planned(model_dir: Path, sums_file: Path, **choices: object) -> RunPlan:
    given = {"model": str(model_dir), "data": str(sums_file), "steps": 2, "ewc": 1.0}
    return plan.make_plan(resolve(given | choices))


def test_it_is_that_of_numpy(tmp_path: Path) -> None:
    model, file = tiny_llama.model(), tmp_path / "fisher.safetensors"
    fisher.estimate(model, batches(5), file, world=World(), autocast=nullcontext)
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    rows = []
    for batch in batches(5):
        total, _ = loss_sum(model, batch)
        total.backward()
        rows.append({n: p.grad.numpy().copy() for n, p in model.named_parameters()})
        model.zero_grad()
    squares = {n: sum(np.square(row[n]) for row in rows) for n in rows[0]}
    expected, found = lab_optimizer.scaled_fisher(squares), load_file(file)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-4, atol=1e-6)
    assert np.mean(np.concatenate([f.ravel() for f in found.values()])) == pytest.approx(
        1, rel=1e-3
    )


def test_rows_without_a_gradient_are_refused(tmp_path: Path) -> None:
    model = tiny_llama.model()
    with torch.no_grad():
        model.model.norm.weight.zero_()  # whatever the rows say, every logit is 0
        model.model.embed_tokens.weight.zero_()
    with pytest.raises(DataError, match=r"gradients of mean square 0\.0: give others"):
        fisher.estimate(model, batches(1), tmp_path / "f", world=World(), autocast=nullcontext)


def test_its_rows_are_fisher_data_then_replay_then_the_general_ones(
    model_dir: Path, sums_file: Path, cats_file: Path, tmp_path: Path
) -> None:
    dogs = tiny_llama.write_rows(tmp_path / "dogs.jsonl", [{"text": f"dog {n}"} for n in range(9)])
    general = (("cats", str(cats_file)),)
    own = planned(model_dir, sums_file, general=general, fisher_data=str(dogs), fisher_rows=4)
    what, rows, _ = fisher.rows(own)
    assert (what, len(rows)) == ("fisher_data", 4)
    replayed = planned(model_dir, sums_file, general=general, replay=str(dogs))
    what, rows, _ = fisher.rows(replayed)
    assert what == "replayed"
    assert len(set(rows)) == len(rows) <= 9
    assert fisher.rows(planned(model_dir, sums_file, general=general))[0] == "general"


def test_what_is_cut_or_left_out_of_its_rows_is_reported(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    place = tmp_path / "dogs.jsonl"
    place.write_text('{"text": "dog"}\n{"text": "' + "dog " * 40 + '"}\nnot JSON\n')
    choices = {"fisher_data": str(place), "seq_len": 60, "general": ()}
    with pytest.raises(DataError, match=r"dogs\.jsonl:3: not JSON"):
        fisher.rows(planned(model_dir, sums_file, **choices))
    _, rows, (cut, left_out) = fisher.rows(
        planned(model_dir, sums_file, **choices, skip_bad_rows=True)
    )
    assert len(rows) == 2
    assert cut.startswith("fisher_data: 1 of 3 examples longer than --seq-len lost ")
    assert left_out.startswith("fisher_data: 1 bad row is left out: ")


def test_the_run_hears_what_was_left_out_of_its_rows(
    model_dir: Path, sums_file: Path, tmp_path: Path
) -> None:
    place = tmp_path / "dogs.jsonl"
    place.write_text('{"text": "dog"}\nnot JSON\n')
    choices = {"fisher_data": str(place), "skip_bad_rows": True, "general": ()}
    run, model, told = planned(model_dir, sums_file, **choices), tiny_llama.model(), []
    fisher.prepare(
        run,
        model,
        InitialWeights((), ()),
        tmp_path,
        optimizer=optimizer.build(model, lr=1.0, weight_decay=0.0),
        untrained=True,
        tell=lambda level, text: told.append((level, text)),
    )
    (warned,) = [text for level, text in told if level == "warn"]
    assert warned.startswith("fisher_data: 1 bad row is left out: ")


def test_without_any_rows_ewc_is_refused(model_dir: Path, sums_file: Path) -> None:
    with pytest.raises(UsageError, match=r"no rows to estimate .*: give fisher_data, --replay or"):
        fisher.rows(planned(model_dir, sums_file, general=()))


def test_the_choices_of_a_run_reach_its_optimizer_and_penalty(
    model_dir: Path, sums_file: Path
) -> None:
    run = planned(model_dir, sums_file, schedule="wsd", steps=10, floor_ratio=0.0)
    assert run.schedule.decay_steps == 2
    assert run.schedule.planned()[-1] == 0.0
    line = planned(model_dir, sums_file, schedule="linear", steps=10, lr=1e-3)
    assert line.schedule.planned()[-1] == pytest.approx(1e-4)
    flat = planned(model_dir, sums_file, schedule="constant", steps=10, lr=1e-3)
    assert flat.schedule.planned()[-1] == 1e-3
    assert replace(run).config.ewc == 1.0
