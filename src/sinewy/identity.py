"""What tells a network from another in every process: what it is made of, and the bytes of its tensors."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.layers import unwrap

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(model: nn.Module) -> str:
    """Return 16 hexadecimal digits that depend on all that a model is made of, as far as it can be read.

    That is its structure (see `structure`) and every stored tensor, but not the mode it is in, nor its wrappers.
    """
    own = unwrap(model)
    state = hashlib.sha256(structure(own).encode())
    for part in contents(own.state_dict()):
        state.update(part)
    return state.hexdigest()[:16]


def structure(model: nn.Module) -> str:
    """Return a text of what a model is besides its tensors and its mode.

    That is its printed structure, and the classes and plain values (numbers, texts, tuples of them) of its modules.
    """
    said = [_ADDRESS.sub("", repr(model))]  # an address is another in every process
    for name, module in model.named_modules():
        kind = f"{type(module).__module__}:{type(module).__qualname__}"
        plain = {key: value for key, value in vars(module).items() if key != "training" and _is_plain(value)}
        said.append(f"{name} {kind} {sorted(plain.items())}")
    return "\n".join(said)


def contents(tensors: Mapping[str, Tensor]) -> Iterator[bytes]:
    """Yield the names, types, shapes and bytes of tensors, for a hash."""
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        yield f"{name} {plain.dtype} {tuple(plain.shape)}".encode()
        yield plain.reshape(-1).view(torch.uint8).numpy().tobytes()


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | complex | str)
