import json
import math
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

import tiny_families
import tiny_llama
from gpu_runner import demo
from gpu_runner.data.dataset import EncodedDataset, encode_dataset
from gpu_runner.data.encode import Encoder, pad_token
from gpu_runner.data.examples import Example
from gpu_runner.data.feed import collate
from gpu_runner.model.loss import loss_sum
from gpu_runner.train.evaluate import (
    Evaluator,
    example_losses,
    generate,
    has_short_answers,
    scattered,
)
from unfrozen.held_out import ExactMatch


def rows(name: str, count: int) -> EncodedDataset:
    encoder = Encoder(tiny_llama.tokenizer(), 60)
    return encode_dataset(
        name, [(str(n), row) for n, row in enumerate(tiny_llama.sums(count))], encoder
    )


def evaluator(batch_size: int) -> Evaluator:
    suites = {"task": rows("task", 9), "general/a": rows("a", 5), "general/b": rows("b", 7)}
    return Evaluator(suites, batch_size, 0, torch.device("cpu"), nullcontext)


def test_a_score_is_the_mean_over_tokens_whatever_the_batch() -> None:
    model = tiny_llama.model()
    scores = {score.suite: score for score in evaluator(4).run(model)}
    total, count = loss_sum(model, collate(rows("task", 9).examples, 0))
    assert scores["task"].loss == pytest.approx(float(total.detach()) / count, rel=1e-6)
    assert scores["task"].tokens == count
    again = {score.suite: score.loss for score in evaluator(1).run(model)}
    assert again == pytest.approx({name: score.loss for name, score in scores.items()}, rel=1e-6)


def test_rows_are_scored_one_by_one_in_their_order() -> None:
    model, examples = tiny_llama.model(), rows("task", 9).examples
    found = evaluator(4).run(model)[0]
    alone = [loss_sum(model, collate([example], 0)) for example in examples]
    expected = [float(total.detach()) / count for total, count in alone]
    assert list(found.row_losses) == pytest.approx(expected, rel=1e-4)
    assert found.exact is not None
    assert sum(found.row_right) == found.exact.right
    assert len(found.row_right) == len(examples)


def test_general_is_the_mean_over_the_tokens_of_all_skills() -> None:
    scores = {score.suite: score for score in evaluator(4).run(tiny_llama.model())}
    a, b = scores["general/a"], scores["general/b"]
    expected = (a.loss * a.tokens + b.loss * b.tokens) / (a.tokens + b.tokens)
    assert scores["general"].loss == pytest.approx(expected)


def test_evaluation_leaves_the_model_training_and_without_gradients() -> None:
    model = tiny_llama.model().train()
    evaluator(4).run(model)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_a_random_model_scores_near_a_uniform_guess() -> None:
    scores = evaluator(4).run(tiny_llama.model())
    assert scores[0].loss == pytest.approx(math.log(264), abs=0.3)


def test_a_continuation_is_greedy_and_bounded() -> None:
    model, tokenizer = tiny_llama.model(), tiny_llama.tokenizer()
    found = generate(model, tokenizer, "1+1=", 5)
    assert found == generate(model, tokenizer, "1+1=", 5)
    assert len(found.tokens) == 5
    assert not found.ended


def test_a_continuation_ends_with_an_end_token() -> None:
    model, tokenizer = tiny_llama.model(), tiny_llama.tokenizer()
    second = generate(model, tokenizer, "1+1=", 5).tokens[1]
    model.generation_config.eos_token_id = [second]
    found = generate(model, tokenizer, "1+1=", 5)
    assert found.ended
    assert found.tokens[-1] == second


