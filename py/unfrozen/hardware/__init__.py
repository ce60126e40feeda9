"""Cards: what they hold, how fast they are, and how they talk to each other.

Reading order:

- `gpus` — what a card holds, and who says so
- `boards` — what it draws, how fast it computes and talks
- `reached` — what it was measured to reach of that
"""
