"""What a run is asked for.

Reading order:

- `source` — where rows come from, as one text
- `places` — paths, sources and days that it is given
- `tables` — choices by part of the model: patterns and numbers
- `tokens` — which texts can be a token of their own
- `bounds` — what each choice may be, and which exclude each other
- `schema` — every choice of a run in one record
- `resolve` — … with what was left out filled in, and every bound checked
- `file` — the same choices from a TOML file and from --set
- `options` — … as options of `train` and `plan`
"""
