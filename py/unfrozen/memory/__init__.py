"""The memory model: what a training step holds, by component and by instant.

Reading order:

1. `classic` — 16 bytes a parameter, s·b·d·L·k, minimum GPUs
"""
