"""Vision-language models: a tower that sees, what joins it to a language model, and that model.

Reading order:

1. `vit` — towers for pictures of one size
2. `grid` — towers for pictures of any size
3. `joined` — what joins them to a language model
"""

from unfrozen.model.towers.joined import WRAPPERS

__all__ = ["WRAPPERS"]
