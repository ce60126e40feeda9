"""Chats as text, and which of its characters are trained.

Reading order:

- `messages` — chats in the formats of public data sets, converted to OpenAI's
- `template` — a chat rendered by a tokenizer's chat template
- `answers` — where the answers are in that text, end tokens included
"""
