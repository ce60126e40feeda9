"""What this machine really does, in place of what the planner assumes: `unfrozen calibrate`.

Reading order:

- `measuring` — products, memory and launches of a device, now
- `steps` — … and what steps of earlier runs took on it
- `all` — … together
"""
