"""The first event of a run: what there is to learn from, and what of it was cut or left out."""

from pathlib import Path

import torch

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.plan import plan
from gpu_runner.run import payloads


def test_it_counts_what_was_cut_or_left_out_of_every_set(
    sums_file: Path, model_dir: Path, tmp_path: Path
) -> None:
    good = tiny_llama.write_rows(tmp_path / "good.jsonl", tiny_llama.sums(3)).read_text()
    replay = tmp_path / "replay.jsonl"
    replay.write_text(good + '{"text": "' + "long " * 40 + '"}\nnot JSON\n')
    options = {"model": str(model_dir), "data": str(sums_file), "steps": 2, "seq_len": 60}
    options |= {"general": ()}
    more = {"skip_bad_rows": True, "replay": str(replay)}
    alone, beside = (plan.make_plan(resolve(options | given)) for given in ({}, more))
    assert [payloads.data_counts(alone)[name] for name in ("cut_rows", "left_out_rows")] == [
        0,
        0,
    ]
    assert [payloads.data_counts(beside)[name] for name in ("cut_rows", "left_out_rows")] == [
        1,
        1,
    ]


def test_a_model_is_known_by_a_hash_of_its_sizes_whatever_it_is_called() -> None:
    first = tiny_llama.model(hidden_size=16)
    second = tiny_llama.model(1, hidden_size=16)
    second.config._name_or_path = "/home/me/secret"
    second.config.dtype = "bfloat16"
    assert payloads.identity(first) == payloads.identity(second)
    assert payloads.identity(first)["type"] == "llama"
    assert payloads.identity(first) != payloads.identity(tiny_llama.model(hidden_size=32))
    assert payloads.identity(torch.nn.Linear(1, 1)) == {}
