"""Windows of attention: those of transformers' own configs, whether they are listed or left out."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from decoder_configs import decoders
from unfrozen.errors import ModelError
from unfrozen.model import SUPPORTED, ModelConfig
from unfrozen.model.attention_windows import EVERY, seen_share
from unfrozen.model.catalogue import CATALOGUE

UNLISTED = ("mistral", "mixtral", "ministral", "starcoder2", "phi3", "phimoe")


def expected(config: Any, model_type: str, layers: int) -> tuple[int, ...]:
    """As transformers builds its masks: by the list of kinds, or one mask for all layers."""
    window = getattr(config, "sliding_window", None) or 0
    kinds = getattr(config, "layer_types", None)
    if model_type in UNLISTED:
        kinds = ["sliding_attention"] * layers
    if not kinds:
        return ()
    width = {"sliding_attention": window}
    width["chunked_attention"] = (getattr(config, "attention_chunk_size", 0) + 1) // 2
    found = tuple(width.get(kind, 0) for kind in kinds)
    return found if any(found) else ()


@pytest.mark.slow
def test_windows_are_those_of_every_config_of_transformers_listed_or_not() -> None:
    met = set()
    for model_type, config, given in decoders():
        if model_type not in SUPPORTED:  # whose layers are estimated
            continue
        text = config if hasattr(config, "num_hidden_layers") else config.get_text_config(True)
        for left_out in ("nothing", "layer_types"):
            file = {key: value for key, value in given.items() if key != left_out}
            with suppress(ModelError):  # of types that the planner does not read
                a = ModelConfig.from_hf(file).architecture
                assert a.windows == expected(text, model_type, a.layers), model_type
                met |= {model_type} if a.windows else set()
    assert len(met) > 10
    assert met & EVERY.keys()


@pytest.mark.parametrize(
    ("name", "changed", "near"),
    [
        ("mistralai/Mistral-7B-v0.1", {}, 32),
        ("mistralai/Mistral-7B-v0.1", {"sliding_window": None}, 0),
        ("Qwen/Qwen3-8B", {"sliding_window": 4096}, 0),
        (
            "Qwen/Qwen3-8B",
            {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 30},
            6,
        ),
        ("google/gemma-2-9b", {}, 21),
        ("google/gemma-2-9b", {"sliding_window": "near"}, 0),
    ],
)
def test_as_many_layers_have_a_window_as_the_file_says(
    name: str, changed: dict[str, Any], near: int
) -> None:
    a = ModelConfig.from_hf({**CATALOGUE[name].config, **changed}).architecture
    assert sum(map(bool, a.windows)) == near


def test_a_part_of_a_pipeline_has_the_windows_of_its_layers() -> None:
    a = ModelConfig.from_hf(CATALOGUE["google/gemma-2-9b"].config).architecture
    assert a.only((1, 2, 4), embedding=False, head=False).windows == (0, 4096, 4096)


def test_the_share_that_is_seen_is_counted_token_by_token() -> None:
    windows, length = (4, 0, 100), 10
    seen = [min(position + 1, window or length) for window in windows for position in range(length)]
    whole = len(windows) * sum(range(1, length + 1))
    assert seen_share(windows, length) == pytest.approx(sum(seen) / whole)
    assert seen_share((), length) == seen_share((0, 16), length) == 1.0
