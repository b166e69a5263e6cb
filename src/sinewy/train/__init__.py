"""Training: one readable loop, exact resume, any sparsifier."""

from sinewy.train.loop import Interrupted, TrainedModel, fit

__all__ = ["Interrupted", "TrainedModel", "fit"]
