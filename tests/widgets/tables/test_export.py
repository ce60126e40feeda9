import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from widgets.node import Node

TABLE = {"headers": ["Model", "Total"], "units": ["", "GB"], "rows": [["a|b", 1.5], [None, "=1+1"]]}
SAFE_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).filter(
    lambda text: text[:1] not in "=+-@"
)


def test_tsv_has_one_row_a_line_with_units_in_its_head(node: Node) -> None:
    assert node.call("tables/export", "toTsv", TABLE) == "Model\tTotal (GB)\na|b\t1.5\n\t'=1+1"


def test_markdown_escapes_pipes_and_sets_numbers_right(node: Node) -> None:
    table = {"headers": ["Model", "Total"], "rows": [["a|<b>", 1.5]]}
    assert node.call("tables/export", "toMarkdown", table) == (
        "| Model | Total |\n| --- | ---: |\n| a\\|\\<b> | 1.5 |"
    )


def test_a_negative_number_is_no_formula(node: Node) -> None:
    csv_text = node.call("tables/export", "toCsv", {"headers": ["x"], "rows": [["-5"], ["-A1"]]})
    assert csv_text == "x\r\n-5\r\n'-A1\r\n"


@given(rows=st.lists(st.tuples(SAFE_TEXT, SAFE_TEXT), min_size=1, max_size=5))
def test_csv_gives_back_every_cell(node: Node, rows: list[tuple[str, str]]) -> None:
    table = {"headers": ["a", "b"], "rows": rows}
    read = list(csv.reader(io.StringIO(node.call("tables/export", "toCsv", table), newline="")))
    assert read == [["a", "b"], *map(list, rows)]
