"""The quiz: complete without a script, correct links, and errors that name the line of the file."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from site_builder import SiteError
from site_builder.page import render_chapters
from site_builder.quiz import PARTS, read_questions
from unfrozen.exercises import compute_it

ARTICLE = Path(__file__).parents[2] / "web" / "article"
ASKED = re.compile(r"^::: quiz (\S+)$", re.MULTILINE)
QUESTIONS = read_questions(ARTICLE / "quiz.toml")[1]
ASKED_BY_CHAPTER = {
    path: ASKED.findall(path.read_text()) for path in sorted(ARTICLE.glob("[0-9]*.md"))
}
FOUR_OF_THE_BRIEF = {"memory-wall", "forgetting", "learning-rate", "when-full-wins"}
SEEDS = range(1, 301)


class Quizzes(HTMLParser):
    """Every fieldset of the page: its legend, radio buttons by name, and explanations."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.quizzes: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.path: list[str] = []
        self.feed(html)

    @property
    def fieldsets(self) -> list[dict[str, Any]]:
        """All fieldsets, whichever element holds them."""
        return [each for quiz in self.quizzes for each in quiz["fieldsets"]]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.ids += [named["id"]] if "id" in named else []
        if tag == "article-quiz":
            self.quizzes.append({"id": named.get("id", ""), "fieldsets": []})
        if not self.quizzes or "article-quiz" not in (*self.path, tag):
            return
        self.path += [tag] if tag not in {"input", "br"} else []
        if tag == "fieldset":
            empty: dict[str, Any] = {"legend": "", "names": [], "labels": [], "told": []}
            self.quizzes[-1]["fieldsets"].append(empty)
        elif tag == "input":
            self.fieldsets[-1]["names"].append((named["type"], named["name"], "label" in self.path))
        elif tag == "label":
            self.fieldsets[-1]["labels"].append("")
        elif tag == "li" and "details" in self.path:
            told = {"text": "", "links": [], "right": "data-right" in named}
            self.fieldsets[-1]["told"].append(told)
        elif tag == "a" and "details" in self.path:
            self.fieldsets[-1]["told"][-1]["links"].append(named["href"])

    def handle_endtag(self, tag: str) -> None:
        if self.path and self.path[-1] == tag:
            self.path.pop()

    def handle_data(self, data: str) -> None:
        if "legend" in self.path:
            self.fieldsets[-1]["legend"] += data
        elif "label" in self.path:
            self.fieldsets[-1]["labels"][-1] += data
        elif "details" in self.path and "li" in self.path:
            self.fieldsets[-1]["told"][-1]["text"] += data


@pytest.fixture(scope="module")
def page(site: Path) -> Quizzes:
    """The quizzes of the built page."""
    return Quizzes((site / "index.html").read_text(encoding="utf-8"))


def test_the_four_questions_every_reader_must_be_able_to_answer_are_there() -> None:
    assert QUESTIONS.keys() >= FOUR_OF_THE_BRIEF


def test_every_question_stands_at_a_chapters_end_and_the_quiz_leads_to_all(
    page: Quizzes, site: Path
) -> None:
    ends = [key for keys in ASKED_BY_CHAPTER.values() for key in keys if key not in PARTS]
    assert len(ends) == len(set(ends))
    for path, keys in ASKED_BY_CHAPTER.items():
        if [key for key in keys if key not in PARTS]:
            assert len(keys) == 1, path
            assert path.read_text().endswith(f"::: quiz {keys[0]}\n:::\n"), path
    assert set(ends) == QUESTIONS.keys()
    assert [quiz["id"] for quiz in page.quizzes if quiz["id"]] == [f"quiz-{key}" for key in ends]
    listed = re.findall(r'<li><a href="#quiz-([^"]+)">', (site / "index.html").read_text("utf-8"))
    assert listed == list(QUESTIONS)


