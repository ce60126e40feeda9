"""events.jsonl: written, read while it grows, listed, exported, imported.

Reading order:

- `tail` — read a log while it grows, by byte offset
- `writer` — write it: one object a line, one write a line
- `commands` — commands of the page to a run: one small file, replaced whole
- `questions` — questions to a model, and to a run that trains
- `runs` — which runs there are, and the status of each
- `check_run` — how a run stands, what looks wrong, which checkpoint to take
- `report` — what a run measured, in one line for the record
- `export_metrics` — a run's metrics for other tools
- `event_files` — TensorBoard's event files, by TensorBoard's own reader
- `import_runs` — runs of other tools, as logs of ours
- `sample_logs` — what lm-evaluation-harness logged of each example, model against model
"""
