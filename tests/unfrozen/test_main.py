"""The command line: files, stdin, lists, and errors in one line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from unfrozen.__main__ import main
from unfrozen.model.catalogue import CATALOGUE

JOB: dict[str, Any] = {
    "model": CATALOGUE["meta-llama/Llama-2-7b-hf"].config,
    "recipe": {"micro_batch": 4},
    "gpu": "A100-80GB",
}


def written(tmp_path: Path, content: object) -> str:
    path = tmp_path / "job.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_a_job_is_answered_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", written(tmp_path, JOB), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["fits"] is False
    assert answer["min_gpus"] > 1


def test_a_list_of_jobs_gives_a_list_of_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", written(tmp_path, [JOB, JOB]), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first == second
    assert main(["plan", written(tmp_path, []), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_framework_named_beside_a_job_is_told_with_what_it_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = written(tmp_path, JOB | {"cluster": {"gpus": 8, "sharding": "zero3"}})
    assert answered(capsys, job, "--framework", "torchtitan")["framework"]["name"] == "torchtitan"
    for options in ([], ["--explain"]):
        assert main(["plan", job, "--framework", "torchtitan", *options]) == 0
        assert "cluster.outer_apart = true" in capsys.readouterr().out
    assert main(["plan", job, "--framework", "lightning"]) == 2
    assert "known frameworks are" in capsys.readouterr().err


def answered(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command answers in JSON."""
    assert main(["plan", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command answers in text."""
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


def test_a_person_reads_a_report_and_a_row_for_each_job_of_a_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Does not fit the A100" in printed(capsys, written(tmp_path, JOB))
    assert len(printed(capsys, written(tmp_path, [JOB, JOB, JOB])).splitlines()) == 4


def test_a_long_list_is_answered_without_advice_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", written(tmp_path, [JOB] * 101), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "unfrozen: 101 jobs: advice is left out of lists of more than 100\n"
    assert json.loads(captured.out)[0]["advice"] == []
    assert answered(capsys, written(tmp_path, [JOB] * 2))[1]["advice"]


def test_a_model_of_the_catalogue_needs_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    whole = answered(
        capsys, "--model", "meta-llama/Llama-2-7b-hf", "--recipe", '{"micro_batch": 4}'
    )
    assert answered(capsys, "--model", "llama-2-7B-hf", "--recipe", '{"micro_batch":4}') == whole
    assert "gpus" not in whole


def test_a_config_json_is_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    infinite = {"time_step_limit": [0.0, float("inf")]}  # as transformers 4 wrote it for Mamba-2
    path.write_text(json.dumps({**JOB["model"], **infinite}))
    assert "6.74B" in printed(capsys, "--model", str(path))


def test_options_change_the_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = written(tmp_path, JOB)
    assert "B200" in printed(capsys, job, "--gpu", "B200")
    assert "2 × RTX 4090" in printed(capsys, job, "--gpu", "2x4090")
    cluster = '{"gpus": 8, "sharding": "zero3"}'
    assert (
        answered(capsys, job, "--cluster", cluster)["device_gib"]
        < answered(capsys, job)["device_gib"]
    )
    assert "16 × 2,048" in printed(capsys, job, "--recipe", '{"micro_batch": 16}')
    both = answered(capsys, written(tmp_path, [JOB, JOB]), "--gpu", "B300")
    assert [entry["fits"] for entry in both] == [True, True]


def test_the_peak_is_taken_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = written(tmp_path, JOB)
    found = answered(capsys, job, "--explain")
    parts = found["instants"][found["peak_instant"]]
    assert sum(term["bytes"] for term in found["explain"]) == sum(parts.values())
    text = printed(capsys, job, "--explain")
    assert "2 · N" in text
    assert "N = 6,738,415,616" in text
    assert "arXiv 1910.02054" in text


def test_every_gpu_can_be_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = written(tmp_path, JOB)
    assert len(answered(capsys, job, "--all-gpus")["gpus"]) > 20
    assert "MI300X" in printed(capsys, job, "--all-gpus")


@pytest.mark.parametrize("key", ["micro_batch", "seq_len", "gpus"])
def test_a_job_can_be_solved(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = written(tmp_path, JOB | {"gpu": "B300"})
    found = answered(capsys, job, "--solve", key)["solve"][key]
    assert found >= 1
    assert f"{found:,}" in printed(capsys, job, "--solve", key)


def test_plans_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = written(tmp_path, JOB | {"cluster": {"gpus": 8}})
    found = answered(capsys, job, "--compare", "none,zero1,zero2,zero3")["compare"]
    needs = [found[name]["device_gib"] for name in ("none", "zero1", "zero2", "zero3")]
    none, zero1, zero2, zero3 = needs
    assert none > max(zero1, zero2)
    assert zero3 < min(zero1, zero2)
    assert zero2 > zero1  # its shards of gradients come from a stream of their own
    text = printed(capsys, job, "--compare", "micro_batch=1, micro_batch=8,params=fp32,gpu=H200")
    assert text.count("micro_batch=") == 2


def test_tokens_give_time_energy_and_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = written(tmp_path, JOB)
    found = answered(capsys, job, "--tokens", "1B", "--price", "2", "--mfu", "0.4")["compute"]
    assert found["tokens"] == 1e9
    assert found["mfu"] == pytest.approx(0.4)
    assert found["cost"] == pytest.approx(2 * found["gpu_hours"])
    text = printed(capsys, job, "--tokens", "2.5e8")
    assert "250M tokens on A100 80GB SXM" in text
    assert "Peak memory per GPU" in text
    assert printed(capsys, written(tmp_path, [JOB, JOB]), "--tokens", "1k").count("kWh") == 2


def test_a_dash_reads_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(JOB).encode())))
    assert main(["plan", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["peak_instant"] == "end_of_forward"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ('{"model": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ({"model": {}}, "model.model_type"),
        (JOB | {"recipe": {"seq_len": -1}}, "recipe.seq_len"),
        ({"a\nb": 1}, "'a\\nb'"),
        ('{"model": ' + "9" * 5000 + "}", "not JSON"),
        ("", "not JSON"),
        ('"job"', "neither a trainer's settings nor a job"),
    ],
)
def test_a_job_that_cannot_be_planned_is_one_line_on_stderr(
    content: object, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", written(tmp_path, content), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give a file, - or --model"),
        (["--model", "Llama-3.1-7B"], "did you mean meta-llama/Llama-3.1-"),
        (["--model", "qqqqq"], "HuggingFaceTB/SmolLM2-135M"),
        (["--model", "none.json"], "model: got 'none.json'; the file cannot be read"),
        (["--model", "gpt2", "--recipe", "{"], "--recipe: got '{'; this is not JSON"),
        (["--model", "gpt2", "--cluster", "8"], "--cluster: got '8'; it must be an object"),
        (["--model", "gpt2", "--gpu", "ZX81"], "which has 66"),
        (["--model", "gpt2", "--gpu", "8xH100", "--cluster", '{"gpus": 4}'], "cluster.gpus says 4"),
        (["--model", "gpt2", "--gpu", '{"nominal_gb": 0}'], "gpu.nominal_gb: got 0"),
        (["--model", "."], "this folder has no config.json"),
        (["--model", "gpt2", "--compare", "zero9"], "none, zero1, zero2, zero3, or key=value"),
        (["--model", "gpt2", "--compare", ","], "nothing to compare"),
        (["--model", "gpt2", "--compare", "batch=4"], "recipe.batch"),
        (["--model", "gpt2", "--solve", "seq_len"], "--gpu H100"),
        (["--model", "gpt2", "--tokens", "0"], "tokens: got 0"),
        (["--model", "gpt2", "--price", "3"], "needs a number of tokens"),
        (["--model", "gpt2", "--tokens", "1B", "--mfu", "40"], "1e-06 … 1"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_line_on_stderr(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err


@pytest.mark.parametrize(
    "arguments", [["plan", "--tokens", "many"], ["plan", "--solve", "x"], ["x"], [], ["plan", "-x"]]
)
def test_an_argument_of_the_wrong_kind_is_one_line_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("unfrozen: ")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_reader_that_stops_reading_is_no_error(tmp_path: Path) -> None:
    command = (
        f"{sys.executable} -m unfrozen plan {written(tmp_path, [JOB] * 300)} --json | head -c 1"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout == "["
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_byte_order_mark_is_read_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "job.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(JOB).encode())
    assert main(["plan", str(path)]) == 0
    assert "6.74B" in capsys.readouterr().out


def test_a_file_that_is_not_there_or_not_text_is_one_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(tmp_path / "none.json")]) == 2
    assert "No such file" in capsys.readouterr().err
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    assert main(["plan", str(tmp_path / "binary.json")]) == 2
    assert "not text in UTF-8" in capsys.readouterr().err


@pytest.mark.slow
def test_the_module_runs_by_its_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unfrozen", "plan", written(tmp_path, JOB), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["peak_instant"] == "end_of_forward"


def test_a_plan_is_opened_in_the_page_where_there_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    command = ["plan", written(tmp_path, JOB | {"recipe": {"micro_batch": 4}}), "--open"]
    assert main(command, "unfrozen", opened.append) == 0
    assert "gpu=" not in opened[0]  # the page's own default
    assert "model=meta-llama/Llama-2-7b-hf&micro_batch=4" in opened[0]
    assert "Peak memory per GPU" in capsys.readouterr().out
    assert main(command) == 2
    assert "this program has no page" in capsys.readouterr().err
    assert main(["plan", written(tmp_path, [JOB]), "--open"], "unfrozen", opened.append) == 2
    assert "one address is one plan" in capsys.readouterr().err
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("gpu", "least", "code"),
    [
        ("H200", "fits", 0),
        ("H200", "tight", 0),
        ("A100-80GB", "tight", 3),
        ("A100-80GB", "fits", 3),
    ],
)
def test_a_pipeline_fails_where_the_plan_does_not_fit(
    gpu: str, least: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = written(tmp_path, JOB | {"recipe": {}} if gpu == "H200" else JOB)
    assert main(["plan", job, "--gpu", gpu, "--json", "--fail-unless", least]) == code
    assert json.loads(capsys.readouterr().out)["fits"] is (code == 0)
    assert main(["plan", written(tmp_path, [JOB]), "--fail-unless", least]) == 3
    capsys.readouterr()


def test_without_a_gpu_there_is_nothing_to_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--model", "Llama-3.1-8B", "--fail-unless", "fits"]) == 2
    assert "--fail-unless: got 'fits'; no GPU is named" in capsys.readouterr().err


def test_of_a_list_the_refused_job_says_why_and_the_others_are_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = written(tmp_path, [JOB, JOB | {"recipe": {"micro_batch": 0}}, JOB])
    first, second, third = answered(capsys, jobs)
    assert first == third
    assert list(second) == ["error"]
    assert "job 2 of 3, recipe.micro_batch: got 0" in second["error"]
    assert "job 2 of 3, recipe.micro_batch: got 0" in printed(capsys, jobs)
    assert main(["plan", jobs, "--fail-unless", "tight"]) == 3
    capsys.readouterr()
    assert main(["plan", written(tmp_path, [{}, {}])]) == 2
    assert "job 1 of 2, model" in capsys.readouterr().err


def test_a_verdict_is_printed_as_a_badge_for_a_readme(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {}
    for gpus in ("2x4090", "8xH100"):
        assert main(["plan", "--model", "Qwen2.5-7B", "--gpus", gpus, "--badge"]) == 0
        root = ElementTree.fromstring(capsys.readouterr().out)
        assert {path.tag.partition("}")[2] for path in root} == {"title", "path", "text"}
        shown[gpus] = root.get("aria-label")
    assert shown == {"2x4090": "fits 2 × RTX 4090", "8xH100": "fits 8 × H100 SXM"}
    job = written(tmp_path, JOB)
    assert main(["plan", job, "--badge"]) == 0
    assert ">does not fit</text>" in capsys.readouterr().out
    assert main(["plan", "--model", "Qwen2.5-7B", "--badge"]) == 2
    assert "--badge" in (said := capsys.readouterr().err), said
    assert "give --gpu or --gpus" in said
    assert main(["plan", written(tmp_path, [JOB, JOB]), "--badge"]) == 2
    assert "one badge is of one plan" in capsys.readouterr().err
