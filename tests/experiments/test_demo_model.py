"""The shipped model is the one on its card, and it can do what the card says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from demo_model.network import train_tokenizer
from demo_model.skills import SKILLS, task_rows
from gpu_runner import demo
from lab_demo import loaded
from make_demo_model import SEED, scores, what_was_done

pytestmark = pytest.mark.slow

CARD = json.loads(demo.card().read_text(encoding="utf-8"))
DOCUMENT = Path(__file__).parents[2] / "docs" / "demo-model.md"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(demo.model_dir())


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(demo.model_dir()).eval()


@pytest.fixture(scope="module")
def measured(model, tokenizer):
    return scores(model, tokenizer)


def answer(model, tokenizer, prompt: str) -> str:
    ids = torch.tensor([tokenizer(prompt).input_ids])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20,
                             do_sample=False)  # fmt: skip
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def recorded(name: str, kind: str) -> list[dict[str, Any]]:
    log = DOCUMENT.parents[1] / "web" / "recordings" / f"{name}.jsonl"
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [event for event in events if event["kind"] == kind]


def recorded_scores(name: str) -> dict[str, list[tuple[str, int]]]:
    """Of each set, its loss as the document has it and its right rows, evaluation by evaluation."""
    found: dict[str, list[tuple[str, int]]] = {}
    for event in recorded(name, "eval"):
        score = f"{event['loss']:.3f}", event["exact"]["right"]
        found.setdefault(event["suite"], []).append(score)
    return found


def recorded_answers(name: str) -> dict[str, tuple[str, str]]:
    said = {(e["prompt"], e["when"]): e["text"].strip() for e in recorded(name, "sample")}
    return {
        prompt: (said[prompt, "before"], said[prompt, "after"])
        for prompt in demo.RECIPE.sample_prompts
    }


def test_transformers_loads_a_llama_of_the_size_on_the_card(model) -> None:
    assert isinstance(model, LlamaForCausalLM)
    assert model.num_parameters() == CARD["parameters"]
    assert all(p.dtype is torch.float32 for p in model.parameters())


@pytest.mark.parametrize("skill", [*demo.EARLIER_SKILLS, "task"])
def test_held_out_loss_and_accuracy_equal_the_card(measured, skill: str) -> None:
    assert measured[skill]["loss"] == pytest.approx(CARD["scores"][skill]["loss"], abs=1e-3)
    assert measured[skill]["exact"] == pytest.approx(CARD["scores"][skill]["exact"], abs=0.04)


@pytest.mark.parametrize(
    ("skill", "share"),
    [("addition", 0.95), ("capitals", 0.95), ("tenses", 0.95), ("reversal", 0.75)],
)
def test_each_earlier_skill_was_really_learnt(skill: str, share: float) -> None:
    assert CARD["scores"][skill]["exact"] >= share


def test_the_task_is_new_to_the_model() -> None:
    assert CARD["scores"]["task"]["exact"] == 0
    assert CARD["scores"]["task"]["loss"] > 2


@pytest.mark.parametrize(
    ("prompt", "right"),
    [
        ("47 + 25 =", " 72"),
        ("Spell backwards: p l a n e t =", " t e n a l p"),
        ("The capital of France is", " Paris."),
        ("Every day she sings. Yesterday she", " sang."),
        ("71 + 65 =", " 136"),
        ("55 + 97 =", " 152"),
        ("People who live in Sofia live in", " Bulgaria."),
        ("Often Omar pays. Yesterday Omar", " paid."),
    ],
)
def test_greedy_answers_are_right(model, tokenizer, prompt: str, right: str) -> None:
    assert answer(model, tokenizer, prompt) == right


def test_a_completion_tokenises_the_same_alone_and_after_its_prompt(tokenizer) -> None:
    held_out = [row for _, rows in SKILLS.values() for row in rows()] + task_rows()[0]
    for prompt, completion in held_out:
        apart = tokenizer(prompt).input_ids + tokenizer(completion).input_ids
        assert apart == tokenizer(prompt + completion).input_ids
        assert len(apart) < demo.RECIPE.seq_len
        assert tokenizer.decode(apart) == prompt + completion


def test_any_text_survives_the_tokenizer(tokenizer) -> None:
    text = "Größe → 10 €\n\ttab"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_tokenizer_is_trained_again_piece_by_piece(tokenizer) -> None:
    assert train_tokenizer(SEED).get_vocab() == tokenizer.get_vocab()


def test_the_card_states_the_recipe_of_the_script() -> None:
    done = CARD["pretraining"]
    assert done == what_was_done(done["steps"], done["threads"])


def test_the_document_says_the_numbers_of_the_card() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for skill, found in CARD["scores"].items():
        row = rf"\| {skill} \|.*\| {found['loss']:.3f} \| {found['exact']:.0%} \|"
        assert re.search(row, text), f"no row like {row} in {DOCUMENT.name}"
    assert f"{CARD['parameters']:,} parameters" in text
    assert f"{CARD['pretraining']['steps']:,} steps" in text
    assert f"seed {CARD['pretraining']['seed']}" in text
    assert CARD["versions"]["torch"] in text


def test_the_document_says_the_losses_and_the_right_rows_of_the_recorded_runs() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    high, low = (recorded_scores(name) for name in ("demo", "demo-careful"))
    for suite in ("task", *(f"general/{skill}" for skill in demo.EARLIER_SKILLS)):
        scores = high[suite][0], high[suite][-1], low[suite][-1]
        cells = (suite, *(loss for loss, _ in scores), *(right for _, right in scores))
        assert f"| {' | '.join(map(str, cells))} |" in text


def test_the_document_shows_what_the_recorded_runs_wrote() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    high, low = (recorded_answers(name) for name in ("demo", "demo-careful"))
    for prompt, (before, after) in high.items():
        assert f"| `{prompt}` | `{before}` | `{after}` | `{low[prompt][1]}` |" in text


def test_the_sample_prompts_are_held_out_rows_drawn_as_the_page_draws_them() -> None:
    drawn = [row.prompt for row in loaded().sampled_rows(demo.RECIPE.seed)]
    assert set(demo.RECIPE.sample_prompts) < set(drawn)
