"""The quiz in a browser: answered without scripts, by keyboard, and by the planner's own Python."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from accessibility import objections
from conftest import StaticSite, watched_page
from unfrozen.exercises import compute_it
from unfrozen.exercises.exercise import Exercise
from unfrozen.units import GB

CHAPTERS = ("what-full-fine-tuning-is", "the-memory-wall", "quiz")

PYTHON_SECONDS = 90
QUIZZES = "article-quiz, compute-it"
ANSWERED = "#quiz-memory-wall .quiz-explanation"


class Quiz:
    """A reader at the quiz of one page."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(f"{url}#quiz")
        self.compute = page.locator("compute-it")
        self.end = page.locator("#quiz-memory-wall")
        for place in (self.compute, self.end):
            place.scroll_into_view_if_needed()
        self.compute.locator("> .visually-hidden").wait_for(state="attached")

    @property
    def verdict(self) -> str:
        """What is said of the answer."""
        return self.compute.locator(".exercise-verdict").inner_text().replace("\u00a0", " ")

    def wait(self, true: Callable[[], bool], what: str) -> None:
        """Wait until something is so; Python may have to start first."""
        for _ in range(PYTHON_SECONDS * 20):
            if true():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(what)

    def answer(self, text: str, said: str) -> None:
        """Type an answer and wait for a verdict that begins like this."""
        self.compute.locator("input").fill(text)
        self.compute.locator("input").press("Enter")
        self.wait(lambda: self.verdict.startswith(said), f"{text!r}: {self.verdict!r}")

    def another(self) -> None:
        """Ask for another job, and wait until it is announced."""
        voice = self.compute.locator("> .visually-hidden")
        before = voice.inner_text()
        self.compute.get_by_role("button", name="Another job").click()
        self.wait(lambda: voice.inner_text() != before, "no other job came")


@pytest.fixture
def quiz(page: Page, static_site: StaticSite) -> Quiz:
    """The page on a plain host."""
    return Quiz(page, static_site.url)


@pytest.fixture(scope="module")
def started(chromium: Browser, static_site: StaticSite) -> Iterator[Quiz]:
    """The same, for all that ask Python."""
    with watched_page(chromium.new_context()) as page:
        yield Quiz(page, static_site.url)


@pytest.fixture(scope="module")
def scriptless(chromium: Browser, static_site: StaticSite) -> Iterator[Page]:
    """The page without scripts."""
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(static_site.url)
    yield page
    context.close()


def in_gb(found: Exercise, factor: float = 1.0) -> str:
    """An answer as a reader would type it."""
    return f"{factor * found.answer_bytes / GB:.4g} GB"


def test_without_scripts_every_question_can_be_chosen_and_looked_up(scriptless: Page) -> None:
    questions = scriptless.locator("article-quiz fieldset")
    assert questions.count() == 1  # at its chapter's end
    for question in questions.all():
        question.locator("label").last.click()
        assert question.locator("input").last.is_checked()
        question.locator("summary").click()
        assert question.locator("details li").count() == question.locator("label").count()
        assert question.locator("details [data-right]").inner_text().startswith("Right.")


def test_without_scripts_hints_and_answer_open_and_nothing_dead_is_offered(
    scriptless: Page,
) -> None:
    exercise = scriptless.locator("compute-it")
    assert not exercise.locator("form").is_visible()
    assert not scriptless.get_by_role("button", name="Another job").first.is_visible()
    assert not scriptless.locator(".cell-guess").first.is_visible()
    shown = exercise.locator("summary:visible")
    assert shown.all_inner_texts() == ["Hint 1", "Answer"]
    shown.first.click()
    assert shown.all_inner_texts() == ["Hint 1", "Hint 2", "Answer"]
    exercise.locator(".exercise-answer summary").click()
    assert str(compute_it.as_json(1)["answer"]) in exercise.locator(".exercise-answer").inner_text()


def test_a_choice_is_answered_at_once_leads_to_its_paragraph_and_is_not_kept(
    quiz: Quiz,
) -> None:
    said = quiz.end.locator(".quiz-explanation")
    assert said.inner_text() == ""
    assert said.get_attribute("role") == "status"
    for place, told in enumerate(quiz.end.locator("details li").all()):
        quiz.end.locator("label").nth(place).click()
        assert said.text_content() == told.text_content()
        right = told.get_attribute("data-right") is not None
        assert said.get_attribute("data-is") == ("right" if right else "wrong")
        assert quiz.end.locator(":checked").count() == 1
    quiz.end.locator("label").first.click()
    quiz.end.locator(".quiz-explanation a").click()
    expect(quiz.page).to_have_url(re.compile("#sixteen-bytes-a-parameter$"))
    assert quiz.page.evaluate("() => Object.keys({...localStorage, ...sessionStorage})") == []


