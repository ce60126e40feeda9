"""Whatever is wrong with the input, training goes on and the run warns once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_llama
import unfrozen
from gpu_runner.watch.hooks import MOST_ERRORS, ErrorBoundary
from run_process import runner
from watched_loops import alerts, batches, events, model_of, rows, series, train

pytestmark = pytest.mark.slow


def adamw(model: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3)


@pytest.mark.parametrize("wrong", [None, "model", {}, torch.zeros(3)])
def test_anything_but_a_model_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(TypeError, match="that trains"):
        unfrozen.watch(wrong)


def test_anything_but_an_optimizer_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="optimizer is a str"):
        unfrozen.watch(model_of(), ["adamw"])


def test_training_goes_on_without_a_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path / "file") as run:
        assert len(train(model, optimizer, 2)) == 2
    assert run.place is None
    assert "nothing is watched" in capsys.readouterr().err


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    for name in ("mine", "mine-2"):
        with unfrozen.watch(model_of(), runs=tmp_path, name="mine") as run:
            pass
        assert run.place == tmp_path / name


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden"])
def test_a_name_that_leads_elsewhere_is_not_taken(tmp_path: Path, name: str) -> None:
    with unfrozen.watch(model_of(), runs=tmp_path / "runs", name=name) as run:
        pass
    assert run.place is None
    assert not list(tmp_path.rglob("events.jsonl"))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ([{"nonsense": 1}], "its keys are nonsense"),
        ([1, 2], "row 1 is a int"),
        ([], "has no examples"),
        ("no such file.jsonl", "no such file.jsonl"),
    ],
)
def test_unreadable_examples_are_reported_and_the_rest_is_watched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: Any, message: str
) -> None:
    model = model_of()
    optimizer = adamw(model)
    options = {"task": task, "tokenizer": tiny_llama.tokenizer()}
    with unfrozen.watch(model, optimizer, runs=tmp_path, **options) as run:
        train(model, optimizer, 2)
    assert message in capsys.readouterr().err
    assert len(series(run, "train/loss")) == 2


def test_examples_without_a_tokenizer_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with unfrozen.watch(model_of(), runs=tmp_path, task=rows()):
        pass
    assert "pass tokenizer=" in capsys.readouterr().err


def test_a_model_that_returns_no_tensor_trains_on(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = torch.nn.Linear(2, 1)

        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            return {"answer": [self.line(x)]}

    model = Odd()
    optimizer = adamw(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        for _ in range(3):
            model(torch.ones(4, 2))["answer"][0].sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert events(run)[-1]["status"] == "finished"


def test_a_loss_that_is_not_finite_is_shown_as_it_is(tmp_path: Path) -> None:
    model = model_of()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        train(model, optimizer, 4)
    assert "NaN" in series(run, "train/loss")


def test_the_directory_may_be_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of()
    optimizer = adamw(model)
    run = unfrozen.watch(model, optimizer, runs=tmp_path)
    train(model, optimizer, 1)
    assert run.place is not None
    shutil.rmtree(run.place)
    assert len(train(model, optimizer, 2)) == 2
    run.close()
    assert capsys.readouterr().err.count("was deleted, and with it the log of this run") == 1


def test_training_goes_on_when_the_server_dies(tmp_path: Path) -> None:
    server = runner("serve", "--runs", str(tmp_path), "--port", "0", "--allow-control")
    try:
        assert server.stdout is not None
        assert server.stdout.readline()
        model = model_of()
        optimizer = adamw(model)
        with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
            losses = train(model, optimizer, 1)
            server.kill()
            server.wait()
            losses += train(model, optimizer, 2)
    finally:
        server.kill()
        server.communicate()
    assert series(run, "train/loss") == pytest.approx(losses)
    assert events(run)[-1]["status"] == "finished"


def test_a_forked_process_writes_nothing(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path, measure=False) as run:
        train(model, optimizer, 1)
        if (child := os.fork()) == 0:
            model(**next(batches(1)))
            run.close("failed", "of the child")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        train(model, optimizer, 1)
    assert events(run)[-1]["status"] == "finished"
    assert "of the child" not in str(events(run))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"price": "much"}, "price is a str"),
        ({"price": 2.0, "currency": "gold sovereigns"}, "pass 1 to 8 letters"),
        ({"lengths": [16, "long"]}, "lengths contain 'long'"),
    ],
)
def test_wrong_numbers_are_refused_at_once(options: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        unfrozen.watch(model_of(), **options)


def test_training_goes_on_with_a_full_disk(tmp_path: Path, full_disk: int) -> None:
    model = model_of(hidden_size=128, intermediate_size=512)
    assert sum(p.nbytes for p in model.parameters()) > full_disk
    optimizer = adamw(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        assert len(train(model, optimizer, 2)) == 2
    assert "could not be written" in alerts(run)


def test_a_compiled_model_is_watched_and_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # so that it is predicted here
    model = model_of()
    compiled = torch.compile(model, backend="eager")
    optimizer = adamw(model)
    with unfrozen.watch(compiled, optimizer, runs=tmp_path) as run:
        losses = train(compiled, optimizer, 3)
    assert series(run, "train/loss") == pytest.approx(losses)
    assert not events(run, "mem")


def test_a_forward_pass_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    with unfrozen.watch(model, optimizer, runs=tmp_path) as run:
        with pytest.raises(IndexError):
            model(input_ids=torch.tensor([[9999]]))
        losses = train(model, optimizer, 3)
    assert series(run, "train/loss") == pytest.approx(losses)
    assert torch.utils._python_dispatch._len_torch_dispatch_stack() == 0


def test_a_failing_hook_is_reported_once_and_removed_in_the_end() -> None:
    warnings: list[str] = []
    given_up: list[bool] = []
    guard = ErrorBoundary(warnings.append, lambda: given_up.append(True))
    hook = guard.hook("it could not be read", lambda: 1 / 0)
    for _ in range(MOST_ERRORS):
        hook()
    assert (
        warnings[0]
        == "it could not be read (ZeroDivisionError: division by zero). Training goes on."
    )
    assert len(warnings) == 2
    assert given_up == [True]


def test_two_runs_may_watch_one_model(tmp_path: Path) -> None:
    model = model_of()
    optimizer = adamw(model)
    first = unfrozen.watch(model, optimizer, runs=tmp_path, measure=False)
    second = unfrozen.watch(model, optimizer, runs=tmp_path, measure=False)
    (batch,) = batches(1)
    model(**batch).loss.backward()
    optimizer.step()
    first.close()
    second.close()
    assert series(first, "train/loss") == series(second, "train/loss")
