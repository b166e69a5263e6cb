"""The optimizer a recipe asks for, and the learning rate of each step."""

from __future__ import annotations

import math

import torch
from torch import nn

from sinewy.recipe import TrainOptions


def make_optimizer(model: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """Return the optimizer over all trainable parameters, in its fused form (same arithmetic, one pass over memory)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if options.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=options.lr,
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
            fused=True,
        )
    kind = torch.optim.Adam if options.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=options.lr, weight_decay=options.weight_decay, fused=True)


def learning_rate(options: TrainOptions, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of optimizer step `step` (the first is 0); a pure function needs no saved state."""
    total, warmup = options.epochs * steps_per_epoch, options.warmup * steps_per_epoch
    if step < warmup:
        return options.lr * (step + 1) / (math.ceil(warmup) + 1)
    progress = (step - warmup) / max(total - warmup, 1)
    if options.schedule == "cosine":
        return options.lr * (1 + math.cos(math.pi * progress)) / 2
    if options.schedule == "step":
        return options.lr * options.gamma ** sum(step / total >= milestone for milestone in options.milestones)
    return options.lr
