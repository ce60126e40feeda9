"""Logs of other tools as runs: Trainer's state and tables.

    found = read_foreign("trainer_state.json", data)      raises `ForeignFileError`
    for line in log.lines(found, …): …                    the lines of an events.jsonl

Nothing in a file is executed, no length in it is trusted, and memory is bounded. TensorBoard's
event files are read by `gpu_runner.log.event_files`, with TensorBoard's own reader.

Reading order:

- `sanitize` — foreign names, texts and numbers, made fit for a log
- `tools` — the tools: their names for our metrics, what their logs mean and lack
- `points` — numbers by name and step, and attempts
- `log` — a foreign run as the lines of an events.jsonl
- `trainer` — trainer_state.json
- `csv_table` — a table of metrics
- `foreign_files` — which of the two a file is, from its first bytes
- `page` — the same for the page's own interpreter
"""
