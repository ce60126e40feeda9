"""The pure core of Unfrozen: memory, schedules, optimizers and names; standard library only."""
