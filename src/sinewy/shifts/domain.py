"""Images outside the domain of the inputs: the photometric scaling that turns them into out-of-domain data."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.shifts.continuous import check_strength, shifted


@torch.no_grad()
def out_of_domain(images: Tensor, scale: float = 255.0) -> Tensor:
    """Return `images` in [0, `scale`] instead of [0, 1]: pixels times `scale`, 1 leaving them as they are.

    `images` (N, 3, H, W) are uint8 levels 0 to 255 or floats in [0, 1]; the result is float32, never clipped. At 255 it
    is the "OODom" of Ayle et al. 2022 (Appendix A): images of another data set, left in [0, 255]. The paper does not
    say whether the model's normalisation follows; here it is the caller's, as for every shift of pixels. Raises
    InputError for other images and for a `scale` that is not a finite number of at least 0.

    >>> out_of_domain(torch.full((1, 3, 1, 1), 77, dtype=torch.uint8)).flatten()
    tensor([77., 77., 77.])
    """
    check_strength("scale", scale)
    return shifted(images, lambda pixels, _: pixels.mul_(scale))
