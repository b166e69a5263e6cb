"""Auditing: probes measure any trained model and write per-example outcomes. No torch at import."""

PROBES: dict[str, str] = {
    "corruption": "sinewy.audit.corruption:CorruptionProbe",
}
