"""Encoded rows on disk: made once by several processes, found again by what they are made of.

Reading order:

- `arrays` — encoded rows that lie on disk and are read when they are asked for
- `sequences` — some of them, or those of several files, as sequences
- `cache` — where they are kept, and under which name
- `encoding` — the rows of a large source, encoded into arrays, or found there
- `mixing` — several sets as one, by their weights; earlier rows among them
- `selected` — some of the rows as a set of a run
"""