def test_what_was_chosen_before_the_script_came_is_answered_when_it_comes(
    page: Page, static_site: StaticSite
) -> None:
    page.goto(static_site.url)
    page.evaluate("() => document.querySelector('#quiz-memory-wall input').click()")
    assert page.locator(ANSWERED).text_content() == ""
    page.locator("#quiz-memory-wall").scroll_into_view_if_needed()
    page.locator(f"{ANSWERED}:not(:empty)").wait_for()


def test_the_keyboard_alone_answers_a_question(quiz: Quiz) -> None:
    quiz.end.locator("input").first.focus()
    quiz.page.keyboard.press("Space")
    assert "Not so" in quiz.end.locator(".quiz-explanation").inner_text()
    for _ in range(3):
        quiz.page.keyboard.press("ArrowDown")
    assert quiz.end.locator(".quiz-explanation").inner_text().startswith("Right.")
    quiz.page.keyboard.press("Tab")
    assert quiz.page.evaluate("() => document.activeElement.matches('.quiz-explanation a')")
    quiz.page.keyboard.press("Tab")
    quiz.page.keyboard.press("Enter")
    assert quiz.end.locator("details").get_attribute("open") is not None


def test_an_answer_is_judged_by_python_and_a_right_one_opens_the_formula(started: Quiz) -> None:
    found = compute_it.exercise(1)
    started.answer(in_gb(found, 0.3), "Not ")
    assert started.compute.locator(".exercise-answer").get_attribute("open") is None
    for text in ("", "abc", "-1", "1e400"):
        started.answer(text, str(compute_it.judge(1, text)["text"]))
    started.answer(in_gb(found, 1.03), "Right. ")
    assert started.compute.locator(".exercise-answer li").first.is_visible()


def test_every_other_job_is_the_one_python_makes_of_its_seed(started: Quiz) -> None:
    for seed in range(2, 5):
        started.another()
        found: Any = compute_it.as_json(seed)
        shown = started.compute.locator(".exercise").inner_text().replace("\u00a0", " ")
        assert found["question"] in shown
        for _, value in found["given"]:
            assert value.replace("\u00a0", " ") in shown
        assert started.compute.locator("input").input_value() == ""
        assert started.verdict == ""
        started.answer(in_gb(compute_it.exercise(seed)), "Right. ")


@pytest.mark.matrix
def test_without_python_the_reader_hears_why_and_can_try_again(
    page: Page, static_site: StaticSite
) -> None:
    page.allowed_errors = ["Failed to load resource"]  # type: ignore[attr-defined]
    gone: list[Route] = []

    def refuse(route: Route) -> None:
        gone.append(route)
        route.abort()

    page.route("**/pyodide/*", refuse)
    quiz = Quiz(page, static_site.url)
    quiz.compute.locator("input").fill("112")
    quiz.compute.get_by_role("button", name="Check").click()
    quiz.wait(lambda: "Press the button again" in quiz.verdict, quiz.verdict)
    assert gone
    page.unroute("**/pyodide/*")
    quiz.answer(in_gb(compute_it.exercise(1)), "Right. ")


def test_nothing_is_inaccessible_after_an_answer(started: Quiz) -> None:
    page = started.page
    for question in page.locator("article-quiz fieldset").all():
        question.locator("label").nth(1).click()
    for fold in page.locator(":is(article-quiz, compute-it) summary:visible").all():
        fold.click()
    started.compute.locator("input").fill("abc")
    started.compute.locator("input").press("Enter")
    started.wait(lambda: "abc" in started.verdict, "no verdict")
    assert objections(page, QUIZZES, ("dark", 320)) == []


def test_on_paper_questions_are_open_and_answers_stand_below_them(quiz: Quiz) -> None:
    quiz.end.locator("label").first.click()
    quiz.page.emulate_media(media="print")
    assert quiz.end.locator("label").first.is_visible()
    assert not quiz.end.locator(".quiz-explanation").is_visible()
    answer = quiz.end.locator("details li").first.bounding_box()
    assert answer is not None
    assert answer["height"] > 0
    for hidden in ("button", "form", "summary"):
        assert quiz.page.locator(f":is({QUIZZES}) {hidden}:visible").count() == 0