def test_a_question_is_a_fieldset_of_labelled_radios_of_one_name(page: Quizzes) -> None:
    seen = set()
    for fieldset in page.fieldsets:
        assert fieldset["legend"].strip().endswith("?")
        assert len(fieldset["labels"]) == len(fieldset["names"]) >= 3
        assert not [label for label in fieldset["labels"] if not label.strip()]
        assert {(kind, inside) for kind, _, inside in fieldset["names"]} == {("radio", True)}
        (name,) = {name for _, name, _ in fieldset["names"]}
        assert name not in seen, f"two questions share the radios {name}"
        seen.add(name)


def test_exactly_one_option_is_right_and_every_other_has_a_name_and_a_reason(
    page: Quizzes,
) -> None:
    for fieldset in page.fieldsets:
        told = fieldset["told"]
        assert len(told) == len(fieldset["labels"])
        assert [each["right"] for each in told].count(True) == 1
        for each in told:
            assert each["text"].startswith("Right." if each["right"] else "Not so")
            assert len(each["text"].split()) >= 8, each["text"]


def test_every_option_leads_to_a_place_of_the_article(page: Quizzes) -> None:
    for fieldset in page.fieldsets:
        for each in fieldset["told"]:
            assert each["links"]
            assert all(link[1:] in page.ids for link in each["links"]), each["links"]


def test_the_right_answer_leads_into_the_chapter_that_asks(site: Path) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    for chapter in html.split('<section class="chapter" ')[1:]:
        for key in re.findall(r'<article-quiz id="quiz-([^"]+)"', chapter):
            (right,) = [option for option in QUESTIONS[key].options if option.slip is None]
            assert f'id="{right.see}"' in chapter, key


def test_no_slip_has_two_names_and_no_question_two_equal_answers() -> None:
    slips = [o.slip for q in QUESTIONS.values() for o in q.options if o.slip]
    assert len(set(slips)) == len(slips)
    for question in QUESTIONS.values():
        answers = [option.answer for option in question.options]
        assert len(set(answers)) == len(answers)


def test_the_right_answer_has_no_favourite_place() -> None:
    places = [[o.slip is None for o in q.options].index(True) for q in QUESTIONS.values()]
    assert not [place for place in set(places) if not places.count(place) <= len(places) / 2]
    longest = [max(q.options, key=lambda o: len(o.answer)).slip is None for q in QUESTIONS.values()]
    assert longest.count(True) <= 2 * len(longest) / 3


def test_exercises_point_to_places_that_are_there(page: Quizzes) -> None:
    hrefs = set()
    for seed in SEEDS:
        exercise: Any = compute_it.as_json(seed)
        hrefs |= {hint["see"][0] for hint in exercise["hints"] if hint["see"]}
    assert len(hrefs) >= 5
    assert {href[1:] for href in hrefs} <= set(page.ids)


def test_the_first_exercise_is_on_the_page_with_hints_and_answer(site: Path) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    printed = re.sub(r"<[^>]+>", "", html.split("<compute-it")[1].split("</compute-it>")[0])
    found: Any = compute_it.as_json(1)
    for text in (found["question"], found["answer"], *(hint["text"] for hint in found["hints"])):
        assert text in printed


# --- errors in quiz.toml ------------------------------------------------------------------------
FACTS = ["facts = '''", "N = 7e9", "'''", ""]
SIZE = ["[size]", 'question = "How large?"', ""]
WRONG = [
    "[[size.options]]",
    'answer = "Small."',
    'slip = "the small one"',
    'why = "No."',
    'see = "one"',
    "",
]
RIGHT = ["[[size.options]]", 'answer = "Large."', "right = true", 'why = "Yes."', 'see = "one"', ""]
GOOD = [*FACTS, *SIZE, *WRONG, *RIGHT, *WRONG]


