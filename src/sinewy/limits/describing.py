"""What a value is, in words that another process finds as well, so that a folder made with it is known again."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sinewy.identity import contents, fingerprint
from sinewy.layers import unwrap

DEEPEST = 4
"""Values within values beyond this are told apart by their type only; also what ends a circle."""


def described(value: Any, depth: int = 0) -> str:
    """Return a text that is alike in every process and differs where the value does.

    Functions and classes are "module:qualname", with the values that a partial, a closure or an object of a class of
    your own holds; networks, tensors and arrays are named by a hash of their contents. The text of a named function
    does not enter, that of a lambda does: many have one name.
    """
    if isinstance(value, nn.Module):
        plain = {name: part for name, part in vars(unwrap(value)).items() if not name.startswith("_")}
        return f"{_name(type(unwrap(value)))} {fingerprint(value)} {described(plain, depth + 1)}"
    if isinstance(value, Tensor):
        return _hash(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return _hash(torch.from_numpy(np.array(value)))
    if depth > DEEPEST:
        return _name(type(value))
    inner = functools.partial(described, depth=depth + 1)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{inner(key)}: {inner(part)}" for key, part in value.items()) + "}"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(inner, value))) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(inner, value)) + "]"
    if isinstance(value, functools.partial):
        return f"partial {inner([value.func, value.args, value.keywords])}"
    if isinstance(value, types.FunctionType):
        return _function(value, inner)
    if isinstance(value, types.MethodType):
        return f"{_name(value.__func__)} of {inner(value.__self__)}"
    if isinstance(value, type | types.BuiltinFunctionType):
        return _name(value)
    text = str(value)
    if " at 0x" not in text:
        return text
    held = getattr(value, "__dict__", {})  # an address is another in every process
    return _name(type(value)) + (f" {inner(held)}" if held else "")


def _hash(tensor: Tensor) -> str:
    return f"tensor {hashlib.sha256(b''.join(contents({'': tensor}))).hexdigest()[:16]}"


def _function(function: types.FunctionType, inner: Callable[[Any], str]) -> str:
    held: list[Any] = [cell.cell_contents for cell in function.__closure__ or () if _is_full(cell)]
    if function.__name__ == "<lambda>":
        code = function.__code__
        constants = [constant for constant in code.co_consts if not isinstance(constant, types.CodeType)]
        held += [hashlib.sha256(code.co_code).hexdigest()[:8], code.co_names, constants, function.__defaults__]
    return _name(function) + (f" {inner(held)}" if held else "")


def _is_full(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', type(value).__qualname__)}"
