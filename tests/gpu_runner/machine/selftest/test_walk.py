"""The walk on this CPU, and a machine that computes wrong in each of the ways it looks for."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from gpu_runner.errors import ExitCode, SystemFailure, UsageError
from gpu_runner.machine.selftest import figures, kernels, numerics, steps, updates, walk
from gpu_runner.machine.selftest.figures import Bench, Check, Figure, Skipped, settings
from gpu_runner.plan.plan import make_plan


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(make_plan(settings("cpu")))


def named(words: str) -> Check:
    (found,) = [check for check in walk.CHECKS if check.words.startswith(words)]
    return found


def printed(console: Console) -> str:
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
def test_this_machine_passes_with_a_line_a_check_and_a_report(
    console: Console, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    assert walk.run(console, "cpu", report) == ExitCode.OK, printed(console)
    first, *lines, written, last = printed(console).splitlines()
    assert first.startswith("PyTorch ")
    assert len(lines) == len(walk.CHECKS)
    assert {line[0] for line in lines} == {"✓", "·"}
    assert not any("0e+00" in line for line in lines), "what is exact says so"
    skipped = [line for line in lines if line[0] == "·"]
    assert all(": skipped, " in line for line in skipped)
    assert sum("a CPU has nothing to wait for" in line for line in skipped) == 2
    assert str(report) in written.replace("\n", "")
    told = re.fullmatch(r"All (\d+) checks passed on cpu, (\d+) skipped\.", last)
    assert told is not None
    found = json.loads(report.read_text("utf-8"))
    verdicts = [check["verdict"] for check in found["checks"]]
    assert [verdicts.count("passed"), verdicts.count("skipped")] == [*map(int, told.groups())]
    assert sum(check["seconds"] for check in found["checks"]) > 0
    assert found["machine"]["torch"] == torch.__version__
    assert str(Path.home()) not in report.read_text("utf-8")


def test_what_breaks_is_one_outcome_and_the_walk_goes_on(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Bench) -> Figure:
        raise RuntimeError("no kernel image is available\nfor execution on the device")

    def absent(_: Bench) -> Figure:
        raise Skipped("there is one card")

    checks = [Check("a", broken), Check("b", absent), Check("c", lambda _: Figure(1e-9, 1e-5))]
    checks += [Check("d", lambda _: Figure(float("nan"), 1.0)), Check("e", lambda _: Figure(0, 0))]
    monkeypatch.setattr(walk, "CHECKS", checks)
    assert walk.run(console, "cpu") == ExitCode.NOT_READY
    lines = printed(console).splitlines()[1:]
    assert lines[0].startswith("✗ a: RuntimeError: no kernel image is available, ")
    assert lines[1] == "· b: skipped, there is one card"
    assert lines[2].startswith("✓ c: 1.0e-09 (at most 1e-05), ")
    assert lines[3].startswith("✗ d: nan (at most 1e+00), ")
    assert lines[4].startswith("✓ e: exactly, ")
    assert lines[5] == "2 of 4 checks failed: do not train here. Run doctor first."


def test_a_report_of_another_kind_is_refused_before_anything_is_done(console: Console) -> None:
    with pytest.raises(UsageError, match=r"--report x\.txt: give a name that ends in \.json or"):
        walk.run(console, "cpu", Path("x.txt"))
    assert not printed(console)


def test_a_report_that_cannot_be_written_says_so(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "CHECKS", ())
    with pytest.raises(SystemFailure, match=r"cannot be written \(No such file"):
        walk.run(console, "cpu", tmp_path / "nowhere" / "x.md")


@pytest.mark.slow
def test_a_wrong_loss_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    right = numerics.loss_sum

    def wrong(model: Any, batch: Any, *more: Any) -> Any:
        total, tokens = right(model, batch, *more)
        return total * (1.01 if batch.bounds is None else 1.02), tokens

    monkeypatch.setattr(numerics, "loss_sum", wrong)
    monkeypatch.setattr(figures, "loss_sum", wrong)
    outcomes = {check.words: walk.carried_out(check, bench) for check in numerics.NUMERICS}
    failed = [words for words, one in outcomes.items() if one.verdict == "failed"]
    assert failed == [
        "The loss agrees with numpy's, token by token",
        "Rows packed into one sequence give the gradient of each of them alone",
    ]
    assert walk.carried_out(named("fp32: the gradient"), bench).verdict == "failed"


WRONG = {
    "Packed documents attend": {"cu_seq_lens_q": torch.tensor([0, 233], dtype=torch.int32)},
    "A window hides": {"sliding_window": 17},
    "Capped scores": {"softcap": 2.01},
    "Heads of 80": {"scaling": 0.1},
}


@pytest.mark.parametrize("words", WRONG)
@pytest.mark.parametrize("format", ["fp32", "bf16"])
def test_a_kernel_that_attends_otherwise_is_found(
    words: str, format: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (check,) = [
        one for one in kernels.KERNELS if one.words.startswith(words) and one.words.endswith(format)
    ]
    assert walk.carried_out(check, bench).verdict == "passed"
    own = kernels.attention.attend
    monkeypatch.setattr(
        kernels.attention, "attend", lambda *a, **k: own(*a, **{**k, **WRONG[words]})
    )
    if (words, format) != ("Capped scores", "bf16"):  # a hundredth of a cap is below its bits
        assert walk.carried_out(check, bench).verdict == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "sgd", "adafactor", "muon"])
def test_an_optimizer_that_moves_otherwise_is_found(
    name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = named(f"{name} moves weights")
    assert walk.carried_out(check, bench).verdict == "passed"
    own = updates.optim.Optimizer.step
    monkeypatch.setattr(
        updates.optim.Optimizer, "step", lambda self, lr, *more: own(self, 1.1 * lr, *more)
    )
    assert walk.carried_out(check, bench).verdict == "failed"


@pytest.mark.slow
def test_rounding_that_loses_updates_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = named("bf16 weights, rounding kahan")
    right = walk.carried_out(check, bench)
    assert right.verdict == "passed"
    assert re.fullmatch(r"rounded to the nearest: 0\.\d\d of the way", right.note)
    plain = updates.optim.OptimizerChoice("adamw")
    monkeypatch.setattr(updates.optim, "OptimizerChoice", lambda *_, **__: plain)
    assert walk.carried_out(check, bench).verdict == "failed"


@pytest.mark.slow
def test_memory_that_was_not_foreseen_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = named("A step holds the bytes that were predicted, fp32")
    assert walk.carried_out(check, bench).verdict == "passed"
    monkeypatch.setattr(steps, "fuses", lambda *_: False)
    assert walk.carried_out(check, bench).verdict == "failed"


@pytest.mark.slow
def test_blocks_that_are_not_compiled_are_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps.blocks, "prepare", lambda *_, **__: None)
    found = walk.carried_out(named("Every block is compiled"), bench)
    assert (found.verdict, found.note) == ("failed", "0 of 2 blocks")
