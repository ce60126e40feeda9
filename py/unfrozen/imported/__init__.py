"""Logs of other tools as runs: Trainer's state, event files, tables.

    reading = ForeignFiles()
    reading.begin("trainer_state.json")       for TensorBoard once for each event file of the run
    reading.feed(piece)                       … with its bytes, in pieces of any size
    found = reading.run()                     raises `ForeignFileError`
    for line in log.lines(found, …): …        the lines of an events.jsonl

Nothing in a file is executed, no length in it is trusted, and memory is bounded. A file that is
damaged, cut short or still being written is read as far as its checksums hold,
and the run reports it.

Reading order:

- `sanitize` — foreign names, texts and numbers, made fit for a log; a text file, up to a bound
- `protobuf` — the fields of a protobuf message
- `tools` — the tools: their names for our metrics, what their logs mean and lack
- `points` — numbers by name and step, and attempts
- `log` — a foreign run as the lines of an events.jsonl
- `trainer` — trainer_state.json
- `tensorboard` — event files
- `csv_table` — a table of metrics
- `foreign_files` — which of them a file is, from its first bytes
- `page` — the same for the page's own interpreter, piece by piece
"""
