import os
from pathlib import Path

import pytest

import tiny_llama
from gpu_runner.config.load import resolve
from gpu_runner.config.schema import TrainConfig
from gpu_runner.data import run_data
from gpu_runner.data.encode import Encoder
from gpu_runner.errors import DataError, UsageError


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(tiny_llama.tokenizer(), 60)


def config(sums_file: Path, **choices: object) -> TrainConfig:
    return resolve({"model": "x", "data": str(sums_file), "general": (), **choices})


def test_replay_is_mixed_into_training_and_into_nothing_else(
    sums_file: Path, cats_file: Path, encoder: Encoder
) -> None:
    plain, plain_suites = run_data.load_datasets(config(sums_file), encoder)
    replayed = config(sums_file, replay=str(cats_file), replay_share=0.2)
    mixed, suites = run_data.load_datasets(replayed, encoder)
    assert mixed.replayed_share == pytest.approx(0.2, abs=0.03)
    assert mixed.examples[: len(plain.examples)] == plain.examples
    assert suites["task"].examples == plain_suites["task"].examples


def test_rows_that_show_forgetting_may_not_be_replayed(
    sums_file: Path, cats_file: Path, encoder: Encoder
) -> None:
    choices = {"replay": str(cats_file), "general": (("cats", str(cats_file)),)}
    with pytest.raises(UsageError, match="trained on cannot show what is forgotten"):
        run_data.load_datasets(config(sums_file, **choices), encoder)
    choices["replay"] = os.path.relpath(cats_file)
    with pytest.raises(UsageError, match="trained on cannot show what is forgotten"):
        run_data.load_datasets(config(sums_file, **choices), encoder)


@pytest.mark.parametrize("spelling", ["as it is", "relative", "symbolic link", "hard link"])
def test_a_file_that_is_trained_on_is_not_scored_however_it_is_written(
    spelling: str, sums_file: Path, cats_file: Path, tmp_path: Path, encoder: Encoder
) -> None:
    link = tmp_path / "link.jsonl"
    if spelling == "symbolic link":
        link.symlink_to(sums_file)
    elif spelling == "hard link":
        link.hardlink_to(sums_file)
    same = {"as it is": str(sums_file), "relative": os.path.relpath(sums_file)}
    source = same.get(spelling, str(link))
    with pytest.raises(UsageError, match=f"--eval-data {source} is the file of --data .*held out"):
        run_data.load_datasets(config(sums_file, eval_data=source), encoder)
    with pytest.raises(UsageError, match=f"--general sums={source} is the file of --data"):
        run_data.load_datasets(config(sums_file, general=(("sums", source),)), encoder)
    with pytest.raises(UsageError, match=f"--eval-data {source} is the file of --replay"):
        run_data.load_datasets(config(cats_file, replay=str(sums_file), eval_data=source), encoder)


def test_rows_that_are_trained_on_as_well_are_counted_where_they_are_scored(
    sums_file: Path, tmp_path: Path, encoder: Encoder
) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_text("\n".join(sums_file.read_text().splitlines()[:3]) + '\n{"text": "new"}\n')
    _, suites = run_data.load_datasets(config(sums_file, eval_data=str(copy)), encoder)
    assert suites["task"].trained_rows == 3
    assert suites["task"].remarks() == [
        "held-out: 3 of 4 examples trained on as well, token for token; such a loss says nothing"
        " about new examples."
    ]
    twice = tmp_path / "twice.jsonl"
    twice.write_text('{"text": "the same"}\n' * 20)
    train, suites = run_data.load_datasets(config(twice), encoder)
    assert (train.trained_rows, suites["task"].trained_rows) == (0, 2)


def test_what_is_wrong_with_a_single_row_is_reported_before_that_it_is_alone(
    tmp_path: Path, encoder: Encoder
) -> None:
    rows = tmp_path / "rows.jsonl"
    for row, reason in (
        ('{"txet": "a"}', "rows.jsonl:1: its keys are txet"),
        ('{"text": ""}', "0 of 1 examples have trainable tokens"),
        ('{"text": "a b c"}', "1 row cannot be split .* give --eval-data"),
    ):
        rows.write_text(row)
        with pytest.raises(DataError, match=reason):
            run_data.load_datasets(config(rows), encoder)


def test_bad_rows_are_left_out_of_every_set_when_asked(tmp_path: Path, encoder: Encoder) -> None:
    rows: list[dict[str, object]] = [*tiny_llama.sums(12), {"words": 1}]
    source = tiny_llama.write_rows(tmp_path / "rows.jsonl", rows)
    train, suites = run_data.load_datasets(config(source, skip_bad_rows=True), encoder)
    assert len(train.examples) + len(suites["task"].examples) == 12
    source = tiny_llama.write_rows(tmp_path / "bad.jsonl", [rows[-1]] * 3)
    with pytest.raises(DataError, match=r"all 3 rows of .*bad\.jsonl are bad\. .*:1"):
        run_data.load_datasets(config(source, skip_bad_rows=True), encoder)
    few = [rows[0], rows[-1], rows[1]]  # wherever the bad one is drawn, two can be split
    for order in (few, few[1:] + few[:1], few[::-1]):
        source = tiny_llama.write_rows(tmp_path / "few.jsonl", order)
        train, suites = run_data.load_datasets(config(source, skip_bad_rows=True), encoder)
        assert (len(train.examples), len(suites["task"].examples)) == (1, 1)
        assert len(train.bad_rows) == 1


