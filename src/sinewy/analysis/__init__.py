"""Statistics on recorded outcomes: pure functions, no torch, recomputable without a model or a GPU."""

from sinewy.analysis.bootstrap import example_means, paired_bootstrap, percentile_interval, seed_means
from sinewy.analysis.certificate import Certificate, certify
from sinewy.analysis.curves import CurvePoint, paired_curves
from sinewy.analysis.estimate import Estimate
from sinewy.analysis.excess import ExcessCurve, excess_curve, excess_error, line_of_points
from sinewy.analysis.gain_order import KindGain, Wins, frequency_trend, gains_by_kind, wins
from sinewy.analysis.intervals import Spreads, mean_interval, paired_interval, spreads
from sinewy.analysis.multiplicity import holm
from sinewy.analysis.panel import Panel
from sinewy.analysis.potential import Potential, first_break, potential, prune_potential
from sinewy.analysis.potential_table import Overparameterisation, commensurate, margin_sweep, overparameterisation
from sinewy.analysis.proportions import clopper_pearson, discordance, mcnemar
from sinewy.analysis.study_certificate import certify_methods
from sinewy.analysis.training_certificate import TrainingCertificate, certify_training

__all__ = [
    "Certificate",
    "CurvePoint",
    "Estimate",
    "ExcessCurve",
    "KindGain",
    "Overparameterisation",
    "Panel",
    "Potential",
    "Spreads",
    "TrainingCertificate",
    "Wins",
    "certify",
    "certify_methods",
    "certify_training",
    "clopper_pearson",
    "commensurate",
    "discordance",
    "example_means",
    "excess_curve",
    "excess_error",
    "first_break",
    "frequency_trend",
    "gains_by_kind",
    "holm",
    "line_of_points",
    "margin_sweep",
    "mcnemar",
    "mean_interval",
    "overparameterisation",
    "paired_bootstrap",
    "paired_curves",
    "paired_interval",
    "percentile_interval",
    "potential",
    "prune_potential",
    "seed_means",
    "spreads",
    "wins",
]
