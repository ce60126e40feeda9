"""Names are the field's: a verb and its object, or a noun; not the words this code once used."""

import ast
import re

from house.tree import ROOT, nodes, tracked

PRODUCT = [
    path
    for path in tracked("*.py", "*.js", "*.mjs")
    if path.relative_to(ROOT).parts[0] in {"py", "web", "build.py"}
]
NO_NAMES = (
    *("told", "said", "kept", "held", "whole", "words", "shown", "seen", "drawn", "asked"),
    *("given", "taken", "spoken", "heard", "foretold", "foretell", "voice", "outlook"),
)
NO_FILES = {
    *NO_NAMES,
    *("knobs", "habits", "frontier", "truth", "orders", "errands", "seal", "ends", "outbox"),
    *("press", "cards", "own", "ours", "known", "ways"),
}
OLDER = re.compile(r"(?i)\bfore(?:told|tell|cast)\w*|\bcard-hours?\b")


def test_no_function_and_no_class_is_named_by_a_participle_alone() -> None:
    script = re.compile(r"^(?:export )?(?:async )?(?:function|class) (\w+)", re.MULTILINE)
    defined = []
    for path in PRODUCT:
        if path.suffix == ".py":
            kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            defined += [(path, node.name) for node in nodes(path) if isinstance(node, kinds)]
        else:
            defined += [(path, name) for name in script.findall(path.read_text())]
    assert len(defined) > 4000
    older = [(path, name) for path, name in defined if name.strip("_").lower() in NO_NAMES]
    assert not [f"{path.relative_to(ROOT)}: {name}" for path, name in older]


def test_no_file_has_a_name_of_the_older_language() -> None:
    assert not [str(path.relative_to(ROOT)) for path in PRODUCT if path.stem in NO_FILES]


def test_the_product_predicts_and_counts_gpu_hours() -> None:
    found = {str(path.relative_to(ROOT)): OLDER.findall(path.read_text()) for path in PRODUCT}
    assert not {name: words for name, words in found.items() if words}
