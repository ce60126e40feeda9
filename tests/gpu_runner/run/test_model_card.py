"""The card of a model: nothing in it is private."""

import shutil
from pathlib import Path

from gpu_runner import demo
from gpu_runner.log.writer import EventLog, SystemClock
from gpu_runner.run.model_card import write_card


def test_a_card_names_no_place_and_no_token(tmp_path: Path) -> None:
    with EventLog(tmp_path / "run" / "events.jsonl", run="run", clock=SystemClock()) as log:
        config = {"model": "file:///srv/models/mine", "data": "s3://bucket/rows.jsonl"}
        counts = {"train_rows": 3, "trainable_tokens": 9}
        log.emit("run.start", 0, config=config, model={}, plan={"steps": 3}, data=counts)
    shutil.copy(Path(demo.__file__).with_name("model") / "config.json", tmp_path)
    write_card(tmp_path, tmp_path / "run", "", (), f"{'hf_' + 'a' * 34} in /home/ann/x")
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "A full fine-tune of mine, made with Unfrozen" in card
    assert r"# \[private\] in \[private\]/x" in card
    assert "Trained on rows.jsonl: 3 rows with 9 trainable tokens." in card
