"""From config.json to the exact tensors of a model.

Reading order:

1. `fields` — taking checked values from a config.json
2. `blueprint` — the tensors of a model, by kind of layer
3. `mixers` — what stands in place of attention, and what sees pictures
4. `architecture` — sizes and choices of one model
5. `parts` — tensors that families share
6. `llama` — Llama, Mistral, Qwen, Gemma, Phi-3, OLMo, Mixtral and their like
7. `gpt2` — GPT-2
8. `gpt_neox` — GPT-NeoX and Pythia
9. `bert` — BERT with a head of classes, or of words
10. `megatron` — GPT as Megatron-Core builds it
11. `families` — seventy further types, by what they have in common
12. `towers` — vision-language models
13. `windows` — how far back each layer attends
14. `styles` — which module reads which type
15. `shared_out` — stacks of experts on several cards, a head of its own
16. `config` — `ModelConfig`: the count and the list of tensors
17. `catalogue` — published models by name, from `published.json`
"""

from unfrozen.errors import ModelError
from unfrozen.model.architecture import Architecture, Tensor
from unfrozen.model.config import SUPPORTED, ModelConfig

__all__ = ["SUPPORTED", "Architecture", "ModelConfig", "ModelError", "Tensor"]
