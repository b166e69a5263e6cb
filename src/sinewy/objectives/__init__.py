"""Training objectives: what a batch is trained for. This file lists them; it imports no torch."""

OBJECTIVES: dict[str, str] = {
    "cross-entropy": "sinewy.objectives.plain:CrossEntropy",
    "adversarial": "sinewy.objectives.robust:Adversarial",
    "noise": "sinewy.objectives.robust:Noise",
    "outliers": "sinewy.objectives.robust:Outliers",
}
