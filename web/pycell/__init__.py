"""Runs one cell of the article: the same files in CPython at build time and in Pyodide in the page.

Reading order: `errors` (tracebacks of cells, and failed imports) → `cell` (runs one, with capped
output) → `window` (the `js` module that a cell publishes through, `help` and `exit` without a
terminal, refusals of the network) → `packages` (found in a cell's source, fetched, unpacked) →
`browser` (the session in the page) → `lab` (the fine-tune in the page). Standard library and
`unfrozen` only; `lab` also uses numpy.
"""
