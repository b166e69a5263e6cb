"""Probes: what is measured of a trained model, as per-example outcomes. No torch at import."""

PROBES: dict[str, str] = {
    "corruption": "sinewy.probes.corruption:CorruptionProbe",
    "attack": "sinewy.probes.attack:AttackProbe",
    "weight-noise": "sinewy.probes.weight_noise:WeightNoiseProbe",
    "ood": "sinewy.probes.ood:OODProbe",
    "calibration": "sinewy.probes.calibration:CalibrationProbe",
    "classes": "sinewy.probes.classes:ClassesProbe",
    "lipschitz": "sinewy.probes.lipschitz:LipschitzProbe",
    "function": "sinewy.probes.function:FunctionProbe",
    "features": "sinewy.probes.features:FeaturesProbe",
    "attention": "sinewy.probes.attention:AttentionProbe",
    "spectrum": "sinewy.probes.spectrum:SpectrumProbe",
    "kernels": "sinewy.probes.kernels:KernelsProbe",
}
