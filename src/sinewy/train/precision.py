"""Number formats: where lower precision helps, and the scaling that float16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from sinewy.errors import InputError


class Precision:
    """The forward pass's number format, and the gradient scaler if it needs one.

    `name` is "fp32", "bf16", "fp16" or "auto": bf16 (or fp16 where the GPU lacks it) on a GPU, fp32 on a CPU, where
    lower precision is slower. Raises InputError for fp16 on a CPU.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name == "auto":
            name = "fp32" if device.type != "cuda" else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        if name == "fp16" and device.type == "cpu":
            raise InputError("precision 'fp16' needs a GPU; use 'fp32' (faster on a CPU) or 'bf16'.")
        self.name, self._device = name, device
        self.scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context for forward pass and loss."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16 if self.name == "bf16" else torch.float16)

    def state_dict(self) -> dict[str, Any]:
        """Return the scaler's state, or nothing."""
        return self.scaler.state_dict() if self.scaler else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        if self.scaler:
            self.scaler.load_state_dict(state)
