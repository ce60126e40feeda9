"""From config.json to the exact tensors of a model.

Reading order:

1. `fields` — taking checked values from a config.json
2. `blueprint` — the tensors of a model, by kind of layer
3. `architecture` — sizes and choices of one model; mixers, which stand in place of attention
4. `modules` — the tensors of a linear layer, a norm, attention, a feed-forward part, experts
5. `llama` — Llama, Mistral, Qwen, Gemma, Phi-3, OLMo, Mixtral and their like
6. `gpt2` — GPT-2
7. `gpt_neox` — GPT-NeoX and Pythia
8. `bert` — BERT with a classification or a masked-language-model head
9. `megatron` — GPT as Megatron-Core builds it
10. `families` — seventy further types, by what they have in common
11. `vision_encoders` — vision encoders
12. `vision_language` — vision-language models: encoder, projector, language model
13. `attention_windows` — how far back each layer attends
14. `config` — `ModelConfig`: reads a config.json, counts and lists the tensors
15. `catalogue` — published models by name, from `published.json`
"""

from unfrozen.errors import ModelError
from unfrozen.model.architecture import Architecture, Tensor
from unfrozen.model.config import SUPPORTED, ModelConfig

__all__ = ["SUPPORTED", "Architecture", "ModelConfig", "ModelError", "Tensor"]
