"""Fuzz without a stopwatch: a busy machine must not fail a correct test."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
