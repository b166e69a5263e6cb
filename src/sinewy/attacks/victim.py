"""The attacked model: lent for the time of the attack, asked for logits and for gradients with respect to images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from sinewy.errors import InputError
from sinewy.seeds import derive

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(logits, labels, targets) -> one number per image, which the attack makes large."""


class Victim:
    """A model that answers images in [0, 1]: `mean` and `std` (per channel, or None) normalise them first.

    A model of another floating-point type gets them in its own; logits come back in that of the images.
    """

    def __init__(self, model: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
        self._model, self._mean, self._std = model, mean, std
        self._type = next((weight.dtype for weight in model.parameters() if weight.is_floating_point()), None)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes), differentiable. Raises InputError if the model returns anything else."""
        logits = self._model(self._normalised(images).to(self._type or images.dtype))
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images) or logits.shape[1] < 2:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(f"the model returns {got} for {len(images)} images; logits (N, classes) are needed.")
        return logits.to(images.dtype)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits without a graph."""
        with torch.no_grad():
            return self(images)

    def gradient(
        self, images: Tensor, loss: Loss, labels: Tensor, targets: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (N, classes), the loss (N,), and its gradient with respect to each image.

        The images of a batch do not influence each other in evaluation mode, so the gradient of the sum is every
        image's own. Raises InputError if there is no gradient, or if it is not finite.
        """
        with torch.enable_grad():
            inputs = images.detach().requires_grad_()
            logits = self(inputs)
            values = loss(logits, labels, targets)
            if not values.requires_grad:
                raise InputError("the logits do not depend on the images by differentiable steps; nothing to climb.")
            (gradient,) = torch.autograd.grad(values.sum(), inputs)
        if not gradient.sum().isfinite():
            bad = int((~gradient.flatten(1).isfinite().all(1)).sum())
            raise InputError(f"the gradient is NaN or infinite for {bad} of {len(images)} images of a batch.")
        return logits.detach(), values.detach(), gradient

    def _normalised(self, images: Tensor) -> Tensor:
        if self._mean is None or self._std is None:
            return images
        return (images - _per_channel(self._mean, images)) / _per_channel(self._std, images)


@contextmanager
def lent(model: nn.Module, device: torch.device, seed: int) -> Iterator[nn.Module]:
    """Yield the model on `device` in evaluation mode, its parameters without gradients; then all is as it was.

    A model that lives elsewhere is copied. The global random numbers, which a model may use in evaluation mode as well,
    are seeded by `seed` for the time and restored. Gradients work inside even if the caller has switched them off.
    """
    here = model if device_of(model, device) == device else copy.deepcopy(model).to(device)
    training = [(module, module.training) for module in here.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in here.parameters()]
    with torch.inference_mode(mode=False), own_random_numbers():
        try:
            here.eval()
            for parameter, _ in wanted:
                parameter.requires_grad_(False)
            _seed(derive("attacked model", seed))
            yield here
        finally:
            for parameter, requires_grad in wanted:
                parameter.requires_grad_(requires_grad)
            for module, mode in training:
                module.training = mode


def own_random_numbers() -> AbstractContextManager[None]:
    """Return a context after which the global random numbers go on as if nothing had been drawn in it."""
    return torch.random.fork_rng(devices=_cuda_devices())


def device_of(model: nn.Module, default: torch.device) -> torch.device:
    """Return where the model's first parameter or buffer lives; `default` if it has none."""
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else default


def _cuda_devices() -> range:
    return range(torch.cuda.device_count() if _cuda_is_in_use() else 0)


def _cuda_is_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _seed(seed: int) -> None:
    # Not torch.manual_seed, which would also reach accelerators that are not forked.
    torch.default_generator.manual_seed(seed)
    if _cuda_is_in_use():
        torch.cuda.manual_seed_all(seed)


def _per_channel(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1)
