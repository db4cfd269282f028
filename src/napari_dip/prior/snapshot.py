"""State dicts: flat dicts of tensors and plain values, copied out and copied in.

Every part of a fit's state has `state_dict` and `load_state_dict`.  Names are text,
values are tensors or what JSON can hold.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_type_hints

import torch
from torch import Tensor

from napari_dip.errors import InputError
from napari_dip.prior.kinds import check_kind


def copied(value: Any) -> Any:
    """Return a copy of a tensor, without its gradient, or of a plain value."""
    return value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def digest(state: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a state, the same wherever its tensors are."""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        if isinstance(value, Tensor):
            total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            flat = value.detach().cpu().contiguous().flatten()
            total.update(flat.view(torch.uint8).numpy().data)
        else:
            total.update(f"{name} {json.dumps(value, sort_keys=True)}\n".encode())
    return total.hexdigest()


def check_names(own: Collection[str], given: Collection[str], what: str) -> None:
    """Raise InputError where the names differ; `what` says whose they are."""
    missing, unknown = set(own) - set(given), set(given) - set(own)
    if missing or unknown:
        raise InputError(
            f"{what}: must have the names of this fit's network and problem; "
            f"got {_few(missing)} too few, {_few(unknown)} too many"
        )


def _few(names: set[str]) -> str:
    first = sorted(map(str, names))[:3]  # those of a user need not be text
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(first) + more if names else "nothing"


def check(own: Mapping[str, Tensor], given: Mapping[str, Any], what: str) -> None:
    """Raise InputError unless real tensors have the names and shapes of others."""
    check_names(own, given, what)
    for name, tensor in own.items():
        value = given[name]
        real = isinstance(value, Tensor) and not value.is_complex()
        if not real or value.shape != tensor.shape:
            got = tuple(value.shape) if isinstance(value, Tensor) else repr(value)
            raise InputError(
                f"{what}: {name} must be a tensor of shape {tuple(tensor.shape)} and "
                f"of real numbers; got {got}"
            )


def check_weights(own: Mapping[str, Tensor], given: Mapping[str, Any]) -> None:
    """Raise InputError unless weights are finite and those of such a network."""
    difference = next(_differences(own, given), None)
    if difference is not None:
        raise InputError(
            "weights: must be those of such a network; got those of another one, for "
            f"another task, preset or number of channels ({difference})"
        )
    check(own, given, "weights")
    for name in own:
        if not given[name].isfinite().all():
            raise InputError(f"weights: {name} must be finite; got NaN or infinity")


def _differences(own: Mapping[str, Tensor], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the tensors of a network are named or shaped unlike others."""
    yield from (f"{name} is missing" for name in own if name not in given)
    yield from (f"{name} is not in this network" for name in given if name not in own)
    for name, tensor in own.items():
        shape = getattr(given[name], "shape", tensor.shape)
        if shape != tensor.shape:
            yield f"{name} has the shape {tuple(shape)}, not {tuple(tensor.shape)}"


def overwrite(own: Mapping[str, Tensor], given: Mapping[str, Any], what: str) -> None:
    """Copy tensors into tensors of the same names and shapes.

    In place, because a captured CUDA graph goes on using the same memory.
    """
    check(own, given, what)
    for name, tensor in own.items():
        tensor.copy_(given[name])


class Values:
    """Base of dataclasses whose fields are a part of the state, all plain values."""

    def state_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the fields to copies of other values."""
        check_names(vars(self), state, "state")
        kinds = get_type_hints(type(self))
        for name, value in state.items():
            check_kind(value, kinds[name], f"state: {name}")
            setattr(self, name, copied(value))
