"""What an author reads when `quiz.toml` cannot be used: the file, the line and the reason."""

from pathlib import Path

import pytest

from site_builder.chapters import print_chapters
from site_builder.errors import SiteError
from site_builder.quiz import read_questions

FACTS = ["facts = '''", "N = 7e9", "'''", ""]
QUESTION = ["[size]", 'question = "How large?"', ""]
WRONG = [
    "[[size.options]]",
    'answer = "Small."',
    'slip = "the small one"',
    'why = "No."',
    'see = "one"',
    "",
]
RIGHT = ["[[size.options]]", 'answer = "Large."', "right = true", 'why = "Yes."', 'see = "one"', ""]
GOOD = [*FACTS, *QUESTION, *WRONG, *RIGHT, *WRONG]


def swapped(old: str, new: str, which: int = 0) -> list[str]:
    """The good file with one line changed, or dropped where `new` is empty."""
    place = [index for index, line in enumerate(GOOD) if line == old][which]
    return [*GOOD[:place], *([new] if new else []), *GOOD[place + 1 :]]


def article(folder: Path, lines: list[str], block: str = "size") -> Path:
    """An article of one chapter with a quiz of these lines."""
    (folder / "references.toml").write_text("")
    (folder / "quiz.toml").write_text("\n".join(lines) + "\n")
    (folder / "01-one.md").write_text(f"# One\n\nText.\n\n::: quiz {block}\n:::\n")
    return folder


def failure(folder: Path, lines: list[str], block: str = "size") -> SiteError:
    """What stops the build of such an article."""
    with pytest.raises(SiteError) as caught:
        print_chapters(article(folder, lines, block))
    return caught.value


def test_a_good_question_is_printed_at_its_place(tmp_path: Path) -> None:
    (chapter,) = print_chapters(article(tmp_path, GOOD))
    assert chapter.html.count('name="quiz-size"') == 3
    assert '<article-quiz id="quiz-size">' in chapter.html
    assert '<b>Not so: the small one.</b> No. <a href="#one">One</a>' in chapter.html


def test_texts_keep_their_lines_whatever_stands_between(tmp_path: Path) -> None:
    lines = swapped('why = "Yes."', 'why = """\nIt is\n[[so]] = 1\nindeed."""')
    questions = read_questions(article(tmp_path, lines) / "quiz.toml")
    right = questions.by_key["size"].options[1]
    assert (right.answer.line, right.why.line, right.see.line) == (15, 18, 21)
    assert questions.facts.line == 2


@pytest.mark.parametrize(
    ("lines", "where", "problem"),
    [
        (swapped('slip = "the small one"', "slip ="), 10, "Invalid value"),
        (swapped('slip = "the small one"', ""), 8, "needs answer, why, see"),
        (swapped('slip = "the small one"', 'slip = ""'), 10, "must be text"),
        (swapped('why = "No."', "", which=1), 20, "needs answer, why, see"),
        (swapped('see = "one"', ""), 8, "needs answer, why, see"),
        (swapped('see = "one"', "see = 3"), 12, "must be text"),
        (swapped('see = "one"', 'see = "nowhere"'), 12, "no heading or figure has the id"),
        (swapped("right = true", "right = false"), 14, "needs answer, why, see"),
        (swapped("right = true", 'slip = "another"'), 5, "0 right options"),
        (swapped('slip = "the small one"', "right = true"), 5, "2 right options"),
        (swapped('why = "Yes."', 'why = "Yes."\nmore = 1'), 14, "needs answer, why, see"),
        (swapped('question = "How large?"', ""), 5, "needs a question and its"),
        (swapped("[size]", "[Size]"), 5, "needs a question and its"),
        (swapped('answer = "Large."', 'answer = "{{ gb(M) }}"'), 15, "'M' is undefined"),
        (swapped("N = 7e9", "N = 7e9 / 0"), 2, "ZeroDivisionError"),
        (swapped('why = "Yes."', 'why = """\nOne.\n\nTwo."""'), 18, "is one paragraph"),
        (swapped('why = "Yes."', 'why = "See [@nobody2000]."'), 17, "nobody2000"),
        (GOOD[: len(FACTS + QUESTION + WRONG + RIGHT)], 5, "2 options; give 3 or more"),
        ([line.replace("size", "all") for line in GOOD], 5, "is no key"),
    ],
)
def test_a_wrong_question_names_its_line(
    tmp_path: Path, lines: list[str], where: int, problem: str
) -> None:
    error = failure(tmp_path, lines)
    assert error.where == f"quiz.toml:{where}", error
    assert problem in error.problem


def test_an_unknown_question_names_the_place_that_asks_for_it(tmp_path: Path) -> None:
    error = failure(tmp_path, GOOD, block="weight")
    assert error.where == "01-one.md:5"
    assert "there are all, compute, lie, size" in error.problem


def test_an_article_without_a_quiz_needs_no_file_of_questions(tmp_path: Path) -> None:
    assert read_questions(tmp_path / "quiz.toml").by_key == {}
