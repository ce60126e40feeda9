"""A chat as its model writes it, and which of its characters are trained.

Reading order:

- `messages` — a chat in any of the formats people use, as one format
- `template` — a chat through a tokenizer's chat template
- `answers` — where in the text the answers are, end tokens included
"""
