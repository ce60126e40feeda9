import pytest
from hypothesis import given
from hypothesis import strategies as st

from widgets.node import JavaScriptError, Node

# Characters XML allows, so that what is printed can be parsed again by a strict reader.
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))


def test_text_and_attributes_are_escaped(node: Node) -> None:
    html = node.html(
        "figures/vnode", "h", "p", {"title": '"><img src=x>'}, "<script>alert(1)</script>"
    )
    assert html == (
        '<p title="&quot;&gt;&lt;img src=x&gt;">&lt;script&gt;alert(1)&lt;/script&gt;</p>'
    )


def test_nothing_is_printed_for_missing_children_and_false_attributes(node: Node) -> None:
    html = node.html(
        "figures/vnode", "h", "p", {"hidden": True, "id": None, "lang": False}, None, ["a", 0]
    )
    assert html == '<p hidden="">a0</p>'


@pytest.mark.parametrize("tag", ["code", "pre", "ins", "del"])
def test_a_character_of_code_that_is_not_seen_has_a_name(node: Node, tag: str) -> None:
    text = "a\u202eb\u200b\u3164\U000e0041\u2066\x1b\r\n\tc é ❤"
    names = ("a", "202E", "b", "200B", "3164", "E0041", "2066", "001B", "000D", "\n\tc é ❤")
    marked = (f'<mark class="unseen">U+{n}</mark>' if len(n) in (4, 5) else n for n in names)
    assert node.html("figures/vnode", "h", tag, {}, text) == f"<{tag}>{''.join(marked)}</{tag}>"
    assert node.html("figures/vnode", "h", "p", {}, text) == f"<p>{text}</p>"


@pytest.mark.parametrize("name", ["onclick", "ONERROR", "style", "srcdoc", 'x"y'])
def test_handlers_and_inline_styles_are_refused(node: Node, name: str) -> None:
    with pytest.raises(JavaScriptError, match="refused"):
        node.html("figures/vnode", "h", "p", {name: "alert(1)"})


@pytest.mark.parametrize(
    "tag", ["script", "style", "iframe", "img", "meta", "link", "SCRIPT", "p onclick=x", ""]
)
def test_elements_that_run_or_hide_text_are_refused(node: Node, tag: str) -> None:
    with pytest.raises(JavaScriptError, match="vnode cannot be"):
        node.html("figures/vnode", "h", tag, {})


@pytest.mark.parametrize("name", ["href", "HREF"])
@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "JAVASCRIPT:x", "data:text/html,x", "//x", ""]
)
def test_an_address_that_runs_something_is_refused(node: Node, name: str, address: str) -> None:
    with pytest.raises(JavaScriptError, match="is refused"):
        node.html("figures/vnode", "h", "a", {name: address})


FAKE = {"tag": "p", "attrs": {}, "children": ["forged"]}


@pytest.mark.parametrize("child", [FAKE, [FAKE], ["x", [FAKE]], {}])
def test_an_object_of_the_shape_of_a_node_is_no_child(node: Node, child: object) -> None:
    with pytest.raises(JavaScriptError, match="an object but no node"):
        node.html("figures/vnode", "h", "p", None, child)


def test_an_object_of_the_shape_of_a_node_is_not_printed(node: Node) -> None:
    with pytest.raises(JavaScriptError, match="only nodes made by h can be drawn"):
        node.call("figures/vnode", "toHtml", FAKE)


@given(title=TEXT, text=TEXT)
def test_any_text_survives_printing_and_parsing(node: Node, title: str, text: str) -> None:
    tree = node.tree("figures/vnode", "h", "p", {"title": title}, text)
    assert tree.get("title") == title
    assert (tree.text or "") == text
