"""A chat as its model speaks it, and which of its characters the model learns to write.

Reading order:

- `fields` — what a row may hold, refused with the key and the reason
- `messages` — a chat in any of the forms people have, as one form
- `forms` — the forms in which templates want it
- `kept` — what a template has left out
- `template` — a chat through a tokenizer's chat template
- `ends` — how a template ends answers
- `answers` — where in the text the answers stand, their ends included
"""
