"""Single images that the parent recognises and a pruned network does not: pictures and what both said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.breaking import Example
from sinewy.analysis.maps import picture
from sinewy.analysis.shown import Shown
from sinewy.outcomes import CLEAN, Condition

BYTES = 280_000
"""What all pictures of a page may take together; larger ones are shrunk, all alike."""

SIDES = (4096, 224, 160, 128, 96, 80, 64, 48)
"""Longest sides that are tried, in pixels."""

WIDEST = 112
"""CSS pixels that a picture is about as wide as; small ones are drawn in whole multiples of their size."""


def cards(shown: Shown, names: tuple[str, str]) -> list[dict[str, Any]]:
    """Return what each card says: picture, shift, class, and what both networks answered, with their confidences.

    `names` are those of the parent and of the pruned network.
    """
    pictures, uris = _fitting([example.pixels for example in shown.examples])
    return [
        _card(shown, example, pixels, uri, names)
        for example, pixels, uri in zip(shown.examples, pictures, uris, strict=True)
    ]


def chosen_text(shown: Shown, drawn: Sequence[Mapping[str, Any]]) -> str:
    """Return how the pictures on the cards `drawn` were chosen, and whether they are what the networks saw."""
    shifted = [example.condition for example in shown.examples if example.condition != CLEAN]
    clean = len(shown.examples) - len(shifted)
    parts = [f"{clean} as they are"] if clean else []
    if shifted:
        parts.append(f"{len(shifted)} under the shift that costs most ({condition_text(shifted[0])})")
    shrunk = any(card["shrunk"] for card in drawn)
    pixels = "They are smaller than the networks saw them." if shrunk else "These are the pixels that the networks saw."
    return (
        f"The clearest of them, not typical ones, where the true class lost most probability: {' and '.join(parts)}. "
        f"{pixels}"
    )


def condition_text(condition: Condition) -> str:
    """Return a condition in words: "as it is", or the shift with its severity."""
    kind, severity = condition
    return "as it is" if condition == CLEAN else f"{kind.replace('_', ' ')}, severity {severity}"


def _card(
    shown: Shown, example: Example, pixels: NDArray[np.uint8], uri: str, names: tuple[str, str]
) -> dict[str, Any]:
    truth, condition = shown.class_name(example.label), condition_text(example.condition)
    answers = [
        {"name": name, "answer": shown.class_name(prediction), "confidence": f"{100 * confidence:.0f}\u00a0%"}
        for name, (prediction, confidence) in zip(names, example.answers, strict=True)
    ]
    height, width = pixels.shape[1:]
    scale = max(WIDEST // max(height, width), 1) if max(height, width) <= WIDEST else WIDEST / max(height, width)
    said = ", ".join(f"{one['name']} says {one['answer']} ({one['confidence']})" for one in answers)
    return {
        "uri": uri,
        "truth": truth,
        "condition": condition,
        "answers": answers,
        "alt": f"Test image {example.index}, {condition}. It shows {truth}; {said}.",
        "index": example.index,
        "shrunk": pixels.shape != example.pixels.shape,
        "width": round(width * scale),
        "height": round(height * scale),
    }


def _fitting(images: Sequence[NDArray[np.uint8]]) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Return the images as large as they may be, and their data: URIs."""
    for side in SIDES:
        small = [_shrunk(image, side) for image in images]
        uris = [picture(image) for image in small]
        if sum(map(len, uris)) <= BYTES:
            break
    return small, uris


def _shrunk(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return an image (3, H, W) whose longer side is at most `side`: means over blocks as equal as they can be."""
    table = image.astype(np.float64)
    longest = max(image.shape[1:])
    if longest <= side:
        return image
    for axis in (1, 2):
        size = image.shape[axis]
        to = max(round(size * side / longest), 1)
        starts = np.arange(to + 1) * size // to
        sums = np.add.reduceat(table, starts[:-1], axis=axis)
        table = sums / np.diff(starts).reshape([-1 if a == axis else 1 for a in range(3)])
    return table.round().astype(np.uint8)
