"""Published models, a table a kind.

Reading order:

1. `defaults` — what transformers takes for keys that a config.json leaves out
2. `written` — how the tables write a config.json
3. `dense`, `further`, `sparse`, `other` — the tables
"""

from typing import Final

from unfrozen.model.published import dense, further, other, sparse

ROWS: Final = (*dense.ROWS, *further.ROWS, *sparse.ROWS, *other.ROWS)
"""Hub id, config.json and parameters of every published model."""
