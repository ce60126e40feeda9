"""A trainer's file opened, dropped or pasted on the planner is planned, or refused in words."""

import base64
import json

import pytest
from playwright.sync_api import expect

from browser.planner_reader import SECONDS, PlannerReader
from unfrozen.model.catalogue import CATALOGUE

CHAPTERS = ("the-planner",)

AXOLOTL = "base_model: Qwen/Qwen2.5-7B\nsequence_len: 4096\nsome_key: 3\ndeepspeed: ds/zero2.json\n"
ZERO = json.dumps({"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": 2})
GIVE = """([kind, name, text, large]) => {
  const data = new DataTransfer();
  const content = large ? text.repeat(large) : atob(text);
  if (name) data.items.add(new File([content], name));
  else data.setData("text", atob(text));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData: data })
    : new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data });
  document.querySelector(kind === "paste" ? "body" : "memory-planner .mp-bar").dispatchEvent(event);
}"""


def give(planner: PlannerReader, kind: str, name: str, text: str, large: int = 0) -> None:
    """Drop or paste a file, or a text where it has no name."""
    content = text if large else base64.b64encode(text.encode()).decode()
    planner.page.evaluate(GIVE, [kind, name, content, large])


def test_files_are_opened_by_the_keyboard_and_say_how_they_were_read(
    planner: PlannerReader,
) -> None:
    button = planner.root.get_by_role("button", name="Open a trainer’s file…")
    expect(button).to_be_enabled(timeout=SECONDS * 1000)
    with planner.page.expect_file_chooser() as chooser:
        button.press("Enter")
    chooser.value.set_files(
        [
            {"name": "zero2.json", "mimeType": "text/plain", "buffer": ZERO.encode()},
            {"name": "a.yml", "mimeType": "text/plain", "buffer": AXOLOTL.encode()},
        ]
    )
    note = planner.root.locator("[data-read]")
    expect(note).to_contain_text(
        "Read as Axolotl: base_model, sequence_len", timeout=SECONDS * 1000
    )
    expect(note).to_contain_text("some_key")
    expect(planner.control("model")).to_have_value("Qwen/Qwen2.5-7B")
    expect(planner.control("seq_len")).to_have_value("4096")
    expect(planner.control("micro_batch")).to_have_value("2")
    assert planner.view["state"]["sharding"] == "zero2"


def test_a_command_is_pasted_and_a_model_of_weights_dropped(planner: PlannerReader) -> None:
    note = planner.root.locator("[data-read]")
    give(planner, "paste", "", "swift sft --model Qwen/Qwen3-8B --tuner_type full --max_length 512")
    expect(note).to_contain_text("Read as ms-swift: model", timeout=SECONDS * 1000)
    expect(planner.control("seq_len")).to_have_value("512")
    give(planner, "drop", "config.json", json.dumps(CATALOGUE["openai-community/gpt2"].config))
    expect(note).to_have_text("Read as a model's config.json.")
    expect(planner.root.locator(".mp-facts")).to_contain_text("124M parameters")


@pytest.mark.parametrize(
    ("name", "text", "large", "words"),
    [
        ("a.yml", "a: 1\n", 20_000_000, "at most 1,000,000 characters"),
        ("a.yml", f"{AXOLOTL}cutoff_len: 9\n", 0, "keep the keys of one trainer"),
        ("a.safetensors", "abc", 0, "ends within its header"),
    ],
)
def test_what_cannot_be_read_leaves_the_plan_and_says_why(
    planner: PlannerReader, name: str, text: str, large: int, words: str
) -> None:
    give(planner, "drop", name, text, large)
    note = planner.root.locator("[data-read].field-error")
    expect(note).to_contain_text(words, timeout=SECONDS * 1000)
    assert planner.view["state"] == {}
