"""Reading in a real browser: narrow, zoomed, dark, printed, with the keyboard, without scripts."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page, expect

from browser.drawing import laid_out
from conftest import StaticSite, watched_page

BACKGROUND = "getComputedStyle(document.documentElement).backgroundColor"
LIGHT, DARK = "rgb(252, 251, 248)", "rgb(22, 24, 27)"


@pytest.fixture(scope="module")
def article(chromium: Browser, static_site: StaticSite) -> Iterator[Page]:
    """The opened article, for tests that set the window's size and change nothing else."""
    with watched_page(chromium.new_context()) as page:
        page.goto(static_site.url)
        laid_out(page)
        yield page


@pytest.mark.parametrize(("width", "height"), [(320, 640), (390, 844), (720, 450), (1440, 900)])
def test_the_page_never_scrolls_sideways(article: Page, width: int, height: int) -> None:
    article.set_viewport_size({"width": width, "height": height})  # 720 × 450: 1440 × 900 at 200%
    article.locator("live-cell button").first.wait_for()
    # Plots are drawn again for the new width.
    article.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)


def test_a_line_of_text_holds_66_to_76_characters(article: Page) -> None:
    article.set_viewport_size({"width": 1440, "height": 900})
    article.evaluate("document.fonts.ready")
    characters = article.evaluate(
        """() => {
          const lines = [...document.querySelectorAll(".chapter > p")].map((p) => {
            const range = document.createRange();
            range.selectNodeContents(p);
            const tops = new Set([...range.getClientRects()].map((r) => Math.round(r.bottom / 12)));
            return { length: p.innerText.length, lines: tops.size };
          });
          const long = lines.filter((line) => line.lines >= 5);
          return long.reduce((sum, l) => sum + l.length, 0) / long.reduce((s, l) => s + l.lines, 0);
        }"""
    )
    assert 55 <= characters <= 76  # the mean counts the short last lines


def test_notes_stand_in_the_margin_when_there_is_one(article: Page) -> None:
    left = "note => note.getBoundingClientRect().left"
    right = "note => note.parentElement.getBoundingClientRect().right"
    note = article.locator(".note").first
    article.set_viewport_size({"width": 1200, "height": 900})
    assert note.evaluate(left) >= note.evaluate(right)
    article.set_viewport_size({"width": 1100, "height": 900})
    assert note.evaluate(left) < note.evaluate(right)


def test_notes_never_lie_on_each_other_or_on_a_figure(article: Page) -> None:
    article.set_viewport_size({"width": 1280, "height": 900})
    boxes = article.evaluate(
        """() => [...document.querySelectorAll(".note, .figure.wide, .wide")].map((element) => {
          const { top, bottom } = element.getBoundingClientRect();
          return [element.className, top, bottom];
        }).sort((a, b) => a[1] - b[1])"""
    )
    overlapping = [
        (above[0], below[0]) for above, below in pairwise(boxes) if above[2] > below[1] + 1
    ]
    assert not overlapping


def test_the_contents_follow_the_reader(article: Page) -> None:
    article.set_viewport_size({"width": 1280, "height": 900})
    article.evaluate("scrollTo(0, 0)")
    current = article.locator(".toc [aria-current]")
    expect(current).to_have_text("What full fine-tuning is")
    article.locator("#the-step-that-moves-nothing").evaluate("heading => heading.scrollIntoView()")
    expect(current).to_have_text("The step that moves nothing")
    article.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last = article.locator(".toc a[href^='#']").last
    expect(last).to_have_attribute("aria-current", "location")


def test_a_citation_shows_its_work_to_pointer_and_keyboard(article: Page) -> None:
    card, citation = article.locator(".hover-card"), article.locator("#cite-howard2018-1")
    expect(card).to_be_hidden()
    citation.hover()
    expect(card).to_contain_text("Universal Language Model Fine-tuning")
    article.keyboard.press("Escape")
    expect(card).to_be_hidden()
    citation.focus()
    expect(card).to_be_visible()
    assert citation.get_attribute("aria-describedby") == card.get_attribute("id")


def test_a_chosen_theme_holds_before_the_first_paint_of_the_next_visit(
    page: Page, static_site: StaticSite
) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(static_site.url)
    assert page.evaluate(BACKGROUND) == LIGHT
    toggle = page.locator("theme-toggle button")
    toggle.click()
    toggle.click()
    expect(toggle).to_have_text("Dark")
    assert page.evaluate(BACKGROUND) == DARK
    page.route("**/assets/main-*.js", lambda route: route.abort())
    page.allowed_errors.append("main-")  # type: ignore[attr-defined]
    page.reload()
    assert page.evaluate(BACKGROUND) == DARK


def test_paper_is_white_even_for_those_who_read_in_the_dark(
    page: Page, static_site: StaticSite
) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(static_site.url)
    assert page.evaluate(BACKGROUND) == DARK
    page.emulate_media(media="print")
    assert page.evaluate(BACKGROUND) == LIGHT
    expect(page.locator(".top-bar")).to_be_hidden()
    expect(page.locator("thead").first).to_be_visible()
    expect(page.locator(".cell-folded").first).to_be_visible()


def test_the_article_is_whole_without_javascript(
    chromium: Browser, static_site: StaticSite
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(static_site.url)
    expect(page.locator("#memory-table td", has_text="1136.1 GB")).to_be_visible()
    expect(page.locator("#schedules svg").filter(visible=True)).to_have_count(1)
    expect(page.locator("#first-step .cell-stdout")).to_contain_text("gradient")
    expect(page.locator("math").first).to_be_visible()
    expect(page.locator("#memory-table .cell-folded").first).to_be_hidden()
    page.locator("#memory-table summary").click()
    expect(page.locator("#memory-table .cell-folded").first).to_be_visible()
    context.close()
