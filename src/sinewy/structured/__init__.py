"""Structured sparsity: channels that leave a network together, and their physical removal. Loads no torch."""

from __future__ import annotations

STRUCTURED: dict[str, str] = {
    "ft": "sinewy.structured.filters:FilterThresholding",
    "ft-inputs": "sinewy.structured.filters:InputFilterThresholding",
    "magnitude-structured": "sinewy.structured.filters:ChannelMagnitude",
    "random-structured": "sinewy.structured.filters:RandomChannels",
    "snip-structured": "sinewy.structured.gates:GateGradient",
    "crop-structured": "sinewy.structured.gates:GateGradientFlow",
    "cropit-structured": "sinewy.structured.gates:IteratedGateGradientFlow",
    "pfp": "sinewy.structured.pfp:ProvableFilterPruning",
}
"""Names of `sw.prune` that remove whole channels."""
