"""Detectors of anomalous inputs: fitted on training data, larger scores are more anomalous. No torch at import."""

DETECTORS: dict[str, str] = {
    "msp": "sinewy.detectors.logits:MSP",
    "max-logit": "sinewy.detectors.logits:MaxLogit",
    "energy": "sinewy.detectors.logits:Energy",
    "entropy": "sinewy.detectors.logits:Entropy",
    "gradnorm": "sinewy.detectors.gradnorm:GradNorm",
    "gradnorm-all": "sinewy.detectors.gradnorm:GradNormAll",
    "sensnorm": "sinewy.detectors.sensnorm:SensNorm",
    "odin": "sinewy.detectors.external:ODIN",
    "mahalanobis": "sinewy.detectors.external:Mahalanobis",
    "knn": "sinewy.detectors.external:KNN",
    "react": "sinewy.detectors.external:ReAct",
    "ash": "sinewy.detectors.external:ASH",
    "vim": "sinewy.detectors.external:ViM",
}
"""Every detector; those of `external` need pytorch-ood."""
