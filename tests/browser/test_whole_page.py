"""The whole page for everybody: axe with best practices, forced colours, no scripts."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from accessibility import AXE, SHORTEN, objections
from browser.decision_reader import DecisionReader
from browser.drawing import come_near_all, laid_out, wait
from browser.planner_reader import PlannerReader
from browser.run_reader import RunReader
from conftest import StaticSite, watched_page

# Whoever tests a part of the page has its contrast judged, too; of the whole it takes the longest.
WITHOUT_CONTRAST = """() => axe.configure({
  rules: ["color-contrast", "link-in-text-block"].map((id) => ({ id, enabled: false })) })"""
MOST_SCREENS = 50
OPEN = "() => document.querySelectorAll('details').forEach((fold) => (fold.open = true))"


def awake(page: Page, url: str) -> None:
    """Open the page and come near everything that comes alive only then."""
    page.goto(url)
    laid_out(page)  # or what is scrolled to is moved away by what is above it
    DecisionReader(page)
    PlannerReader(page)
    page.locator("run-view").scroll_into_view_if_needed()
    RunReader(page)
    page.locator("run-view run-chart canvas").first.wait_for()
    page.evaluate(OPEN)


@pytest.mark.matrix
def test_axe_finds_nothing_before_any_script(chromium: Browser, static_site: StaticSite) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    page.route("**/assets/main-*.js", lambda route: route.abort())
    page.goto(static_site.url)
    page.evaluate(OPEN)
    assert objections(page, "html", ("light", 1440)) == []
    context.close()


def test_axe_finds_nothing_when_all_is_alive(chromium: Browser, static_site: StaticSite) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    awake(page, static_site.url)
    page.evaluate(SHORTEN)
    page.evaluate(AXE.read_text("utf-8"))
    page.evaluate(WITHOUT_CONTRAST)
    assert objections(page, "html", ("dark", 390)) == []
    context.close()


def test_colours_that_a_reader_forces_leave_every_sign_apart(
    chromium: Browser, static_site: StaticSite
) -> None:
    context = chromium.new_context(forced_colors="active", bypass_csp=True)
    page = context.new_page()
    PlannerReader(page, static_site.url)
    fills = page.locator("memory-planner .legend .swatch").evaluate_all(
        "(all) => all.map((each) => getComputedStyle(each).backgroundColor)"
    )
    assert len(set(fills)) == len(fills) > 3
    boxes = page.locator(".mp-bar .predicted").evaluate_all(
        "(all) => all.map((each) => getComputedStyle(each).fill)"
    )
    assert len(set(boxes)) >= len(fills)
    RunReader(page, static_site.url).wait_notice("finished")
    keys = page.locator("run-view .legend .swatch[class*=c-]")
    shown = keys.evaluate_all("(all) => all.map((each) => getComputedStyle(each).backgroundColor)")
    assert len(set(shown)) == len(shown) > 3
    bar = page.locator("run-view progress")
    assert bar.evaluate("(p) => p.getBoundingClientRect().height") >= 6
    page.goto(static_site.url)
    buttons = page.locator("data-plot .figure-button").first
    assert buttons.evaluate("(each) => getComputedStyle(each).opacity") == "1"
    context.close()


def test_without_scripts_every_gap_says_what_it_needs(
    chromium: Browser, static_site: StaticSite
) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(static_site.url)
    for tag in ("run-view:not([data-own])", "memory-planner", "method-decision", "page-run"):
        assert "JavaScript" in page.locator(tag).inner_text(), tag
    context.close()


@pytest.fixture(scope="module")
def opened(chromium: Browser, static_site: StaticSite) -> Iterator[Page]:
    """The page of a reader who allows it to copy."""
    context = chromium.new_context(
        permissions=["clipboard-read", "clipboard-write"], viewport={"width": 1280, "height": 900}
    )
    with watched_page(context) as page:
        page.goto(static_site.url)
        laid_out(page)
        screens = page.evaluate("document.documentElement.scrollHeight / innerHeight")
        assert screens <= MOST_SCREENS
        come_near_all(page)
        yield page


def test_with_scripts_nothing_says_that_it_needs_them(opened: Page) -> None:
    expect(opened.locator("runner-status[data-state=absent]")).to_be_attached()
    assert "need JavaScript" not in opened.locator("main").inner_text()
    assert "needs JavaScript" not in opened.locator("main").inner_text()
    opened.emulate_media(media="print")
    assert "JavaScript." not in opened.locator("main").inner_text()
    opened.emulate_media(media="screen")


def test_what_stands_in_the_margin_covers_nothing(opened: Page) -> None:
    covered = opened.evaluate(
        """() => {
          const box = (each) => each.getBoundingClientRect();
          const edge = box(document.querySelector(".article")).right;
          const aside = [...document.querySelectorAll(".takeaway, .try, .note")];
          const wide = document.querySelectorAll(".article :is(live-cell, .wide, article-quiz)");
          const others = [...wide, ...aside];
          const inside = aside.filter((each) => box(each).left < edge);
          if (aside.length < 15 || inside.length > 0) return ["not in the margin"];
          const meet = (a, b) => a.top < b.bottom && b.top < a.bottom && b.right > edge;
          const covers = (one) =>
            others.some((other) => one !== other && meet(box(one), box(other)));
          return aside.filter(covers).map((each) => each.textContent);
        }"""
    )
    assert covered == []


def test_every_command_of_the_article_is_copied_with_one_press(opened: Page) -> None:
    commands = opened.locator(".article .language-sh, .article .language-bibtex")
    buttons = opened.locator(".listing-frame > .copy-button")
    assert buttons.count() == commands.count() > 3
    for index in range(commands.count()):
        buttons.nth(index).click()
        expect(buttons.nth(index)).to_have_text("Copied")
        copied = opened.evaluate("() => navigator.clipboard.readText()")
        assert copied == commands.nth(index).inner_text().rstrip()


def test_copy_buttons_move_nothing_when_they_arrive(
    chromium: Browser, static_site: StaticSite, opened: Page
) -> None:
    heights = """() => [...document.querySelectorAll(".listing:has(.language-sh)")]
      .map((each) => each.getBoundingClientRect().height)"""
    page = chromium.new_page(viewport=opened.viewport_size)
    page.route("**/assets/main-*.js", lambda route: route.abort())
    page.goto(static_site.url)
    before = page.evaluate(heights)
    page.close()
    opened.locator(".listing-frame > .copy-button").first.wait_for()
    assert opened.evaluate(heights) == before


IS_AT_TOP = """(place) => {
  const { top } = document.getElementById(place).getBoundingClientRect();
  return 40 <= top && top <= 100;
}"""


@pytest.mark.parametrize("width", [1280, 390])
def test_an_address_leads_to_its_heading_though_what_is_above_is_laid_out_later(
    chromium: Browser, static_site: StaticSite, width: int
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 844})
    page.goto(f"{static_site.url}#run-it-for-real")
    for place in ("run-it-for-real", "the-learning-rate"):
        page.evaluate("(place) => { location.hash = place; }", place)
        laid_out(page)
        wait(page, lambda at=place: page.evaluate(IS_AT_TOP, at), place)  # type: ignore[misc]
    page.close()
