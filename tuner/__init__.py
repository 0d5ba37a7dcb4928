"""Tune, evaluate, share and hand over models from a job spec."""

__version__ = "0.1.0"
