"""One run from its settings to its last line.

`fine_tune` reads from top to bottom: settings, plan, setup, training loop, finish.

Reading order:

- `directory` — its directory: made, and claimed by one process
- `recorder` — what a run logs and shows while it trains; its heartbeat
- `terminal` — what the terminal shows: one live line, then a summary
- `payloads` — the events at its launch: what runs, on what, and what is trained
- `interval_chooser` — how often it is evaluated and saved, from what that has taken
- `observer` — between steps: evaluate, save, restore the best
- `model_card` — the card of its model, from its log
- `checkpointer` — checkpoints, of which the best and the last stay, and the trained model
- `finish` — how a run ended: log, terminal, exit code; why memory ran out
- `control` — between steps: commands of the page and signals, all processes alike
- `run_models` — its models, loaded and asked: θ₀, a checkpoint's, the trained one
- `export_model` — its model as one directory, from a sharded checkpoint too, or as a GGUF file
- `blend` — its model blended with θ₀, scored and written
- `fine_tune` — the whole way of a new run
- `resume` — the way of a run that is resumed
"""
