"""Where a network was pruned and what that saves: filters that are left, parameters, FLOPs, bytes, measured time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sinewy.analysis.shown import Footprint, Left, Speed
from sinewy.records import Cost, Layer
from sinewy.report.numbers import flops, share, times

FASTER = 0.9
"""Share of the parent's time from which on a network is called faster: less is within what clocks vary by."""

UNSTEADY = 1.25
"""Ratio of the times of two networks of one size from which on the clock is not trusted."""

FLOPS_CONVENTION = (
    "FLOPs: one multiply-accumulate is 2; convolutions and linear layers, each times the density of its weights; they "
    "are counted, not timed."
)


def layer_rows(layers: Sequence[Layer], left: Sequence[Left]) -> list[dict[str, Any]]:
    """Return one flat row per layer: weights, how many are left, its sparsity, filters and kernels that are left."""
    by_name = {part.name: part for part in left}
    rows = []
    for layer in layers:
        part = by_name.get(layer.name)
        rows.append(
            {
                "layer": layer.name,
                "shape": "×".join(map(str, layer.shape)),
                "weights": layer.weights,
                "left": layer.nonzero,
                "sparsity": layer.sparsity,
                "filters": part.filters if part else None,
                "filters_left": part.filters_left if part else None,
                "kernels": part.kernels or None if part else None,
                "kernels_left": part.kernels_left if part and part.kernels else None,
            }
        )
    return rows


def written_layers(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the rows of `layer_rows` in words."""
    return [
        {
            "layer": row["layer"],
            "shape": row["shape"],
            "weights": f"{row['left']:,} of {row['weights']:,}",
            "sparsity": share(row["sparsity"]),
            "filters": _of(row["filters_left"], row["filters"]),
            "kernels": _of(row["kernels_left"], row["kernels"]),
        }
        for row in rows
    ]


def left_sentence(left: Sequence[Left]) -> str:
    """Return how many filters and kernels are wholly zero, and what that means for removing them."""
    if not left:
        return ""
    filters, gone = sum(part.filters for part in left), sum(part.filters - part.filters_left for part in left)
    kernels, lost = sum(part.kernels for part in left), sum(part.kernels - part.kernels_left for part in left)
    said = f"{gone:,} of {filters:,} filters (or neurons) are wholly zero"
    said += f", and {lost:,} of {kernels:,} kernels" if kernels else ""
    if gone == 0:
        return f"{said}: no channel can be taken out, the zeros lie scattered."
    return f"{said}: sinewy compact can take channels like these out."


def cost_rows(costs: Mapping[str, Cost | None], speed: Speed | None) -> list[dict[str, Any]]:
    """Return one flat row per network: parameters, non-zero ones, FLOPs, bytes on disk, seconds by batch size."""
    measured: Mapping[str, Footprint] = speed.networks if speed else {}
    batches = list(dict.fromkeys(batch for own in measured.values() for batch in own.seconds))
    rows = []
    for name in dict.fromkeys((*measured, *costs)):
        own = measured.get(name)
        cost = own.cost if own and own.cost else costs.get(name)
        row = {
            "network": name,
            "parameters": cost.parameters if cost else None,
            "nonzero_parameters": cost.nonzero_parameters if cost else None,
            "inference_flops": cost.inference_flops if cost else None,
            "file_bytes": own.file_bytes if own else None,
        }
        rows.append(row | {f"seconds_batch_{batch}": own.seconds.get(batch) if own else None for batch in batches})
    return rows


def written_costs(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of `cost_rows` in words, times with their ratio to the first network's."""
    return [
        {
            "network": row["network"],
            "parameters": _count(row["parameters"]),
            "nonzero": _count(row["nonzero_parameters"]),
            "flops": _with_ratio(flops(row["inference_flops"]), row, rows[0], "inference_flops"),
            "bytes": _with_ratio(_bytes(row["file_bytes"]), row, rows[0], "file_bytes"),
            "times": [_with_ratio(_time(row[key]), row, rows[0], key) for key in row if key.startswith("seconds")],
        }
        for row in rows
    ]


def batches_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the batch sizes that were timed."""
    return [key.rpartition("_")[2] for key in (rows[0] if rows else ()) if key.startswith("seconds")]


def speed_sentences(speed: Speed | None) -> list[str]:
    """Return what the times say of networks that are smaller than the parent, and of those that are not; then notes."""
    if speed is None:
        return []
    (parent, first), *others = speed.networks.items()
    said = [_faster(name, own, parent, first) for name, own in others if _is_smaller(own, first)]
    if any(not _is_smaller(own, first) for _, own in others):
        said.append(
            "Zeros in dense tensors are stored and multiplied like any other number: a network of the size of "
            f"{parent} saves neither time nor bytes here, and where its time differs, the clock does. Only whole "
            "channels that are taken out (sinewy compact) save both."
        )
    return [*said, *_unsteady(speed), *speed.notes]


def _unsteady(speed: Speed) -> list[str]:
    """Return a warning where networks of one size, which do the same arithmetic, took different times."""
    first, *others = speed.networks.values()
    same = [own for own in others if own.file_bytes == first.file_bytes]
    ratios = [own.seconds[b] / first.seconds[b] for own in same for b in own.seconds if first.seconds.get(b)]
    if all(1 / UNSTEADY < ratio < UNSTEADY for ratio in ratios):
        return []
    return ["Networks of one size took times that differ much: this machine was busy, and its times say little."]


def _is_smaller(own: Footprint, first: Footprint) -> bool:
    return own.file_bytes < first.file_bytes


def _faster(name: str, own: Footprint, parent: str, first: Footprint) -> str:
    size = f"{times(own.file_bytes / first.file_bytes)} the bytes of {parent}"
    ratios = {batch: own.seconds[batch] / first.seconds[batch] for batch in own.seconds if first.seconds.get(batch)}
    if not ratios:
        return f"{name} takes {size}; it was not timed."
    if min(ratios.values()) > FASTER:
        return f"{name} takes {size}, and is not clearly faster on this machine."
    written = " and ".join(f"{times(ratio)} the time at batch {batch}" for batch, ratio in ratios.items())
    return f"{name} takes {size}, {written}."


def speed_protocol(speed: Speed | None) -> str:
    """Return how the times were measured; "" where they were not."""
    if speed is None or not any(own.seconds for own in speed.networks.values()):
        return ""
    threads = f", {speed.threads} thread{'' if speed.threads == 1 else 's'}" if speed.device == "CPU" else ""
    return (
        f"Latency: the fastest of several forward passes on this machine ({speed.device}{threads}), measured in turn "
        "when this page was written; differences below a tenth are within what such times vary by. File: bytes of the "
        "weights, uncompressed."
    )


def _of(left: int | None, of: int | None) -> str:
    return "–" if left is None or of is None else f"{left:,} of {of:,}"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _bytes(value: int | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1e6:,.2f} MB" if value >= 1e5 else f"{value / 1e3:,.1f} kB"


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1e3 * seconds:,.2f} ms"


def _with_ratio(text: str, row: Mapping[str, Any], first: Mapping[str, Any], key: str) -> dict[str, str]:
    known = row is not first and row[key] is not None and first[key]
    return {"value": text, "interval": times(row[key] / first[key]) if known else ""}
