"""What a run leaves on disk, whole or absent.

Reading order:

- `directory` — directories that are whole or absent
- `sharded_directory` — one that all processes write, each its own shards
- `origins` — fingerprints of a run's model, data and settings, and what has changed
- `training_state` — optimizer states, random states and history beside the model
"""
