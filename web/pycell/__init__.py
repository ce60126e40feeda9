"""Runs one article cell: the same files in CPython at build time and in Pyodide in the page.

Reading order: `output` (what a cell prints) → `missing` (the refusal of a module that is not
here) → `trace` (how its errors read) → `cell` (run one) → `window` (the `js` module
a cell publishes through, `help` and `exit` without a terminal) → `changed`
(what cells have replaced) → `wheels` (packages, checked and unpacked) → `imports`
(which of them a cell will import) → `packages` (fetched for it) → `micropip_layer` (what micropip
finds here) → `browser` (the session in the page) → `lab` (the page's own fine-tune). Standard
library and `unfrozen` only; numpy in `lab`.
"""
