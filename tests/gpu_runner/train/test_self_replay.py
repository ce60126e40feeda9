"""Replay of what θ₀ writes by itself: how its rows begin and end, whole runs with it."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data import run_data, sampled
from gpu_runner.data.encode import Encoder
from gpu_runner.errors import DataError, UsageError
from gpu_runner.plan.plan import RunPlan, make_plan
from gpu_runner.plan.report import show_plan
from gpu_runner.run.fine_tune import fine_tune
from gpu_runner.run.resume import resume
from gpu_runner.train import self_replay
from gpu_runner.world import World
from resumed_runs import said, the_run
from run_process import losses, together, train_here

Make = Callable[..., TrainConfig]


@pytest.fixture
def make(model_dir: Path, sums_file: Path, tmp_path: Path) -> Make:
    def choices(**given: Any) -> TrainConfig:
        usual = {
            **{"model": str(model_dir), "data": str(sums_file), "steps": 6, "eval_every": 6},
            **{"general": (), "replay": "self", "replay_share": 0.3, "sample_tokens": 0},
            **{"runs": str(tmp_path / "runs"), "save_every": 2, "lr": 1e-2, "seq_len": 32},
        }
        return resolve(usual | given)

    return choices


def written(run: Path) -> list[list[int]]:
    """The tokens of the rows that the model of a run wrote."""
    lines = (run / "self-replay.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["tokens"] for line in lines]


@pytest.mark.slow
def test_rows_are_written_once_and_a_stopped_run_goes_on_with_them(
    make: Make, console: Console, stop_after: Callable[[int], Console], tmp_path: Path
) -> None:
    whole = make(runs=str(tmp_path / "whole"))
    fine_tune(whole, console)
    assert "Replay: θ₀ wrote " in said(the_run(whole))
    broken = make(runs=str(tmp_path / "broken"))
    fine_tune(broken, stop_after(4))
    first = the_run(broken)
    (tmp_path / "moved").mkdir()
    moved = first.rename(tmp_path / "moved" / first.name)  # the file is found where the run lies
    assert written(moved) == written(the_run(whole))
    resume(moved, console)
    assert losses(moved) == losses(the_run(whole))
    results = [load_file(run / "model" / "model.safetensors") for run in (moved, the_run(whole))]
    assert all(torch.equal(results[0][name], tensor) for name, tensor in results[1].items())
    plan = make_plan(resolve({"replay": str(moved / "self-replay.jsonl")} | _same(whole)))
    assert plan.train.replayed_share == pytest.approx(0.3, abs=0.05)


def _same(config: TrainConfig) -> dict[str, Any]:
    kept = ("model", "data", "steps", "general", "replay_share", "seq_len", "runs")
    return {name: getattr(config, name) for name in kept}


@pytest.mark.slow
def test_a_prompted_row_is_a_question_and_the_answer_alone_is_trained(
    make: Make,
    console: Console,
    stop_after: Callable[[int], Console],
    cats_file: Path,
    tmp_path: Path,
) -> None:
    for prompts in ("data", str(cats_file)):
        config = make(runs=str(tmp_path / Path(prompts).stem), replay_prompts=prompts)
        fine_tune(config, stop_after(4))
        run = the_run(config)
        assert ", each begun with one of " in said(run)
        lines = (run / "self-replay.jsonl").read_text("utf-8").splitlines()
        rows = list(map(json.loads, lines))
        asked = {tuple(row["tokens"][: row["asked"]]) for row in rows}
        assert asked <= questions(make_plan(make()), prompts)
        replay = sampled.read(run / "self-replay.jsonl")
        for row, example in zip(rows, replay.examples, strict=True):
            assert example.trained.index(True) == row["asked"] < len(example.ids)
            assert all(example.trained[row["asked"] :])
        before = (run / "self-replay.jsonl").read_bytes()
        resume(run, console)
        assert (run / "self-replay.jsonl").read_bytes() == before


def questions(plan: RunPlan, prompts: str) -> set[tuple[int, ...]]:
    """The tokens of each prompt as the model reads it."""
    rows = (
        plan.train.rows
        if prompts == "data"
        else run_data.load_whole("", prompts, plan.config, plan.encoder).rows
    )
    texts = [plan.encoder.prompt_text(row) for row in rows]
    return {tuple(plan.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts}


def test_prompts_without_room_for_an_answer_are_refused(model_dir: Path) -> None:
    plan, _ = of_one_token(model_dir, 5)
    with pytest.raises(DataError, match=r"--replay-prompts data: no prompt has from 1 to 1 tokens"):
        self_replay._prompts(plan, "data", 2)


def test_a_chat_model_answers_the_prompts_of_the_task_unless_told_otherwise(make: Make) -> None:
    chat, plain = (cast(Encoder, SimpleNamespace(has_template=has)) for has in (True, False))
    found = [
        sampled.prompts_of(make(replay_prompts=given), encoder)
        for encoder in (chat, plain)
        for given in (None, "none", "data", "other.jsonl")
    ]
    assert found == ["data", None, "data", "other.jsonl", None, None, "data", "other.jsonl"]


def test_prompts_need_replay_that_the_model_writes(make: Make, cats_file: Path) -> None:
    with pytest.raises(
        UsageError, match=r"--replay-prompts 'data' has no effect: give --replay self"
    ):
        make(replay=str(cats_file), replay_prompts="data")


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [None, "data"])
def test_two_processes_write_the_rows_of_one(
    prompts: str | None, make: Make, tmp_path: Path
) -> None:
    rows = []
    for processes in (1, 2):
        config = make(runs=str(tmp_path / str(processes)), grad_accum=2)
        options = {k: v for k, v in config.as_json().items() if k in _same(config) or k == "replay"}
        options |= {"replay_prompts": prompts, "grad_accum": 2, "sample_tokens": 0, "general": ()}
        for child in together(train_here, options, processes):
            child.join()
            assert child.exitcode == 0
        rows.append(written(the_run(config)))
    assert rows[1][: len(rows[0])] == rows[0]


def test_the_plan_tells_what_must_be_written_first(make: Make, console: Console) -> None:
    plan = make_plan(make())
    show_plan(console, plan)
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert f"θ₀ writes {plan.train.replayed_rows} rows of 32 tokens, or more; at least" in text


def start(bos: str | None, question: str, *known: str) -> tuple[set[int], str]:
    """Which first tokens rows get, and what they are called."""
    vocabulary = {token: number for number, token in enumerate(("a", "b", "<end>", *known))}
    tokenizer = SimpleNamespace(
        bos_token=bos, get_vocab=lambda: vocabulary, all_special_ids=[2], eos_token_id=2
    )
    encoder = SimpleNamespace(has_template=True, render_question=lambda _: question)
    plan: Any = SimpleNamespace(tokenizer=tokenizer, encoder=encoder)
    draw, what = self_replay._start(plan)
    return {token for (token,) in draw(torch.Generator().manual_seed(0))}, what


def test_rows_begin_with_bos_unless_that_begins_turns() -> None:
    assert start("<s>", "<s>user: Hello", "<s>") == ({3}, "<s>")
    chat = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    known = ("<|im_start|>", "<|endoftext|>")
    assert start("<|im_start|>", chat, *known) == ({4}, "<|endoftext|>")
    assert start(None, "Hello", "<|endoftext|>") == ({3}, "<|endoftext|>")
    assert start(None, "Hello") == ({0, 1}, "a random token")


def of_one_token(model_dir: Path, token: int) -> tuple[RunPlan, Any]:
    """A plan of self-replay, and a model that writes nothing but this token."""
    model = tiny_llama.model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1)
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        model.model.embed_tokens.weight.fill_(1)
        model.lm_head.weight[token] = 1
    rows = str(tiny_llama.write_rows(model_dir.parent / "rows.jsonl", tiny_llama.sums(40)))
    given = {"model": str(model_dir), "data": rows, "replay": "self", "general": (), "seq_len": 8}
    return make_plan(resolve(given)), model


def test_rows_end_with_their_end_token_or_at_their_longest(model_dir: Path, tmp_path: Path) -> None:
    plan, model = of_one_token(model_dir, 5)
    self_replay.write_rows(plan, model, tmp_path / "self-replay.jsonl", World(), lambda _: None)
    rows = written(tmp_path)
    assert {len(row) for row in rows} == {8}
    assert not [row for row in rows if set(row[1:]) != {5}]


def test_a_model_that_ends_at_once_is_refused(model_dir: Path, tmp_path: Path) -> None:
    plan, model = of_one_token(model_dir, int(_end(model_dir)))
    with pytest.raises(DataError, match=r"--replay self: .* writes nothing after .*: it ends at"):
        self_replay.write_rows(plan, model, tmp_path / "x", World(), lambda _: None)


def _end(model_dir: Path) -> int:
    end: int = json.loads((model_dir / "config.json").read_text("utf-8"))["eos_token_id"]
    return end


def test_a_prompt_that_is_no_part_of_its_row_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text('{"tokens": [1, 2], "asked": 2}', "utf-8")
    with pytest.raises(DataError, match="line 1: its prompt is no part of it"):
        sampled.read(tmp_path / "rows")


@pytest.mark.parametrize("line", ['{"text": "a"}', '{"tokens": [1]}', '{"tokens": [1, -2]}', "?"])
def test_a_file_that_no_model_wrote_is_refused(line: str, tmp_path: Path) -> None:
    file = tmp_path / "self-replay.jsonl"
    file.write_text(f'{{"tokens": [1, 2], "text": "a"}}\n{line}\n', "utf-8")
    with pytest.raises(DataError, match="line 2: it has no tokens that a model wrote"):
        sampled.read(file)
    file.write_text("", "utf-8")
    with pytest.raises(DataError, match="has no rows"):
        sampled.read(file)
