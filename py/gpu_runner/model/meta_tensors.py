"""The tensors of a model as transformers builds it, on PyTorch's meta device, for a plan.

The model is built in a child process with limits (`system.foreign`), of the classes of transformers
alone: a config.json that names code of its own runs none. This module imports neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from gpu_runner.system import foreign
from unfrozen.model import Tensor
from unfrozen.model.traced import Model, NotTraced

_NEEDS_TIMM: Final = frozenset(["fast_vlm", "gemma3n", "perception_lm"])
_UNBUILT: Final = frozenset(["evolla", "gemma4_assistant", "musicgen", "musicgen_melody"])
"""Types that transformers 5.24 does not build of its own defaults."""
_TYPE: Final = re.compile(r'"([\w-]+)", "\w+Config"')


def traceable(model_types: Iterable[str]) -> set[str]:
    """Return those of types that are built here; none where PyTorch or transformers is missing."""
    lacking = _UNBUILT if find_spec("timm") else _UNBUILT | _NEEDS_TIMM
    known = set() if _missing() else _known()
    return {kind for kind in model_types if kind in known and kind not in lacking}


def build(config: Mapping[str, Any]) -> Model:
    """Return the model of a config.json. Raises `NotTraced`."""
    kind = config.get("model_type")
    if missing := _missing():
        raise NotTraced(f"{missing} is not installed here")
    if kind not in _known():
        raise NotTraced(f"the transformers installed here has no {kind}")
    try:
        return foreign.call(partial(_build, dict(config)))
    except Exception as error:  # whatever the class of a model raises
        first = (str(error).strip().splitlines() or [""])[0][:200].rstrip(".: ")
        raise NotTraced(first or type(error).__name__) from None


def _missing() -> str:
    return next((name for name in ("torch", "transformers") if find_spec(name) is None), "")


def _known() -> set[str]:
    """Return the types of the installed transformers, read from its source: to import it takes
    seconds.
    """
    origin = getattr(find_spec("transformers"), "origin", None) or ""
    sources = (path.read_text("utf-8") for path in Path(origin).parent.glob("models/auto/*.py"))
    return {kind for source in sources for kind in _TYPE.findall(source)}


def _build(config: dict[str, Any]) -> Model:
    """Build a model, in the process of this call."""
    import torch
    import transformers
    from transformers.models.auto import modeling_auto as auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from gpu_runner.model.load import sees

    made = CONFIG_MAPPING[config["model_type"]].from_dict(config)
    made._attn_implementation = "eager"  # others are asked for packages
    mappings = [
        auto.MODEL_FOR_CAUSAL_LM_MAPPING,
        auto.MODEL_FOR_MASKED_LM_MAPPING,
        auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        auto.MODEL_MAPPING,
    ]
    if sees(made):
        mappings.insert(0, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING)
    model_class: Any = next(one[type(made)] for one in mappings if type(made) in one)
    with torch.device("meta"):
        model = model_class(made)
    tensors = [Tensor(name, (*one.shape,)) for name, one in model.named_parameters()]
    return transformers.__version__, made.to_dict(), tensors
