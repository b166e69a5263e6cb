"""Criteria: what a weight is worth to a network, so that the least worthy can go. Importing this loads no torch."""

from __future__ import annotations

CRITERIA: dict[str, str] = {
    "magnitude": "sinewy.criteria.simple:Magnitude",
    "random": "sinewy.criteria.simple:Random",
    "snip": "sinewy.criteria.snip:SNIP",
    "grasp": "sinewy.criteria.curvature:GraSP",
    "grasp-snipit": "sinewy.criteria.curvature:GraSPSnipIt",
    "crop": "sinewy.criteria.curvature:CroP",
    "cropit": "sinewy.criteria.curvature:CroPit",
    "synflow": "sinewy.criteria.synflow:SynFlow",
    "sipp": "sinewy.criteria.sipp:SiPP",
    "sipp-random": "sinewy.criteria.sipp:SiPPRandom",
}
"""Names of `sw.prune`. Before training they see random weights; after it ("SNIP-After") they are the same functions."""
