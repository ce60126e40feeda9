"""What stands between the paragraphs, in a browser: sliders, answers, terms, diagrams."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from accessibility import objections
from browser.drawing import drawn, laid_out
from conftest import StaticSite, watched_page

SENTENCES = "#article prose-slider"
OPEN = "() => document.querySelectorAll('details').forEach((d) => (d.open = true))"


@pytest.fixture(scope="module")
def article(chromium: Browser, static_site: StaticSite) -> Iterator[Page]:
    """The whole article, opened once for all that leaves it as it is."""
    with watched_page(chromium.new_context()) as page:
        page.goto(static_site.url)
        yield page


def test_the_first_figure_follows_its_slider_without_python(article: Page) -> None:
    figure = article.locator("#opening")
    rows = figure.locator("tbody tr")
    expect(figure).to_be_in_viewport()
    figure.get_by_role("slider").focus()
    article.keyboard.press("Home")
    expect(figure).to_contain_text("0 of 32")
    for row in rows.all():
        _, before, now = row.locator("th, td").all_inner_texts()
        assert now.startswith(before)
    before, width = figure.inner_text(), bar_width(figure)
    article.keyboard.press("End")
    expect(rows.first).to_contain_text("✓")
    assert figure.inner_text() != before
    assert bar_width(figure) > width
    fetched = article.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert fetched
    assert not [name for name in fetched if "pyodide" in name]


def bar_width(figure: Locator) -> float:
    """Of what was learned, in pixels."""
    box = figure.locator(".opening-learned").bounding_box()
    return box["width"] if box else 0.0


def test_pulling_a_slider_changes_the_sentence_and_what_is_spoken(article: Page) -> None:
    page = article
    sentence = page.locator(SENTENCES).first
    slider = sentence.get_by_role("slider", name="Parameters")
    expect(sentence.locator("p")).to_contain_text("8 billion parameters are 128 GB")
    slider.focus()
    page.keyboard.press("End")
    expect(sentence.locator("p")).to_contain_text("405 billion parameters are 6,480 GB")
    spoken = slider.get_attribute("aria-valuetext") or ""
    assert spoken.replace("\u00a0", " ").startswith("405 billion, 6,480 GB")
    page.keyboard.press("ArrowLeft")
    expect(sentence.locator("p")).to_contain_text("70 billion")


def test_two_sliders_of_one_sentence_work_together(article: Page) -> None:
    sentence = article.locator(SENTENCES).nth(1)
    for name in ("Tokens, s", "Examples, b"):
        sentence.get_by_role("slider", name=name).focus()
        article.keyboard.press("Home")
    expect(sentence.locator("p")).to_contain_text("512 tokens and one example")
    sentence.get_by_role("slider", name="Examples, b").focus()
    article.keyboard.press("ArrowRight")
    expect(sentence.locator("p")).to_contain_text("512 tokens and 2 examples")


def test_a_finger_moves_a_slider(chromium: Browser, static_site: StaticSite) -> None:
    context = chromium.new_context(has_touch=True, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(static_site.url)
    laid_out(page)  # nothing moves between the look at its place and the tap
    slider = page.locator(f"{SENTENCES} input").first
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    assert box["height"] >= 24
    page.touchscreen.tap(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    expect(page.locator(f"{SENTENCES} p").first).to_contain_text("405 billion")
    context.close()


def test_without_scripts_sentences_stand(chromium: Browser, static_site: StaticSite) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(static_site.url)
    expect(page.locator(f"{SENTENCES} p").first).to_contain_text("128 GB")
    assert page.locator("prose-slider input").count() == 0
    expect(page.locator(".slider-controls").first).to_be_hidden()
    context.close()


@pytest.mark.matrix
def test_controls_of_a_slider_move_nothing_when_they_arrive(
    chromium: Browser, static_site: StaticSite
) -> None:
    page = chromium.new_page()
    page.route("**/assets/main-*.js", lambda route: route.abort())
    page.goto(static_site.url)
    before = page.locator("prose-slider").first.bounding_box()
    page.unroute("**/assets/main-*.js")
    page.reload()
    page.locator("prose-slider input").first.wait_for()
    after = page.locator("prose-slider").first.bounding_box()
    page.close()
    assert before is not None
    assert after is not None
    assert after["height"] == pytest.approx(before["height"], abs=1)


def test_a_term_shows_its_meaning_beside_its_link(article: Page) -> None:
    page = article
    link = page.locator('a[href="#term-optimizer-moments"]').first
    link.focus()  # far below: the page scrolls there
    card = page.locator(".hover-card")
    expect(card).to_contain_text("They appear in the first update")
    expect(link).to_be_in_viewport()
    drawn(page)
    expect(card).to_be_visible()
    boxes = [one.bounding_box() for one in (link, card)]
    assert all(boxes)
    tops = [box["y"] for box in boxes if box]
    assert abs(tops[1] - tops[0]) < 300  # beside it, where it came to stand
    page.mouse.wheel(0, 40)
    drawn(page)
    expect(card).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".hover-card")).to_be_hidden()


@pytest.mark.matrix
def test_axe_finds_nothing_in_diagrams_and_prose_and_nothing_sticks_out(
    chromium: Browser, static_site: StaticSite
) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(static_site.url)
    page.locator("prose-slider input").first.wait_for()
    page.evaluate(OPEN)
    within = ".diagram, prose-slider, .takeaway, .problem, .glossary, .masthead"
    within += ", .chapter:first-of-type > p:has(a)"
    assert objections(page, within, ("dark", 320)) == []
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_words_of_a_diagram_stay_inside_it_and_off_each_other(article: Page, width: int) -> None:
    article.set_viewport_size({"width": width, "height": 900})
    drawn(article)
    article.evaluate("document.fonts.ready.then(() => true)")
    problems = article.evaluate(
        """() => {
          const found = [];
          for (const diagram of document.querySelectorAll(".diagram")) {
            const frame = diagram.getBoundingClientRect();
            const words = [...diagram.querySelectorAll("svg text")]
              .filter((text) => text.getClientRects().length && text.textContent.trim())
              .map((text) => ({ text: text.textContent, box: text.getBoundingClientRect() }));
            for (const { text, box } of words)
              if (box.left < frame.left - 1 || box.right > frame.right + 1) found.push(text);
            words.forEach((one, i) => words.slice(i + 1).forEach((other) => {
              const across = Math.min(one.box.right, other.box.right)
                - Math.max(one.box.left, other.box.left);
              const down = Math.min(one.box.bottom, other.box.bottom)
                - Math.max(one.box.top, other.box.top);
              if (across > 1 && down > 3) found.push(`${one.text} × ${other.text}`);
            }));
          }
          return found;
        }"""
    )
    article.set_viewport_size({"width": 1280, "height": 720})
    assert not problems
