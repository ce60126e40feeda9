"""What a run leaves on disk, whole or absent.

Reading order:

- `directory` — directories that are whole or absent
- `together` — one that all processes write, each its own shards
- `origins` — what a run is made of, in fingerprints; what has changed
- `training_state` — what they hold beside the model
- `history` — what a run remembers of itself, in every checkpoint
"""
