"""Which region of an image a network looks at, by Grad-CAM, and how large that region is.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017. Wu et
al. 2025 (appendix A.8, Figure 19) find the regions of sparse networks smaller, by eye; `region_size` puts a number to
it.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sinewy.errors import InputError, unknown_name
from sinewy.layers import unwrap
from sinewy.metrics.answering import answering, check_images, logits

MEASURES = ("above", "mass")


def grad_cam(
    model: nn.Module,
    images: Tensor,
    layer: str,
    *,
    classes: Tensor | None = None,
    resize: bool = True,
    batch: int = 64,
) -> Tensor:
    """Return the Grad-CAM map of each image, at least 0: (N, H, W), or in the size of the layer if not `resize`.

    The map is relu(sum_k a_k A_k): A_k are the outputs of the module named `layer` (see `last_convolution`), a_k the
    mean over space of the derivative of the class's logit by A_k (equations 1 and 2). `images` (N, C, H, W) are as the
    model is fed them; `classes` (N,) are the predictions by default. Resizing is bilinear. Maps are in units of the
    logit. Raises InputError for a layer that is not there or gives no feature map.
    """
    check_images(images)
    if batch < 1:
        raise InputError(f"batch must be at least 1, got {batch}.")
    module = _module(unwrap(model), layer)
    wanted = None if classes is None else classes.to(images.device)
    if wanted is not None and wanted.shape != images.shape[:1]:
        raise InputError(f"classes must be ({len(images)},), one per image, got {tuple(wanted.shape)}.")
    maps = []
    with answering(model):
        for start in range(0, len(images), batch):
            rows = slice(start, start + batch)
            found = _maps(model, module, layer, images[rows], None if wanted is None else wanted[rows])
            maps.append(_resized(found, images.shape[-2:]) if resize else found)
    return torch.cat(maps)


def last_convolution(model: nn.Module, example: Tensor) -> str:
    """Return the name of the convolution that runs last on `example`, the usual layer for Grad-CAM.

    Convolutions with outputs of one place are passed over: they tell no region from another. Raises InputError where
    there is no other.
    """
    ran: dict[str, int] = {}
    inner = unwrap(model)
    hooks = [
        module.register_forward_hook(partial(_places, ran, name))
        for name, module in inner.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        with answering(model), torch.no_grad():
            model(example[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        raise InputError(f"{type(inner).__name__} runs no convolution; name a layer with feature maps.")
    regional = [name for name, places in ran.items() if places > 1]
    if not regional:
        raise InputError(f"the feature maps of {type(inner).__name__} are one place on images of this size.")
    return regional[-1]


@torch.no_grad()
def region_size(maps: Tensor, share: float = 0.5, *, measure: str = "above") -> Tensor:
    """Return how large the highlighted region of each map is, (N,), as a share of the image in [0, 1].

    "above" counts the pixels that reach `share` of the map's maximum, "mass" the fewest pixels that hold `share` of its
    sum. Both are free of the map's scale. NaN for a map that is 0 everywhere: nothing speaks for the class.
    """
    if maps.ndim != 3 or 0 in maps.shape or not 0 < share <= 1:
        raise InputError(f"maps must be (N, H, W) and share in (0, 1], got {tuple(maps.shape)} and {share}.")
    if measure not in MEASURES:
        raise unknown_name("measure of regions", measure, MEASURES)
    flat = maps.flatten(1).double()
    if bool((flat < 0).any()):
        raise InputError("maps must be at least 0 everywhere, as grad_cam returns them.")
    if measure == "above":
        size = (flat >= share * flat.amax(1, keepdim=True)).double().mean(1)
    else:
        held = flat.sort(dim=1, descending=True).values.cumsum(1)
        needed = share * held[:, -1:] * (1 - 1e-12)  # sums of equal values may differ in the last digit
        size = ((held < needed).sum(1) + 1) / flat.shape[1]
    return torch.where(flat.amax(1) > 0, size, torch.nan)


def _maps(model: nn.Module, module: nn.Module, layer: str, images: Tensor, classes: Tensor | None) -> Tensor:
    kept: list[Tensor] = []
    hook = module.register_forward_hook(partial(_keep, kept))
    try:
        with torch.enable_grad():
            scores = logits(model, images.detach().requires_grad_())
            if len(kept) != 1 or kept[0].ndim != 4:
                raise InputError(f"'{layer}' must run once and give feature maps (N, C, H, W).")
            chosen = scores.detach().argmax(1) if classes is None else classes
            (gradient,) = torch.autograd.grad(scores.gather(1, chosen[:, None]).sum(), kept[0], allow_unused=True)
    finally:
        hook.remove()
    if gradient is None:
        raise InputError(f"the logits do not depend on the output of '{layer}'.")
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * kept[0].detach()).sum(1).relu()


def _keep(kept: list[Tensor], module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    """Keep the output, and pass a copy on, which a ReLU in place may overwrite."""
    del module, inputs
    kept.append(output)
    return output.clone()


def _places(ran: dict[str, int], name: str, module: nn.Module, inputs: object, output: Tensor) -> None:
    """Write down, in the order in which they run, how many places the outputs of convolutions have."""
    del module, inputs
    ran.pop(name, None)
    ran[name] = output.shape[-2] * output.shape[-1]


def _resized(maps: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(maps[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


def _module(model: nn.Module, layer: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if not layer or layer not in modules:
        raise unknown_name("layer", layer, [name for name in modules if name])
    return modules[layer]
