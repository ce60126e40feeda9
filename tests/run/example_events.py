"""`rows` events as a trainer writes them, for tests of what the page makes of them."""

from __future__ import annotations

from typing import Any

PARTS: list[dict[str, Any]] = [
    {"as": "read", "texts": ["<|user|>", "\n", "Name", " a", " fish", ".", "<|end|>", "\n"]},
    {"as": "read", "texts": ["<|assistant|>", "\n"]},
    {"as": "trained", "texts": ["A", " c", "😀", "", "", "od", "."]},
    {"as": "end", "texts": ["<|end|>"]},
]
ROW: dict[str, Any] = {
    "place": "rows.jsonl:17",
    "tokens": 540,
    "trained": 8,
    "cut": 12,
    "before": 40,
    "after": 482,
    "parts": PARTS,
}
LOST = {"place": "rows.jsonl:5", "tokens": 400, "answer": 31}
COUNTS = {
    "rows": 1080,
    "read": 1200,
    "tokens": 30_000,
    "trained": 9000,
    "replayed": 0,
    "repeated": 3,
    "endless": 1,
    "cut": 4,
    "cut_tokens": 120,
    "untrained": 2,
    "bad": 5,
}


def row(words: str, **more: Any) -> dict[str, Any]:
    """A row of one trained text, a token a word."""
    texts = [f"{word} " for word in words.split(" ")]
    given = {"place": "rows.jsonl:1", "tokens": len(texts), "trained": len(texts)}
    return {**given, "parts": [{"as": "trained", "texts": texts}], **more}


def told() -> dict[str, Any]:
    """All that the first of the two events says."""
    return {
        "how": "answers and their ends; chats go through the model's chat template",
        "counts": dict(COUNTS),
        "trained_ratio": 0.3,
        "repeated_first": "rows.jsonl:9",
        "truncated": [
            {"place": "rows.jsonl:8", "tokens": 90, "answer": 70},
            {"place": "rows.jsonl:3", "tokens": 12, "answer": 0},
        ],
        "dropped": [LOST, {"place": "rows.jsonl:6", "tokens": 0, "answer": 0}],
        "notes": [
            {
                "text": "an answer is empty, so that only its end token is trained",
                "rows": 2,
                "first": "rows.jsonl:44",
            },
            {
                "text": "the key 'meta' is not used",
                "rows": 1080,
                "first": "rows.jsonl:1",
            },
        ],
        "ends": [{"text": "<|end|>", "token": 7, "rows": 1079}],
        "lengths": {
            "shortest": 5,
            "median": 26,
            "nine_in_ten": 90,
            "longest": 512,
            "from": [5, 69, 133, 197, 261, 325, 389, 453],
            "rows": [940, 70, 30, 20, 10, 6, 3, 1],
        },
        "padding": {"ratio": 0.29, "sequences": 3, "packed": True},
        "first": [
            ROW,
            row("שלום עולם, זהו משפט בעברית", place="rows.jsonl:2"),
            row("日本語の文章も そのまま 見える", place="rows.jsonl:3"),
        ],
    }


def scored() -> dict[str, Any]:
    """The second one."""
    hard = [row("qwxz qwxz", place="rows.jsonl:31", loss=9.25)]
    easy = [row("yes.", place="rows.jsonl:2", loss=0.031)]
    return {"scored": {"rows": 16, "mean": 2.347, "hardest": hard, "easiest": easy}}
