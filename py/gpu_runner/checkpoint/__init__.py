"""What a run leaves on disk, whole or absent.

Reading order:

- `directory` — directories that are whole or absent
- `training_state` — what they hold beside the model
- `history` — what a run remembers of itself, in every checkpoint
"""
