"""From config.json to the exact tensors of a model.

Reading order:

1. `fields` — taking checked values from a config.json
2. `blueprint` — the tensors of a model, by kind of layer
3. `architecture` — sizes and choices of one model; mixers, which stand in place of attention
4. `modules` — the tensors of a linear layer, a norm, attention, a feed-forward part, experts
5. `families` — eighty types, by what they have in common
6. `attention_windows` — how far back each layer attends
7. `derived` — the tensors of families, as programs that were derived from transformers
8. `traced` — the tensors of other families, where something builds their models
9. `structure` — which of them are layers, what of each ranks share, and what kind a layer is
10. `unknown_keys` — keys of a config.json that nobody reads, and that may change tensors
11. `vision_language` — vision-language models: encoder, projector, language model
12. `tasks` — models that predict no next token: what they are, and their heads
13. `config` — `ModelConfig`: reads a config.json, counts and lists the tensors
14. `catalogue` — published models by name, from `published.json`
15. `names` — copies and fine-tunes of them, sizes alone, and answers of the hub
"""

from unfrozen.errors import ModelError
from unfrozen.model.architecture import Architecture, Tensor
from unfrozen.model.config import SUPPORTED, ModelConfig

__all__ = ["SUPPORTED", "Architecture", "ModelConfig", "ModelError", "Tensor"]
