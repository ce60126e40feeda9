"""What a reader types, and what they expected.

Reading order:

- `typed` — a number as a reader types it, or a refusal in words
- `guesses` — what a reader expects of a cell, beside what it shows
"""
