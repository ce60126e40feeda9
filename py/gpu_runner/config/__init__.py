"""The settings of a run.

Reading order:

- `source` — where data comes from, as one text
- `bounds` — what each setting may be, and which exclude each other
- `schema` — every setting of a run in one record
- `load` — settings from a TOML file and from --set, the rest filled in, all of them checked
"""
