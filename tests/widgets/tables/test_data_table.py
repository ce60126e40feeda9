import pytest
from playwright.sync_api import Locator, Page, expect

from widgets.node import example


@pytest.fixture
def table(page: Page, gallery: str) -> Locator:
    """The live memory table of the gallery."""
    page.goto(gallery)
    found = page.locator("#memory-table")
    expect(found.locator(".table-sort").first).to_be_attached()
    return found


def first_cells(table: Locator) -> list[str]:
    """The row names from top to bottom."""
    return table.locator("tbody th").all_inner_texts()


def test_a_baked_table_gives_its_data_when_it_turns_live(table: Locator) -> None:
    assert table.evaluate("table => table.data") == example("memory-table")


def test_turning_live_moves_nothing(page: Page, gallery: str) -> None:
    def places() -> list[dict[str, float]]:
        cells = "[...document.querySelectorAll('#memory-table :is(th, td), figure, .plot-picture')]"
        visible = ".map(each => each.getBoundingClientRect()).filter(box => box.width > 0)"
        boxes = page.evaluate(f"{cells}{visible}.map(({{x, y, width}}) => ({{x, y, width}}))")
        return [{key: round(value) for key, value in box.items()} for box in boxes]

    page.route(
        "**/gallery.js", lambda route: route.fulfill(body="", content_type="text/javascript")
    )
    page.goto(gallery)
    baked = places()
    page.unroute("**/gallery.js")
    page.goto(gallery)
    expect(page.locator(".plot-stage").first).to_be_attached()
    assert places() == baked


def test_a_header_sorts_by_value_says_so_and_keeps_the_focus(page: Page, table: Locator) -> None:
    header = table.locator("thead th").nth(4)
    header.locator("button").focus()
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert first_cells(table) == ["Phi-350M", "LLaMA-7B", "LLaMA-13B", "LLaMA-70B"]
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "descending")
    expect(header.locator("button")).to_be_focused()
    expect(table.locator(".figure-message")).to_have_text("Rows by Total, descending")
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "none")
    assert first_cells(table) == ["LLaMA-7B", "LLaMA-13B", "LLaMA-70B", "Phi-350M"]


def test_blanks_stay_last_when_a_column_is_turned_round(table: Locator) -> None:
    for _ in range(2):
        table.locator("thead th button").nth(3).click()
        assert first_cells(table)[-1] == "Phi-350M"


def test_the_table_can_be_copied_as_it_is_sorted(page: Page, table: Locator) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    table.locator("thead th button").nth(4).click()
    for label, start in (("Copy", "Model\tParams"), ("Copy as Markdown", "| Model | Params |")):
        said = table.locator(".figure-message")
        said.evaluate("said => said.replaceChildren()")
        table.get_by_role("button", name=label, exact=True).click()
        expect(said).to_have_text("Copied")
        lines = page.evaluate("navigator.clipboard.readText()").splitlines()
        assert lines[0].startswith(start)
        assert "Phi-350M" in lines[1 if label == "Copy" else 2]


def test_a_refused_clipboard_names_the_way_out(page: Page, table: Locator) -> None:
    page.context.clear_permissions()
    page.context.grant_permissions(["geolocation"])  # and none other
    table.get_by_role("button", name="Copy", exact=True).click()
    expect(table.locator(".figure-message")).to_contain_text("download the CSV instead")


def test_the_table_can_be_saved_as_csv(page: Page, table: Locator) -> None:
    with page.expect_download() as download:
        table.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "table.csv"
    text = download.value.path().read_text(encoding="utf-8")
    assert text.splitlines()[1] == "LLaMA-7B,7B,112.0 GB,3.2 GB,115.2 GB,2"


def test_a_table_without_a_title_is_saved_by_the_name_of_its_figure(
    page: Page, table: Locator
) -> None:
    for frame, name in (("<figure id='fig-losses'>", "losses"), ("<live-cell id='sum'>", "sum")):
        table.evaluate(
            """(table, frame) => {
              table.insertAdjacentHTML("beforebegin", frame);
              table.previousElementSibling.append(table);
            }""",
            frame,
        )
        with page.expect_download() as download:
            table.get_by_role("button", name="Download CSV").click()
        assert download.value.suggested_filename == f"{name}.csv"
        table.evaluate("table => table.parentElement.replaceWith(table)")
    table.evaluate("table => { table.data = { ...table.data, caption: 'Bytes a parameter' } }")
    with page.expect_download() as download:
        table.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "bytes-a-parameter.csv"


def test_data_set_before_the_element_is_known_is_drawn(page: Page, gallery: str) -> None:
    page.goto(gallery)
    text = page.evaluate(
        """() => {
          const late = document.createElement("div");
          late.innerHTML = "<data-table></data-table>";
          const table = late.firstChild;
          table.data = { headers: ["a"], rows: [["<b>bold</b>"]] };
          document.body.append(late);
          return table.querySelector("td").textContent;
        }"""
    )
    assert text == "<b>bold</b>"