def test_the_same_seed_samples_the_same_and_no_other_draw_changes() -> None:
    model, tokenizer = tiny_llama.model(), tiny_llama.tokenizer()
    torch.manual_seed(5)
    undisturbed = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (
        generate(model, tokenizer, "1+1=", 8, temperature=1.0, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert torch.equal(torch.rand(3), undisturbed)


def test_nothing_is_continued_from_a_first_token() -> None:
    model, tokenizer = tiny_llama.model(), tiny_llama.tokenizer()
    first = tokenizer.bos_token or tokenizer.eos_token
    assert generate(model, tokenizer, "", 5) == generate(model, tokenizer, first, 5)


@pytest.mark.slow
def test_of_a_long_text_the_end_is_read() -> None:
    model, tokenizer = tiny_llama.model(), tiny_llama.tokenizer()
    text = "1+1=" * 100_000  # all of it would take hours, and more memory than there is
    ids = tokenizer(text, add_special_tokens=False).input_ids[-12:]
    end = tokenizer.decode(ids)
    assert tokenizer(end, add_special_tokens=False).input_ids == ids
    assert generate(model, tokenizer, text, 5, 12) == generate(model, tokenizer, end, 5)


def test_a_continuation_stays_within_the_positions_of_the_model() -> None:
    model, tokenizer = tiny_families.model("gpt2", n_positions=8), tiny_llama.tokenizer()
    found = generate(model, tokenizer, "1+1=2 " * 9, 5)
    assert found == generate(model, tokenizer, "=2 ", 5)
    generate(model, tokenizer, "1+1=", 50)


def test_any_token_pads_where_a_tokenizer_has_none() -> None:
    tokenizer = tiny_llama.tokenizer()
    tokenizer.pad_token = None
    assert pad_token(tokenizer) == tokenizer.eos_token_id
    tokenizer.eos_token = None
    assert pad_token(tokenizer) == 0


def test_a_row_is_scored_alone_as_all_rows_together() -> None:
    found, model = rows("task", 6), tiny_llama.model()
    losses = example_losses(model, found.examples, 0, torch.device("cpu"))
    counts = [example.trainable_tokens for example in found.examples]
    (score,) = Evaluator({"task": found}, 6, 0, torch.device("cpu"), nullcontext).run(model)
    total = sum(loss * count for loss, count in zip(losses, counts, strict=True))
    assert total / sum(counts) == pytest.approx(score.loss, rel=1e-5)
    assert model.training


@pytest.mark.slow
def test_scoring_ends_when_its_time_is_over_and_what_is_scored_lies_all_over() -> None:
    encoder = Encoder(tiny_llama.tokenizer(), 60)
    examples = [encoder.encode(row) for row in tiny_llama.sums(12)]
    model, device = tiny_llama.model(), torch.device("cpu")
    shares: list[float] = []
    asked: list[float] = []

    def budget(token_seconds: float) -> float:
        asked.append(token_seconds)
        return 0.0 if len(asked) == 3 else 1e9

    found = example_losses(model, examples, 0, device, seconds=budget, progress=shares.append)
    scored = [index for index, loss in enumerate(found) if loss is not None]
    assert scored == sorted(scattered(12)[:4]) == [0, 2, 4, 8]
    assert shares == pytest.approx([1 / 12, 2 / 12, 3 / 12, 4 / 12])
    assert min(asked) > 0
    whole = example_losses(model, examples, 0, device)
    assert [whole[index] for index in scored] == [found[index] for index in scored]
    assert len(example_losses(model, examples[:1], 0, device, seconds=0.0)) == 1


def test_every_beginning_of_the_order_lies_all_over() -> None:
    assert scattered(1) == [0]
    assert scattered(8) == [0, 4, 2, 6, 1, 5, 3, 7]
    for count in (2, 5, 16, 63):
        assert sorted(scattered(count)) == list(range(count))


@pytest.mark.slow
def test_a_sample_ends_when_its_time_is_over() -> None:
    model, tokenizer = tiny_llama.model(), tiny_llama.tokenizer()
    whole = generate(model, tokenizer, "1+1=", 12)
    cut = generate(model, tokenizer, "1+1=", 12, seconds=0.0)
    assert whole.tokens[: len(cut.tokens)] == cut.tokens
    assert len(cut.tokens) < len(whole.tokens)


def shipped(skills: dict[str, Path]) -> tuple[LlamaForCausalLM, Evaluator]:
    """The demo model, and these of its held-out sets."""
    model = LlamaForCausalLM.from_pretrained(demo.model_dir(), dtype=torch.float32)
    encoder = Encoder(AutoTokenizer.from_pretrained(demo.model_dir()), 64)
    suites = {}
    for name, path in skills.items():
        lines = enumerate(path.read_text("utf-8").splitlines())
        suites[name] = encode_dataset(
            name, [(str(n), json.loads(row)) for n, row in lines], encoder
        )
    return model, Evaluator(suites, 16, 0, torch.device("cpu"), nullcontext)


@pytest.mark.slow
def test_answers_are_counted_as_greedy_decoding_wrote_them_when_the_demo_was_made() -> None:
    card = json.loads(demo.card().read_text("utf-8"))["scores"]
    general = demo.general_eval()
    skills = {"task": demo.task_eval(), "general/reversal": general["reversal"]}
    model, scorer = shipped(skills | {"general/capitals": general["capitals"]})
    found = {score.suite: score.exact for score in scorer.run(model)}
    for suite in ("task", "general/reversal", "general/capitals"):
        known = card[suite.removeprefix("general/")]
        right = round(known["exact"] * known["rows"])
        assert found[suite] == ExactMatch(right, 0, known["rows"] - right), suite
    assert found["general"] == found["general/reversal"] + found["general/capitals"]  # type: ignore[operator]


@pytest.mark.slow
def test_an_answer_that_does_not_stop_is_counted_apart() -> None:
    model, scorer = shipped({"task": demo.general_eval()["capitals"]})
    end = scorer.suites["task"].examples[0].ids[-1]
    with torch.no_grad():
        model.get_input_embeddings().weight[end] = 0  # the head is tied: its logit is 0 now
    (score,) = scorer.run(model)
    assert score.exact == ExactMatch(right=0, does_not_stop=64, wrong=0)


def test_long_and_cut_answers_and_texts_without_a_prompt_are_no_exact_match() -> None:
    encoder = Encoder(tiny_llama.tokenizer(), 60)

    def encoded(row: dict[str, object]) -> list[Example]:
        return list(encode_dataset("x", [("0", row)], encoder).examples)

    assert has_short_answers(encoded({"prompt": "1+1=", "completion": "2"}))
    assert not has_short_answers(encoded({"text": "1+1=2"}))
    assert not has_short_answers(encoded({"prompt": "1+1=", "completion": "2" * 40}))
    assert not has_short_answers(encoded({"prompt": "1" * 57, "completion": "2" * 9}))