def swapped(old: str, new: str, which: int = 0) -> list[str]:
    """Return the good file with one line changed, or dropped where `new` is empty."""
    place = [index for index, line in enumerate(GOOD) if line == old][which]
    return [*GOOD[:place], *([new] if new else []), *GOOD[place + 1 :]]


def article(folder: Path, lines: list[str], block: str = "size") -> Path:
    """Write an article of one chapter with a quiz of these lines; return its folder."""
    (folder / "references.toml").write_text("")
    (folder / "quiz.toml").write_text("\n".join(lines) + "\n")
    (folder / "01-one.md").write_text(f"# One\n\nText.\n\n::: quiz {block}\n:::\n")
    return folder


def failure(folder: Path, lines: list[str], block: str = "size") -> SiteError:
    """Return the error that stops the build of such an article."""
    with pytest.raises(SiteError) as caught:
        render_chapters(article(folder, lines, block))
    return caught.value


def test_a_good_question_is_rendered_at_its_place(tmp_path: Path) -> None:
    (chapter,) = render_chapters(article(tmp_path, GOOD))
    assert chapter.html.count('name="quiz-size"') == 3
    assert '<article-quiz id="quiz-size">' in chapter.html
    assert '<b>Not so: the small one.</b> No. <a href="#one">One</a>' in chapter.html


@pytest.mark.parametrize(
    ("lines", "where", "problem"),
    [
        (swapped('slip = "the small one"', "slip ="), "", "Invalid value (at line 10"),
        (swapped('slip = "the small one"', ""), " [size] option 1", "needs answer, why, see"),
        (swapped('slip = "the small one"', 'slip = ""'), " [size] option 1", "must be text"),
        (swapped('why = "No."', "", which=1), " [size] option 3", "needs answer, why, see"),
        (swapped('see = "one"', ""), " [size] option 1", "needs answer, why, see"),
        (swapped('see = "one"', "see = 3"), " [size] option 1", "must be text"),
        (swapped('see = "one"', 'see = "nowhere"'), " [size] option 1", "no heading or figure"),
        (swapped("right = true", "right = false"), " [size] option 2", "needs answer, why, see"),
        (swapped("right = true", 'slip = "another"'), " [size]", "0 right options"),
        (swapped('slip = "the small one"', "right = true"), " [size]", "2 right options"),
        (swapped('why = "Yes."', 'why = "Yes."\nmore = 1'), " [size] option 2", "needs answer"),
        (swapped('question = "How large?"', ""), " [size]", "needs a question and its"),
        (swapped("[size]", "[Size]"), " [Size]", "needs a question and its"),
        (swapped('answer = "Large."', 'answer = "{{ gb(M) }}"'), " [size] option 2:1", "'M' is"),
        (swapped("N = 7e9", "N = 7e9 / 0"), " facts:1", "ZeroDivisionError"),
        (swapped('why = "Yes."', 'why = "One.\\n\\nTwo."'), " [size] option 2", "is one paragraph"),
        (swapped('why = "Yes."', 'why = "See [@nobody2000]."'), " [size] option 2:1", "nobody"),
        (GOOD[: len(FACTS + SIZE + WRONG + RIGHT)], " [size]", "2 options; give 3 or more"),
        ([line.replace("size", "all") for line in GOOD], " [all]", "is no key"),
    ],
)
def test_a_wrong_question_is_named_with_its_option(
    tmp_path: Path, lines: list[str], where: str, problem: str
) -> None:
    error = failure(tmp_path, lines)
    assert error.where == f"quiz.toml{where}", error
    assert problem in error.problem


def test_an_unknown_question_names_the_place_that_asks_for_it(tmp_path: Path) -> None:
    error = failure(tmp_path, GOOD, block="weight")
    assert error.where == "01-one.md:5"
    assert "there are all, compute, size" in error.problem


def test_an_article_without_a_quiz_needs_no_file_of_questions(tmp_path: Path) -> None:
    assert read_questions(tmp_path / "quiz.toml") == ("", {})