def test_a_wrong_shape_is_drawn_as_an_error_and_the_next_value_works(table: Locator) -> None:
    table.evaluate("table => { table.data = { headers: 3 } }")
    expect(table.get_by_role("alert")).to_contain_text("headers is 3; it must be a list")
    table.evaluate("table => { table.data = { headers: ['a'], rows: [[1]] } }")
    expect(table.locator("td")).to_have_text("1")


def test_a_long_table_shows_its_start_and_offers_the_rest(table: Locator) -> None:
    rows = "Array.from({ length: 700 }, (_, index) => [index])"
    table.evaluate(f"table => {{ table.data = {{ headers: ['n'], rows: {rows} }} }}")
    expect(table.locator("tbody tr")).to_have_count(500)
    table.get_by_role("button", name="Show all 700 rows").click()
    expect(table.locator("tbody tr")).to_have_count(700)


@pytest.mark.parametrize(
    ("columns", "characters", "shown"), [(200, 1, 50), (10, 1000, 20), (200, 5000, 1)]
)
def test_of_a_wide_table_or_long_texts_fewer_rows_are_drawn_at_first(
    table: Locator, columns: int, characters: int, shown: int
) -> None:
    row = f"Array({columns}).fill('x'.repeat({characters}))"
    data = f"{{ headers: Array({columns}).fill('a'), rows: Array(60).fill({row}) }}"
    table.evaluate(f"table => {{ table.data = {data} }}")
    assert table.locator("tbody tr").count() == shown
    expect(table.get_by_role("button", name="Show all 60 rows")).to_be_visible()


def test_on_a_telephone_the_table_scrolls_and_the_page_does_not(page: Page, table: Locator) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    region = table.locator(".table-scroll")
    assert region.evaluate("box => box.scrollWidth > box.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth <= 390")
    region.focus()
    page.keyboard.press("ArrowRight")
    expect(region).to_be_focused()


def test_new_rows_under_the_same_headers_keep_the_readers_order(table: Locator) -> None:
    table.locator("thead th button").nth(4).click()
    table.evaluate("table => { table.data = { ...table.data, rows: table.data.rows.slice(0, 3) } }")
    expect(table.locator("thead th").nth(4)).to_have_attribute("aria-sort", "ascending")
    expect(table.locator("thead th button").nth(4)).to_be_focused()
    table.evaluate("table => { table.data = { headers: ['b'], rows: [[2], [1]] } }")
    assert table.locator("td").all_inner_texts() == ["2", "1"]


def test_a_folded_table_stays_as_printed_until_it_is_unfolded(page: Page, table: Locator) -> None:
    table.evaluate(
        """table => {
          const data = JSON.stringify({ headers: ["Model", "GB"], rows: [["7B", 112]] });
          table.insertAdjacentHTML("beforebegin", `<details id="fold"><summary>Show</summary>
            <data-table><script type="application/json" class="data">${data}</script>
            <p class="printed">7B 112</p></data-table></details>`);
        }"""
    )
    fold = page.locator("#fold")
    expect(fold.locator(".printed")).to_be_attached()
    expect(fold.locator(".table-sort")).to_have_count(0)
    fold.locator("summary").click()
    expect(fold.locator(".table-sort")).to_have_count(2)
    expect(fold.locator(".printed")).to_have_count(0)


def test_a_table_is_filtered_by_what_its_columns_hold_and_copied_so(
    page: Page, table: Locator
) -> None:
    table.evaluate(
        """table => { table.data = {
          headers: ["GPU", "Month", "Peak", "Framework"], filters: [0, 1, 3, 9],
          rows: [["T4", "2026-11", 3, "trl"], ["H100", "2026-12", 1, "trl"],
                 ["T4", "2026-12", 2, "trl"]],
        } }"""
    )
    expect(table.locator("select")).to_have_count(2)  # one framework is no choice
    gpu, month = table.get_by_label("GPU", exact=True), table.get_by_label("Month", exact=True)
    assert gpu.locator("option").all_inner_texts() == ["GPU: all", "H100", "T4"]
    gpu.select_option("T4")
    assert first_cells(table) == ["T4", "T4"]
    expect(gpu).to_have_value("T4")
    expect(table.locator(".figure-message")).to_have_text("2 of 3 rows")
    month.focus()
    month.select_option("2026-11")
    expect(month).to_be_focused()
    assert first_cells(table) == ["T4"]
    with page.expect_download() as download:
        table.get_by_role("button", name="Download CSV").click()
    assert download.value.path().read_text("utf-8").splitlines()[1:] == ["T4,2026-11,3,trl"]
    gpu.select_option("")
    month.select_option("")
    assert len(first_cells(table)) == 3
