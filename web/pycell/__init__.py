"""Runs one article cell: the same files in CPython at build time and in Pyodide in the page.

Reading order: `output` (what a cell prints) → `trace` (how its errors read) → `cell` (run one)
→ `window` (the `js` module a cell publishes through) → `wheels` (packages, checked and unpacked)
→ `browser` (the session in the page).
Standard library and `unfrozen` only.
"""
