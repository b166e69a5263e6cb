"""Probes: what is measured of a trained model, as per-example outcomes. No torch at import."""

PROBES: dict[str, str] = {
    "corruption": "sinewy.probes.corruption:CorruptionProbe",
}