def test_bad_rows_are_reported_of_the_set_they_are_in(
    tmp_path: Path, sums_file: Path, encoder: Encoder
) -> None:
    good = tiny_llama.write_rows(tmp_path / "good.jsonl", tiny_llama.sums(3)).read_text()
    places = {name: tmp_path / f"{name}.jsonl" for name in ("held", "skill", "replay")}
    for place in places.values():
        place.write_text(good + "not JSON\n")
    choices = {
        "eval_data": str(places["held"]),
        "general": (("skill", str(places["skill"])),),
        "replay": str(places["replay"]),
        "skip_bad_rows": True,
    }
    train, suites = run_data.load_datasets(config(sums_file, **choices), encoder)
    told = {name: len(rows.bad_rows) for name, rows in suites.items()}
    assert told == {"task": 1, "general/skill": 1}
    assert train.replay is not None
    (bad,) = train.replay.bad_rows
    assert "replay.jsonl:4" in bad
    assert train.bad_rows == ()


def test_bad_rows_of_a_mix_are_reported_with_their_own_source(
    tmp_path: Path, sums_file: Path, encoder: Encoder
) -> None:
    held = tiny_llama.write_rows(tmp_path / "held.jsonl", [{"text": "new"}])
    other = tiny_llama.write_rows(tmp_path / "other.jsonl", [*tiny_llama.sums(3), {"words": 1}])
    with other.open("a") as file:
        file.write("not JSON\n")
    choices = {"mix": (str(other),), "eval_data": str(held), "skip_bad_rows": True}
    train, _ = run_data.load_datasets(config(sums_file, **choices), encoder)
    first, second = train.sets()
    assert first.bad_rows == ()
    assert sorted(text.partition(": ")[0][-2:] for text in second.bad_rows) == [":4", ":5"]
    assert (second.rows_read, len(second.examples)) == (5, 3)


def test_a_chat_template_of_ones_own_is_used_and_saved_with_the_model(
    sums_file: Path, tmp_path: Path
) -> None:
    place = tmp_path / "own.jinja"
    place.write_text("{% for m in messages %}({{ m.content }}){% endfor %}")
    tokenizer = tiny_llama.tokenizer(chat=True)
    made = run_data.make_encoder(config(sums_file, chat_template=str(place)), tokenizer)
    assert tokenizer.decode(made.encode({"prompt": "1+1=", "completion": "2"}).ids) == "(1+1=)(2)"
    assert tokenizer.chat_template == place.read_text()


def test_without_a_chat_template_a_prompt_is_taken_as_it_is(sums_file: Path) -> None:
    tokenizer = tiny_llama.tokenizer(chat=True)
    made = run_data.make_encoder(config(sums_file, chat_template="none"), tokenizer)
    assert tokenizer.decode(made.encode({"prompt": "1+1=", "completion": "2"}).ids) == "1+1=2</s>"
    assert tokenizer.chat_template == tiny_llama.CHAT


def test_a_chat_template_that_is_none_is_refused(sums_file: Path, tmp_path: Path) -> None:
    tokenizer, place = tiny_llama.tokenizer(), tmp_path / "own.jinja"
    with pytest.raises(UsageError, match=r"--chat-template .*own.jinja: it cannot be read \(No su"):
        run_data.make_encoder(config(sums_file, chat_template=str(place)), tokenizer)
    place.write_text("{% for m in messages %}\n{{ m. }}")
    with pytest.raises(UsageError, match=r"own.jinja is no chat template \(line 2: "):
        run_data.make_encoder(config(sums_file, chat_template=str(place)), tokenizer)


def test_what_is_trained_is_chosen(sums_file: Path) -> None:
    row = {"prompt": "1+1=", "completion": "2"}
    made = run_data.make_encoder(config(sums_file, train_on="all"), tiny_llama.tokenizer())
    assert made.encode(row).trained == (False, True, True, True, True, True)


def test_a_run_tells_its_date_for_good(sums_file: Path) -> None:
    tokenizer = tiny_llama.tokenizer()
    tokenizer.chat_template = (
        "{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    made = run_data.make_encoder(config(sums_file, today="1999-12-31"), tokenizer)
    assert made.render_question("!") == "1999!"
    with pytest.raises(UsageError, match="today 'now' is no date: write it as 2026-11-26"):
        config(sums_file, today="now")
    assert len(str(config(sums_file).today)) == len("1999-12-31")


def test_several_sources_are_mixed_by_their_weights(
    sums_file: Path, cats_file: Path, encoder: Encoder
) -> None:
    mix = (f"{cats_file}:weight=2.5",)
    held = tiny_llama.write_rows(sums_file.parent / "held.jsonl", [{"text": "new"}])
    chosen = config(f"{sums_file}:weight=0.5", mix=mix, eval_data=str(held))
    train, _ = run_data.load_datasets(chosen, encoder)
    cats = [row for row in train.rows if "text" in row]
    assert (len(train.rows), len(cats)) == (20 + 15, 15)
    assert sorted({cats.count(row) for row in cats}) == [2, 3]
    assert train.sha256 == run_data.load_datasets(chosen, encoder)[0].sha256


def test_rows_are_held_out_of_every_source_and_trained_on_in_none(
    sums_file: Path, cats_file: Path, encoder: Encoder
) -> None:
    _, suites = run_data.load_datasets(config(sums_file, mix=(f"{cats_file}:weight=3",)), encoder)
    assert suites["task"].trained_rows == 0
    assert len(suites["task"].rows) == 4


def test_a_weight_has_no_meaning_where_nothing_is_trained(sums_file: Path) -> None:
    with pytest.raises(UsageError, match="only training data has a weight: give it to --d"):
        config(sums_file, replay=f"{sums_file}:weight=2")
    with pytest.raises(UsageError, match="only training data has a weight"):
        config(sums_file, general=(("sums", f"{sums_file}:weight=2"),))
