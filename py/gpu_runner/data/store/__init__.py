"""Encoded rows on disk: made once by several processes, found again by what they are made of.

Reading order:

- `arrays` — encoded rows that lie on disk and are read when they are asked for
- `encoding` — the rows of a large file, encoded into arrays, or found there
- `selected` — some of them as a set of a run
"""
