"""From models to deltas: state dicts of PyTorch or numpy, and the blobs the services take.

torch is never imported here: tensors are recognised by what they can do.
"""

import sys

import numpy as np

from rochdale import safetensors

# Deltas beyond this are refused by the services (the grid's range).
DELTA_LIMIT = 8.0


def to_numpy(value) -> np.ndarray:
    """A tensor or array as F32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.ascontiguousarray(value, dtype="<f4")


def to_arrays(state) -> dict:
    return {str(name): to_numpy(value) for name, value in dict(state).items()}


def to_torch(arrays: dict) -> dict:
    import torch
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def in_framework(arrays: dict, framework: str | None) -> dict:
    """numpy arrays, or torch tensors where asked for or (None) where the program uses torch."""
    if framework is None:
        framework = "torch" if "torch" in sys.modules else "numpy"
    if framework not in ("torch", "numpy"):
        raise ValueError("framework is torch or numpy")
    return to_torch(arrays) if framework == "torch" else {n: a.copy() for n, a in arrays.items()}


def check_delta(delta: dict, base: dict) -> dict:
    """`delta` if it fits the model. ValueError names what does not."""
    missing, surplus = sorted(set(base) - set(delta)), sorted(set(delta) - set(base))
    if missing or surplus:
        raise ValueError(f"not the model's parameters: missing {missing}, unknown {surplus}")
    for name, array in delta.items():
        if array.shape != base[name].shape:
            raise ValueError(f"{name} has the shape {array.shape}, the model's {base[name].shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite: training diverged")
        if (np.abs(array) >= DELTA_LIMIT).any():
            raise ValueError(f"{name} changed by {DELTA_LIMIT} or more: training diverged")
    return delta


def delta_of(state, base: dict) -> dict:
    """What training changed: F32 arrays, named and shaped as the model's parameters."""
    arrays = to_arrays(state)
    check_delta({n: np.zeros(a.shape, "<f4") for n, a in arrays.items()}, base)
    return check_delta({n: arrays[n] - base[n] for n in sorted(base)}, base)


def delta_blob(delta: dict) -> bytes:
    return safetensors.save({name: np.ascontiguousarray(delta[name], "<f4") for name in delta})


def dataset_blob(inputs, labels) -> bytes:
    """Rows of a probe or validation pool: inputs U8 [N, D] (units of 1/256), labels U8 [N]."""
    inputs, labels = np.asarray(inputs), np.asarray(labels)
    if labels.ndim != 1 or not len(labels):
        raise ValueError("labels are a list of at least one")
    for name, array in (("inputs", inputs), ("labels", labels)):
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() > 255:
            raise ValueError(f"{name} are integers from 0 to 255")
    inputs = inputs.reshape(len(inputs), -1)
    if len(inputs) != len(labels) or inputs.shape[1] == 0:
        raise ValueError(f"{len(inputs)} inputs and {len(labels)} labels")
    return safetensors.save({"inputs": inputs.astype("u1"), "labels": labels.astype("u1")})


def dataset_from_blob(data: bytes):
    """(inputs, labels) of dataset_blob. MalformedTensors for anything else."""
    arrays = safetensors.load(data)
    if set(arrays) != {"inputs", "labels"}:
        raise safetensors.MalformedTensors("a data set has inputs and labels")
    inputs, labels = arrays["inputs"], arrays["labels"]
    if (inputs.dtype, labels.dtype) != (np.uint8, np.uint8) or inputs.ndim != 2 or (
            labels.shape != inputs.shape[:1]):
        raise safetensors.MalformedTensors("inputs are U8 [N, D] and labels U8 [N]")
    return inputs, labels
