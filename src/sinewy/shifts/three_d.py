"""3D common corruptions of images whose depth, or shading, is known."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.errors import unknown_name
from sinewy.shifts import THREE_D
from sinewy.shifts.corruption import by_blocks, corrupt, kind_function
from sinewy.shifts.draws import Draws
from sinewy.shifts.names import check_severity
from sinewy.shifts.three_d_inputs import beside


@torch.no_grad()
def corrupt_3d(
    images: Tensor,
    kind: str,
    severity: int,
    *,
    depth: Tensor | None = None,
    shading: Tensor | None = None,
    seed: int = 0,
    start: int = 0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return `images` corrupted by a kind of 3DCC at a severity 1 to 5: uint8 (N, 3, H, W) in and out.

    `kind` is a name in `THREE_D`, with or without "3dcc/". `depth` (N, H, W) is relative, in [0, 1]: 0 at the camera, 1
    the farthest; fog, focus, motion and the video codecs need it. `shading` (N, H, W) in [0, 1] is how strongly a light
    at the camera lights each pixel; flash needs it. Seed, start and device are those of `corrupt`. Constants are those
    published, in pixels where they are lengths, whatever the image's size. Raises InputError for anything else.

    Source: Kar et al., "3D Common Corruptions and Data Augmentation" (CVPR 2022).
    """
    name = kind if str(kind).startswith("3dcc/") else f"3dcc/{kind}"
    if name not in THREE_D:
        raise unknown_name("kind of 3DCC", kind, [known.removeprefix("3dcc/") for known in THREE_D])
    given = {key: value for key, value in (("depth", depth), ("shading", shading)) if value is not None}
    clean = corrupt(images, name, 0, seed=seed, start=start, device=device)
    maps = {key: beside(key, value, images).to(clean.device) for key, value in given.items()}
    check_severity(severity)
    if severity == 0:
        return clean
    function = kind_function(name)

    def shift(block: Tensor, first: int) -> Tensor:
        draws = Draws(name, severity, seed, start + first, len(block), clean.device)
        return function(
            block, severity, "imagenet", draws, **{k: v[first : first + len(block)] for k, v in maps.items()}
        )

    if name in ("3dcc/color_quant", "3dcc/iso_noise", "3dcc/low_light"):
        maps = {}
    return by_blocks(clean, shift, name, clean.device)
