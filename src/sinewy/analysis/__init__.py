"""Statistics on recorded outcomes: pure functions, numpy only, recomputable without a model or a GPU."""

from sinewy.analysis.bootstrap import example_means, paired_bootstrap, percentile_interval, seed_means
from sinewy.analysis.estimate import Estimate
from sinewy.analysis.panel import Panel

__all__ = ["Estimate", "Panel", "example_means", "paired_bootstrap", "percentile_interval", "seed_means"]
