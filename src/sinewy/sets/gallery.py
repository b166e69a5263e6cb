"""A page of pictures: every kind at every severity on the user's own images, to be looked at."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from PIL import Image
from torch import Tensor

from sinewy.errors import InputError
from sinewy.files import write_text
from sinewy.shifts import SEVERITIES
from sinewy.shifts.names import expand, family, severities_of
from sinewy.shifts.recompression import Recompression
from sinewy.shifts.spectrum import high_frequency
from sinewy.shifts.strengths import Continuous
from sinewy.shifts.values import Corruption, Shift

SHOWN = 96
"""Pixels that the shorter side of a picture is shown with at least."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1b1b; margin: 1.5rem; }
table { border-collapse: collapse; }
th, td { padding: .35rem .5rem; text-align: left; vertical-align: top; font-weight: normal; }
thead th { position: sticky; top: 0; background: #fff; border-bottom: 1px solid #bbb; font-weight: 600; }
tbody th { font-weight: 600; min-width: 7rem; position: sticky; left: 0; background: #fff; }
td small { display: block; color: #5a5a5a; font-size: .8rem; white-space: nowrap; }
img { display: block; image-rendering: {{ "pixelated" if scale > 1 else "auto" }}; }
.wrong { max-width: 40rem; color: #8a3b00; }
</style></head><body>
<h1>{{ title }}</h1>
<p>{{ protocol }}. Below each picture: the root-mean-square change in grey levels, and the share of it at high spatial
frequencies.</p>
<table><thead><tr><th>kind</th><th>clean</th>
{% for s in severities %}<th>{{ heading }}{{ s }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}<tr><th scope="row">{% for word in row.words %}{{ word }}<wbr>{% endfor %}</th>
<td><img src="{{ clean }}" width="{{ width }}" height="{{ height }}" alt="clean"></td>
{% for cell in row.cells %}<td{% if row.single %} colspan="{{ severities | length }}"{% endif %}>\
<img src="{{ cell.picture }}" width="{{ width }}" height="{{ height }}" \
alt="{{ row.kind }}, severity {{ cell.severity }}">\
<small>{{ cell.rmse }} · {{ cell.high }} % high</small></td>
{% endfor %}{% if row.wrong %}<td class="wrong" colspan="{{ severities | length }}">{{ row.wrong }}</td>{% endif %}</tr>
{% endfor %}</tbody></table></body></html>
"""


def write_gallery(
    images: Tensor,
    kinds: Sequence[str],
    path: Path | str,
    *,
    severities: Sequence[int] = SEVERITIES,
    preset: str = "cifar",
    seed: int = 0,
    recompress: int | None = None,
    title: str = "Shifts",
) -> Path:
    """Write an offline HTML page that shows uint8 `images` (N, 3, H, W) under every kind and severity; return its path.

    `kinds` are names of `sinewy.shifts`, groups, or shifts of continuous strength (in pixels). A kind that does not fit
    the images has a row that says why. Raises InputError for an unknown kind, no images, and a path that cannot be
    written.
    """
    if len(images) == 0:
        raise InputError("there is nothing to show: name at least one image.")
    rows = [_row(kind, images, severities, preset, seed, recompress) for kind in expand(kinds, preset)]
    one_strength = all(len(row["cells"]) <= 1 for row in rows) and len(severities) > 1
    height, width = images.shape[2], images.shape[3] * len(images)
    scale = max(1, -(-SHOWN // min(images.shape[2:])))
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
    text = page.render(
        title=title,
        protocol=f"Preset {preset}, seed {seed}" + (f", JPEG {recompress} at the end" if recompress else ""),
        severities=[""] if one_strength else list(severities),
        heading="as published" if one_strength else "severity ",
        rows=rows,
        clean=_picture(images),
        width=width * scale,
        height=height * scale,
        scale=scale,
    )
    write_text(Path(path), text)
    return Path(path)


def _row(
    kind: str, images: Tensor, severities: Sequence[int], preset: str, seed: int, recompress: int | None
) -> dict[str, Any]:
    chosen = severities_of(kind, severities)
    said = {"kind": kind, "words": re.findall(r"[^_/]*[_/]?", kind)}  # where a long name may be broken
    try:
        cells = [_cell(_shift(kind, severity, preset, recompress), severity, images, seed) for severity in chosen]
    except InputError as error:
        return {**said, "cells": [], "single": False, "wrong": str(error)}
    return {**said, "cells": cells, "single": len(chosen) < len(severities), "wrong": ""}


def _shift(kind: str, severity: int, preset: str, recompress: int | None) -> Shift:
    if family(kind) == "continuous":
        return Continuous(kind)
    shift: Shift = Corruption(kind, severity, preset)
    return shift | Recompression(recompress) if recompress is not None else shift


def _cell(shift: Shift, severity: int, images: Tensor, seed: int) -> dict[str, Any]:
    shifted = shift(images, seed=seed)
    if shifted.is_floating_point():
        shifted = (shifted * 255).round().clamp(0, 255).to(torch.uint8)
    rmse = (shifted.double() - images.double()).square().mean().sqrt().item()
    return {
        "severity": severity,
        "picture": _picture(shifted),
        "rmse": f"{rmse:.1f}",
        "high": f"{100 * high_frequency(images, shifted):.0f}",
    }


def _picture(images: Tensor) -> str:
    """Return uint8 (N, 3, H, W), side by side, as a data: URI of a PNG."""
    stream = io.BytesIO()
    side_by_side = torch.cat(tuple(images), 2).permute(1, 2, 0).contiguous().cpu().numpy()
    Image.fromarray(side_by_side).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
