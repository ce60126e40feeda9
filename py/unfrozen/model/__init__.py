"""From config.json to the exact tensors of a model.

Reading order:

1. `fields` — taking checked values from a config.json
2. `blueprint` — the tensors of a model, by kind of layer
3. `parts` — tensors that families share
4. `mixers` — what stands in place of attention
5. `vision` — what sees pictures
6. `architecture` — sizes and choices of one model
7. `llama` — Llama, Mistral, Qwen, Gemma, Phi-3, OLMo, Mixtral and their like
8. `gpt2` — GPT-2
9. `gpt_neox` — GPT-NeoX and Pythia
10. `bert` — BERT with a head of classes, or of words
11. `megatron` — GPT as Megatron-Core builds it
12. `families/` — seventy further types, by what they have in common
13. `towers/` — vision-language models
14. `defaults` — what transformers takes for keys that a file leaves out
15. `config` — `ModelConfig`: the count and the list of tensors
16. `published/` — tables of published models
17. `catalogue` — … by name
"""

from unfrozen.errors import ModelError
from unfrozen.model.architecture import Architecture, Tensor
from unfrozen.model.config import SUPPORTED, ModelConfig

__all__ = ["SUPPORTED", "Architecture", "ModelConfig", "ModelError", "Tensor"]
