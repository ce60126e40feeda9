"""Every type of decoder that transformers has, by its config, for what must hold of them all."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def decoders() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Type, config by default, and the file of that; a few types accept no default of their own."""
    for model_type, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        with suppress(StrictDataclassError):
            config = AutoConfig.for_model(model_type)
            yield model_type, config, config.to_dict() | {"architectures": [name]}
