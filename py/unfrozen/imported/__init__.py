"""Files of other tools as runs of ours: Trainer's state, TensorBoard's events, W&B's offline runs.

    reading = ForeignFiles()
    reading.begin("trainer_state.json")       for TensorBoard once for each event file of the run
    reading.feed(piece)                       … with its bytes, in pieces of any size
    found = reading.run()                     raises `ForeignFileError`
    for line in log.lines(found, …): …        the lines of an events.jsonl

Nothing of a file is executed, no length in it is believed, and what is held of it is bounded. One
that is damaged, cut short or still being written is read as far as its checksums go; the run says
so.

Reading order:

- `plain` — foreign names, texts and numbers as they may be shown
- `wire` — the fields of a protobuf message
- `tfrecord` — records behind checksums, as TensorBoard frames them
- `points` — numbers by name and step, and attempts
- `names` — what other tools call what we have a name for
- `told` — what a log of another tool means, and what it lacks
- `log` — … all of that as the lines of an events.jsonl
- `trainer` — trainer_state.json
- `tensorboard` — event files
- `wandb` — run-….wandb
- `reading` — which of them it is, from its first bytes
- `page` — the same for the page's own interpreter, piece by piece
"""
