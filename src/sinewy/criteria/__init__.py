"""Criteria: what a weight is worth to a network, so that the least worthy can go. Importing this loads no torch."""

from __future__ import annotations

CRITERIA: dict[str, str] = {
    "magnitude": "sinewy.criteria.simple:Magnitude",
    "random": "sinewy.criteria.simple:Random",
}
