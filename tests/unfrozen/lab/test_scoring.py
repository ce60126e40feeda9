"""One forward pass tells which rows greedy decoding would answer exactly."""

import numpy as np
import pytest

from lab_demo import loaded
from unfrozen.held_out import ExactMatch
from unfrozen.lab.answers import NOTHING, blend, generate, score
from unfrozen.lab.llama import Weights

ROWS = 12


def disturbed(seed: int, share: float) -> Weights:
    """Weights that have forgotten some of what they knew."""
    noise = np.random.default_rng(seed)
    return {
        name: array
        + np.float32(share) * noise.standard_normal(array.shape, np.float32) * array.std()
        for name, array in loaded().start.items()
    }


def generated(weights: Weights, suite: str) -> ExactMatch:
    """Rows by the text that greedy decoding writes."""
    demo, counts = loaded(), [0, 0, 0]
    for row in demo.suites[suite][:ROWS]:
        ids = [token for token, learned in zip(row.ids, row.trained, strict=True) if learned]
        wanted = demo.tokenizer.decode(ids[:-1])
        answer = generate(demo.model, weights, demo.tokenizer, row.prompt, len(ids) + 1)
        begins = answer.text.startswith(wanted)
        counts[2 if not begins else 0 if answer.ended and answer.text == wanted else 1] += 1
    return ExactMatch(*counts)


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["general/addition", "general/capitals", "task"])
def test_rows_are_counted_as_what_greedy_decoding_writes(suite: str) -> None:
    weights = disturbed(3, 0.16)
    found = sum(score(loaded().model, weights, loaded().suites[suite][:ROWS]), NOTHING)
    assert found.exact == generated(weights, suite)
    assert sum(found.exact) == ROWS


@pytest.mark.slow
def test_an_answer_that_does_not_stop_is_counted_apart() -> None:
    demo = loaded()
    weights = dict(demo.start)
    end = demo.suites["task"][0].ids[-1]
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"].copy()
    weights["model.embed_tokens.weight"][end] = 0  # the head is tied: its logit is 0 now
    rows = demo.suites["general/capitals"][:ROWS]
    found = sum(score(demo.model, weights, rows), NOTHING)
    assert found.exact == ExactMatch(right=0, does_not_stop=ROWS, wrong=0)


def test_a_blend_has_its_ends_and_its_middle() -> None:
    start, end = loaded().start, disturbed(1, 0.5)
    for name, array in blend(start, end, 0.0).items():
        assert np.array_equal(array, start[name])
    for name, array in blend(start, end, 0.5).items():
        np.testing.assert_allclose(array, (start[name] + end[name]) / 2, rtol=1e-5, atol=1e-6)
