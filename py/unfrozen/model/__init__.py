"""From config.json to the exact tensors of a model.

Reading order:

1. `fields` — taking checked values from a config.json
2. `architecture` — sizes and choices of a decoder-only model
3. `llama` — Llama, Mistral, Qwen, Gemma, Phi-3, OLMo, Mixtral and their like
4. `gpt2` — GPT-2
5. `gpt_neox` — GPT-NeoX and Pythia
6. `bert` — BERT with a classification head
7. `megatron` — GPT as Megatron-Core builds it
8. `styles` — which module reads which type
9. `shared_out` — stacks of experts on several cards, a head of its own
10. `config` — `ModelConfig`: the count and the list of tensors
11. `catalogue` — published models and their real sizes
"""

from unfrozen.errors import ModelError
from unfrozen.model.architecture import Architecture, Tensor
from unfrozen.model.config import SUPPORTED, ModelConfig

__all__ = ["SUPPORTED", "Architecture", "ModelConfig", "ModelError", "Tensor"]
