"""The page on accuracy: on any host below any path, without Python, found by its old addresses."""

from playwright.sync_api import Browser, Page, Request, expect

from accessibility import SHORTEN, objections
from conftest import Server, StaticSite

CHAPTERS = ("the-planner",)
COVERED = """() => [...document.querySelectorAll(".accuracy-strips tbody tr")].flatMap((row) => {
  const range = document.createRange();
  range.selectNodeContents(row.querySelector("th"));
  const names = [...range.getClientRects()];
  const isOn = (a, b) =>
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const labels = [...row.querySelectorAll(".strip text")];
  const covers = (label) => names.some((name) => isOn(label.getBoundingClientRect(), name));
  return labels.filter(covers).map((label) => label.textContent);
})"""


def test_the_page_is_light_and_its_tables_sort(page: Page, static_site: StaticSite) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        if request.method == "GET":  # a while later it asks who serves it
            asked.append(request.url.removeprefix(static_site.url))

    page.on("request", note)
    page.goto(f"{static_site.url}accuracy/")
    expect(page.get_by_role("heading", level=1)).to_have_text("How right the planner is")
    summary = page.locator("#every-traced-step ~ .wide summary")
    summary.click()
    table = page.locator("data-table", has=page.get_by_role("columnheader", name="Traced"))
    table.get_by_role("button", name="Error").click()
    expect(table.locator("th[aria-sort=ascending]")).to_contain_text("Error")
    page.locator("data-plot").first.scroll_into_view_if_needed()
    expect(page.locator("data-plot .figure-button").first).to_be_attached()
    assert {path.split("/")[0] for path in asked} == {"accuracy", "assets"}
    assert not page.locator("python-status, runner-status").count()
    page.locator("theme-toggle button").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.locator(".top-title").click()
    page.wait_for_url(static_site.url)


def test_no_label_of_a_dot_covers_the_name_of_its_class(
    page: Page, static_site: StaticSite
) -> None:
    page.goto(f"{static_site.url}accuracy/")
    for width in (1280, 1000, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.locator(".accuracy-strips .strip text").first.scroll_into_view_if_needed()
        page.evaluate("() => document.fonts.ready.then(() => null)")
        assert page.evaluate(COVERED) == []


def test_an_old_address_of_the_article_leads_to_the_page(
    page: Page, static_site: StaticSite
) -> None:
    page.goto(f"{static_site.url}#runs-that-came-later")
    page.wait_for_url(f"{static_site.url}accuracy/#runs-that-came-later")
    expect(page.locator("#runs-that-came-later")).to_be_in_viewport()
    page.goto(f"{static_site.url}#the-planner")
    page.evaluate("location.hash = 'what-other-calculators-answer'")
    page.wait_for_url(f"{static_site.url}accuracy/#what-other-calculators-answer")
    page.goto(f"{static_site.url}#rows-that-came-later")
    page.wait_for_url(f"{static_site.url}accuracy/#runs-that-came-later")
    page.goto(f"{static_site.url}#the-kernels")
    page.wait_for_url(f"{static_site.url}#four-things-most-calculators-leave-out")
    expect(page.locator("#four-things-most-calculators-leave-out")).to_be_in_viewport()


def test_the_runner_serves_the_page(page: Page, serve_site: Server) -> None:
    page.goto(f"{serve_site.origin}/accuracy/")
    expect(page.locator("#where-it-misses")).to_be_attached()
    page.goto(f"{serve_site.origin}/accuracy")
    page.wait_for_url(f"{serve_site.origin}/accuracy/")


def test_axe_finds_nothing_on_the_page(chromium: Browser, static_site: StaticSite) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{static_site.url}accuracy/")
    page.evaluate(SHORTEN)
    assert objections(page, "html", ("dark", 390)) == []
    context.close()
