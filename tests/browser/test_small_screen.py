"""The page on a telephone: everything within reach, nothing too small, nothing that jumps."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from accessibility import is_wider_than_the_window
from browser.decision_reader import DecisionReader
from browser.drawing import come_near_all
from browser.planner_reader import PlannerReader
from conftest import Server, StaticSite, matrix, watched_page

SMALLEST_TARGET = 24
SMALLEST_LETTERS = 16
MOST_SHIFT = 0.02
WATCH = """() => {
  window.shift = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}"""
TARGETS = """(least) => {
  const text = "p, li, dd, figcaption, td, th, h1, h2, h3, h4";
  const inText = (link) => link.localName === "a" && link.closest(text);
  const ticked = (input) => /checkbox|radio/.test(input.type);
  const label = (input) => (ticked(input) ? input.closest("label, [data-setting]") : null);
  return [...document.querySelectorAll("a[href], button, input, select, textarea, summary")]
    .filter((each) => each.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
    .filter((each) => !inText(each) || each.closest(".toc"))
    .map((each) => [label(each) ?? each, each])
    .map(([box, each]) => [box.getBoundingClientRect(), each])
    .filter(([{ width, height }]) => width > 1 && (width < least || height < least))
    .map(([{ width, height }, each]) => `${each.outerHTML.slice(0, 90)} ${width} × ${height}`);
}"""
BARS = """() => [...document.querySelectorAll(".cell-bar")].flatMap((bar) => {
  const edges = bar.getBoundingClientRect();
  return [...bar.children]
    .filter((each) => each.checkVisibility() && !each.matches(".visually-hidden"))
    .map((each) => [each, each.getBoundingClientRect()])
    .filter(([, { right, top, bottom }]) =>
      right > edges.right || top < edges.top || bottom > edges.bottom)
    .map(([each]) => each.outerHTML.slice(0, 90));
})"""
LETTERS = """(least) => [...document.querySelectorAll("input, select, textarea")]
  .filter((field) => !/range|checkbox|radio/.test(field.type))
  .filter((field) => Number.parseFloat(getComputedStyle(field).fontSize) < least)
  .map((field) => field.outerHTML.slice(0, 90))"""


@contextmanager
def telephone_page(chromium: Browser) -> Iterator[Page]:
    """A page of 390 pixels under a finger, watched for errors."""
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    with watched_page(context) as found:
        yield found


@pytest.fixture
def telephone(chromium: Browser) -> Iterator[Page]:
    with telephone_page(chromium) as found:
        yield found


@pytest.fixture(scope="module")
def opened(chromium: Browser, static_site: StaticSite) -> Iterator[Page]:
    """The article on one, for all that look at it as it stands."""
    with telephone_page(chromium) as found:
        found.goto(static_site.url)
        come_near_all(found)
        yield found


@pytest.fixture
def article(opened: Page) -> Page:
    """The same, from its beginning."""
    opened.set_viewport_size({"width": 390, "height": 844})
    opened.evaluate("() => scrollTo({ top: 0, behavior: 'instant' })")
    return opened


def awaken(page: Page) -> None:
    """Come near everything that comes alive only then, and open what is folded."""
    DecisionReader(page)
    PlannerReader(page)
    page.evaluate(
        "() => document.querySelectorAll('details').forEach((fold) => (fold.open = true))"
    )


def test_contents_and_run_all_are_at_hand_far_down_the_page(article: Page) -> None:
    article.locator("#forgetting").scroll_into_view_if_needed()
    before = article.evaluate("() => scrollY")
    expect(article.get_by_role("button", name="Run all")).to_be_in_viewport()
    button = article.get_by_role("button", name="Contents")
    button.tap()
    expect(button).to_have_attribute("aria-expanded", "true")
    current = article.locator(".toc [aria-current]")
    expect(current).to_be_in_viewport()
    expect(current).to_be_focused()
    assert article.evaluate("() => scrollY") == before
    article.locator(".toc a[href='#references']").tap()
    expect(button).to_have_attribute("aria-expanded", "false")
    expect(article.locator("#references")).to_be_in_viewport()


def test_escape_and_a_tap_beside_it_put_the_contents_away(article: Page) -> None:
    button = article.get_by_role("button", name="Contents")
    button.tap()
    article.keyboard.press("Escape")
    expect(button).to_have_attribute("aria-expanded", "false")
    expect(button).to_be_focused()
    button.tap()
    article.touchscreen.tap(130, 20)
    expect(button).to_have_attribute("aria-expanded", "false")


def test_without_scripts_the_bar_leads_to_the_contents(
    chromium: Browser, static_site: StaticSite
) -> None:
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, java_script_enabled=False
    )
    page = context.new_page()
    page.goto(f"{static_site.url}#forgetting")
    page.get_by_role("link", name="Contents").click()
    expect(page.locator(".toc")).to_be_in_viewport()
    context.close()


def test_no_field_is_zoomed_into_and_no_target_is_too_small_for_a_finger(article: Page) -> None:
    awaken(article)
    assert article.evaluate(LETTERS, SMALLEST_LETTERS) == []
    assert article.evaluate(TARGETS, SMALLEST_TARGET) == []


@pytest.mark.parametrize("served", matrix([True, False], True))
def test_nothing_jumps_while_the_page_loads_and_asks_for_a_runner(
    telephone: Page, serve_site: Server, static_site: StaticSite, served: bool
) -> None:
    telephone.goto(serve_site.url if served else static_site.url)
    telephone.evaluate(WATCH)
    state = "live" if served else "absent"
    telephone.locator(f"runner-status[data-state={state}]").wait_for(state="attached")
    telephone.wait_for_timeout(1500)
    assert telephone.evaluate("() => window.shift") <= MOST_SHIFT


def test_what_scrolls_sideways_shows_it_at_its_edge(article: Page) -> None:
    wide = article.evaluate(
        """() => [...document.querySelectorAll(
          ".table-scroll, .plain-table, .scroll-x, .cell-source, .listing")]
          .filter((box) => box.scrollWidth > box.clientWidth + 1)
          .map((box) => getComputedStyle(box).backgroundAttachment)"""
    )
    assert wide
    assert set(wide) == {"local, local, scroll, scroll"}


@pytest.mark.parametrize("width", matrix([320, 390], 320))
def test_the_bar_of_a_cell_holds_all_that_it_says(article: Page, width: int) -> None:
    article.set_viewport_size({"width": width, "height": 800})
    article.locator(".cell-cost").first.wait_for()
    for stopped in (False, True):
        article.evaluate(
            "(hidden) => { for (const stop of document.querySelectorAll('.cell-stop'))"
            " stop.hidden = hidden }",
            stopped,
        )
        assert article.evaluate(BARS) == []


@pytest.mark.parametrize("width", matrix([320, 360, 390], 320))
def test_formulas_stay_inside_their_column(article: Page, width: int) -> None:
    article.set_viewport_size({"width": width, "height": 800})
    article.evaluate("document.fonts.ready.then(() => true)")
    cut = article.evaluate(
        """() => [...document.querySelectorAll(".formula")]
          .filter((box) => box.scrollWidth > box.clientWidth + 1)
          .map((box) => `${box.textContent.slice(0, 40)} ${box.scrollWidth - box.clientWidth}`)"""
    )
    assert cut == []
    assert not is_wider_than_the_window(article)
