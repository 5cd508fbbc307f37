"""Safetensors files: a reader that trusts nothing and a writer with one output per content.

Layout: u64 little-endian header length, JSON header padded with spaces to a multiple of 8, data.
Both know the canonical layout only: tensors without gap or overlap in the order of dtype (I64, F64,
F32, I32, U8), then name. It is the layout that the services accept.
"""

import json
import re
import struct

import numpy as np

HEADER_BYTES_MAX = 1 << 20
TENSORS_MAX = 4096
DIMENSIONS_MAX = 8
NAME_BYTES_MAX = 256
ELEMENTS_MAX = 1 << 40
METADATA_ENTRIES_MAX = 64
METADATA_BYTES_MAX = 64 << 10

# In the order in which they lie in a file.
_DTYPES = {"I64": np.dtype("<i8"), "F64": np.dtype("<f8"), "F32": np.dtype("<f4"),
           "I32": np.dtype("<i4"), "U8": np.dtype("u1")}
_RANK = {name: rank for rank, name in enumerate(_DTYPES)}
_NAME = re.compile(r"[A-Za-z0-9._/-]{1,256}")


class MalformedTensors(ValueError):
    """The bytes are not a canonical safetensors file within the limits above."""


def dtype_name(array: np.ndarray) -> str:
    for name, dtype in _DTYPES.items():
        if array.dtype == dtype:
            return name
    raise MalformedTensors(f"dtype {array.dtype} is none of {', '.join(_DTYPES)}")


def _check(name: str, shape) -> int:
    """The number of elements."""
    if not _NAME.fullmatch(name):
        raise MalformedTensors(f"a tensor is called {name[:80]!r}: 1 to 256 of A-Za-z0-9._/-")
    if len(shape) > DIMENSIONS_MAX:
        raise MalformedTensors(f"tensor {name} has more than {DIMENSIONS_MAX} dimensions")
    elements = 1
    for extent in shape:
        # bool is an int to Python, not to JSON.
        if type(extent) is not int or not 1 <= extent <= ELEMENTS_MAX:
            raise MalformedTensors(f"tensor {name} has a dimension out of bounds")
        elements *= extent
        if elements > ELEMENTS_MAX:
            raise MalformedTensors(f"tensor {name} has too many elements")
    return elements


def _check_metadata(metadata) -> None:
    if len(metadata) > METADATA_ENTRIES_MAX or not all(
            isinstance(k, str) and isinstance(v, str) for k, v in metadata.items()):
        raise MalformedTensors("metadata are at most 64 pairs of texts")
    if sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items()) > METADATA_BYTES_MAX:
        raise MalformedTensors("metadata are too large")


def save(tensors: dict, metadata: dict | None = None) -> bytes:
    """The bytes of a file with these numpy arrays. Same content, same bytes."""
    if not 1 <= len(tensors) <= TENSORS_MAX:
        raise MalformedTensors(f"a file has 1 to {TENSORS_MAX} tensors")
    arrays = {name: np.asarray(array) for name, array in tensors.items()}
    header, begin = {}, 0
    if metadata:
        _check_metadata(metadata)
        header["__metadata__"] = dict(sorted(metadata.items()))
    order = sorted(arrays, key=lambda n: (_RANK[dtype_name(arrays[n])], n.encode()))
    for name in order:
        array = arrays[name]
        _check(name, array.shape)
        header[name] = {"dtype": dtype_name(array), "shape": list(array.shape),
                        "data_offsets": [begin, begin + array.nbytes]}
        begin += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_BYTES_MAX:
        raise MalformedTensors("the header would exceed 1 MiB")
    return b"".join([struct.pack("<Q", len(text)), text,
                     *(np.ascontiguousarray(arrays[n]).tobytes() for n in order)])


def _no_duplicates(pairs):
    if len({key for key, _ in pairs}) != len(pairs):
        raise MalformedTensors("the header has a key twice")
    return dict(pairs)


def _no_constants(word):
    raise MalformedTensors(f"the header has {word}, which is not JSON")


def _header(data: bytes):
    if len(data) < 8:
        raise MalformedTensors("shorter than its header length")
    (size,) = struct.unpack_from("<Q", data)
    if size > HEADER_BYTES_MAX:
        raise MalformedTensors("the header is longer than the limit")
    if size > len(data) - 8:
        raise MalformedTensors("the header is truncated")
    if size % 8 != 0:
        raise MalformedTensors("the data do not begin at a multiple of 8")
    text = bytes(data[8:8 + size])
    if not text.startswith(b"{"):
        raise MalformedTensors("the header does not begin with {")
    try:
        header = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise MalformedTensors(f"the header is not JSON: {error}") from None
    return header, 8 + size


def load_with_metadata(data: bytes):
    """(arrays by name, metadata). Arrays are copies. MalformedTensors for any other bytes."""
    header, start = _header(data)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise MalformedTensors("metadata are not an object")
    _check_metadata(metadata)
    if not 1 <= len(header) <= TENSORS_MAX:
        raise MalformedTensors(f"a file has 1 to {TENSORS_MAX} tensors")
    for name, spec in header.items():
        if not isinstance(spec, dict) or set(spec) != {"dtype", "shape", "data_offsets"}:
            raise MalformedTensors(f"tensor {name[:80]} has not dtype, shape and data_offsets")
        if spec["dtype"] not in _DTYPES if isinstance(spec["dtype"], str) else True:
            raise MalformedTensors(f"tensor {name[:80]} has an unknown dtype")
        if not isinstance(spec["shape"], list):
            raise MalformedTensors(f"tensor {name[:80]} has no shape")
        offsets = spec["data_offsets"]
        if (not isinstance(offsets, list) or len(offsets) != 2
                or any(type(o) is not int for o in offsets)):
            raise MalformedTensors(f"tensor {name[:80]} has no data_offsets")
    arrays, expected = {}, 0
    for name in sorted(header, key=lambda n: (_RANK[header[n]["dtype"]], n.encode())):
        spec, dtype = header[name], _DTYPES[header[name]["dtype"]]
        size = _check(name, spec["shape"]) * dtype.itemsize
        if spec["data_offsets"] != [expected, expected + size]:
            raise MalformedTensors(f"tensor {name} does not lie where canonical layout puts it")
        expected += size
        if start + expected > len(data):
            raise MalformedTensors("the data are truncated")
        arrays[name] = np.frombuffer(data, dtype, size // dtype.itemsize,
                                     start + expected - size).reshape(spec["shape"]).copy()
    if start + expected != len(data):
        raise MalformedTensors("bytes follow the last tensor")
    return {name: arrays[name] for name in sorted(arrays)}, metadata


def load(data: bytes) -> dict:
    """Arrays by name, sorted. MalformedTensors for anything but a canonical file."""
    return load_with_metadata(data)[0]
