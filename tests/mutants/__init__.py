"""Bugs planted on purpose: every numeric literal of the model, changed, has a test that fails."""
