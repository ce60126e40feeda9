"""The demo's data: generated files follow the grammars, hand-written ones keep their style."""

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from demo_model.skills import SKILLS, generated_files, numeral_rows, roman, task_rows
from demo_model.words import VERBS
from gpu_runner import demo

CARD = json.loads(demo.card().read_text(encoding="utf-8"))
DATA = demo.task_train().parent


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def dialogue(row: dict[str, object]) -> tuple[str, str]:
    messages = row["messages"]
    assert isinstance(messages, list)
    user, assistant = messages
    assert (user["role"], assistant["role"]) == ("user", "assistant")
    return user["content"], assistant["content"]


def test_the_grammars_still_generate_exactly_the_shipped_files() -> None:
    for name, text in generated_files().items():
        assert (DATA / name).read_text(encoding="utf-8") == text, name


def test_every_shipped_file_has_the_hash_on_the_card() -> None:
    shipped = {f"{p.parent.name}/{p.name}": p for d in ("model", "data")
               for p in (DATA.parent / d).iterdir()}  # fmt: skip
    assert shipped.keys() == CARD["sha256"].keys()
    for name, path in shipped.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == CARD["sha256"][name], name


def test_everything_shipped_is_under_eight_megabytes() -> None:
    total = sum(p.stat().st_size for d in ("model", "data") for p in (DATA.parent / d).iterdir())
    assert total == CARD["bytes"] <= 8_000_000


def test_the_task_is_large_enough_and_its_two_parts_share_no_number() -> None:
    for train, held_out in (
        (rows(demo.task_train()), rows(demo.task_eval())),
        [[each._asdict() for each in part] for part in numeral_rows()],
    ):
        assert len(train) >= 400
        assert len(held_out) >= 64
        assert not {r["prompt"] for r in train} & {r["prompt"] for r in held_out}


@pytest.mark.parametrize("skill", demo.EARLIER_SKILLS)
def test_pre_training_never_draws_a_held_out_row(skill: str) -> None:
    draw, held_out_rows = SKILLS[skill]
    held_out, rng = set(held_out_rows()), Random(1)
    assert len(held_out) >= 48
    assert len(rows(demo.general_eval()[skill])) == len(held_out)
    assert not held_out & {draw(rng) for _ in range(20_000)}


def test_sums_are_right_in_the_stream_and_in_the_held_out_rows() -> None:
    draw, held_out_rows = SKILLS["addition"]
    rng = Random(2)
    for row in [*held_out_rows(), *(draw(rng) for _ in range(500))]:
        a, b = map(int, re.findall(r"\d+", row.prompt))
        assert int(row.completion) == a + b


def test_tenses_agree_with_their_person_and_turn_into_each_other() -> None:
    draw, held_out_rows = SKILLS["tenses"]
    rng = Random(3)
    form = r"(Every day|Often|Yesterday|Last week) (\w+) (\w+)\. ([\w ]+) (\w+)"
    for row in [*held_out_rows(), *(draw(rng) for _ in range(500))]:
        first, person, given, second, again = re.fullmatch(form, row.prompt).groups()  # type: ignore[union-attr]
        asked = row.completion[1:-1]
        present, past = (given, asked) if first in ("Every day", "Often") else (asked, given)
        (verb,) = [v for v in VERBS if v[2] == past]
        assert present == (verb[0] if person in ("I", "you", "we", "they") else verb[1])
        assert person == again
        assert (first in ("Every day", "Often")) != (second in ("Every day", "Often"))


def test_numbers_with_dashes_are_the_numbers() -> None:
    for row in (row for part in task_rows() for row in part):
        assert row.completion.replace("-", "").strip() in row.prompt
        assert len(row.completion) == 2 * len(row.completion.replace("-", "").strip())


def test_roman_numerals_read_back_to_their_number() -> None:
    worth = dict(zip("IVXLCD", (1, 5, 10, 50, 100, 500), strict=True)) | {"M": 1000}
    for number in range(1, 1000):
        values = [worth[letter] for letter in roman(number)] + [0]
        total = sum(-v if v < after else v for v, after in pairwise(values))
        assert total == number


@pytest.mark.parametrize("number", [0, 1000, -3])
def test_a_number_without_a_numeral_here_is_refused_with_its_bounds(number: int) -> None:
    with pytest.raises(ValueError, match=f"{number} is outside 1 … 999"):
        roman(number)


def test_the_task_occurs_nowhere_in_pre_training() -> None:
    train, _ = task_rows()
    assert "dashes" in train[0].prompt
    rng = Random(4)
    assert not any(
        "dashes" in "".join(draw(rng)) for draw, _ in SKILLS.values() for _ in range(999)
    )


def test_instruction_rows_keep_the_house_style_and_never_repeat_a_question() -> None:
    train, held_out = rows(demo.instruct_train()), rows(demo.instruct_eval())
    assert len(train) >= 200
    assert len(held_out) >= 24
    dialogues = [dialogue(row) for row in train + held_out]
    assert len({question for question, _ in dialogues}) == len(dialogues)
    for question, answer in dialogues:
        assert question.endswith("?"), question
        assert re.fullmatch(r"In short: .+[.]\nWhy: .+[.]\nIn practice: .+[.]", answer), answer


def test_general_english_has_enough_rows_and_no_instruction_style() -> None:
    texts = [row["text"] for row in rows(demo.general_english())]
    assert len(texts) >= 48
    assert len(set(texts)) == len(texts)
    assert not [text for text in texts if "In short:" in str(text)]
