"""A smaller model from a full one: which entries of each tensor stay, and what the modules then say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.errors import InputError


@dataclass(frozen=True)
class Plan:
    """What is left of a model: the kept indices per tensor and dimension, and the changed attributes per module.

    `biases` are the layers, without a bias in the full model, that have one in the small model. `as_json` and
    `from_json` write and read it, so that the small model is built again from the full one's specification.
    """

    kept: Mapping[str, Mapping[int, tuple[int, ...]]] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    biases: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the plan in JSON's types."""
        kept = {name: {str(dim): list(index) for dim, index in dims.items()} for name, dims in self.kept.items()}
        attributes = {name: dict(values) for name, values in self.attributes.items()}
        return {"kept": kept, "attributes": attributes, "biases": list(self.biases)}

    def cut(self, name: str, tensor: Tensor) -> Tensor:
        """Return what the plan leaves of a tensor, or of its mask, by the tensor's name."""
        return _cut(name, tensor, self.kept.get(name, {}))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """Return the plan that `as_json` wrote; raises InputError if it is not one."""
        try:
            kept = {
                str(name): {int(dim): tuple(map(int, index)) for dim, index in dims.items()}
                for name, dims in document["kept"].items()
            }
            attributes = {str(name): _attributes(values) for name, values in document["attributes"].items()}
            return cls(kept, attributes, tuple(map(str, document["biases"])))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"this is not a removal plan of sinewy compact ({error!r}).") from None


@torch.no_grad()
def apply_plan(model: nn.Module, plan: Plan) -> None:
    """Cut the tensors of `model` in place, give it the plan's biases (zero), and correct its modules' attributes.

    A layer that has one of the plan's biases already keeps its values.
    Tensors shared between modules stay shared. Raises InputError for a plan of another model.
    """
    for name in plan.biases:
        add_bias(_submodule(model, name))
    cut: dict[int, Tensor] = {}
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, dims in plan.kept.items():
        if name not in tensors:
            raise InputError(f"the removal plan names '{name}', which this model does not have.")
        tensor = tensors[name]
        small = _cut(name, tensor.detach(), dims).contiguous()
        is_parameter = isinstance(tensor, nn.Parameter)
        cut[id(tensor)] = nn.Parameter(small, requires_grad=tensor.requires_grad) if is_parameter else small
    for module in model.modules():
        for holder in (module._parameters, module._buffers):
            for name, value in holder.items():
                if value is not None and id(value) in cut:
                    holder[name] = cut[id(value)]  # type: ignore[assignment]
    for name, values in plan.attributes.items():
        module = _submodule(model, name)
        for attribute, value in values.items():
            setattr(module, attribute, value)


def add_bias(layer: nn.Module) -> None:
    """Give a linear layer or convolution without a bias one of zeros, in place."""
    if layer.bias is None:
        weight = layer.weight
        outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        assert isinstance(weight, Tensor)
        assert isinstance(outputs, int)
        layer.bias = nn.Parameter(weight.detach().new_zeros(outputs))


def _attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _submodule(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise InputError(f"the removal plan names a module '{name}', which this model does not have.") from None


def _cut(name: str, tensor: Tensor, dims: Mapping[int, tuple[int, ...]]) -> Tensor:
    for dim, index in dims.items():
        if not 0 <= dim < tensor.ndim or not index or max(index) >= tensor.shape[dim] or min(index) < 0:
            raise InputError(f"the removal plan does not fit '{name}' of shape {tuple(tensor.shape)}.")
        tensor = tensor.index_select(dim, torch.tensor(index, device=tensor.device))
    return tensor
