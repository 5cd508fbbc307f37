"""Reader and writer of tensors against each other, a file written by hand, and hostile input."""

import json
import struct

import numpy as np
import pytest

from rochdale import safetensors
from rochdale.safetensors import MalformedTensors


def file_of(header, data=b"", pad=True):
    text = header if isinstance(header, bytes) else json.dumps(
        header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8 if pad else 0)
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype="U8", shape=(2,), offsets=(0, 2)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_bytes_of_a_small_file():
    data = safetensors.save({"b": np.float32([1, 2]), "a": np.float32([[3]])})
    header = (b'{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},'
              b'"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}')
    header += b" " * (-len(header) % 8)
    assert data == struct.pack("<Q", len(header)) + header + struct.pack("<3f", 3, 1, 2)


def test_round_trip_of_every_dtype():
    arrays = {"u": np.arange(5, dtype="u1"), "i": np.int32([[-1, 2]]), "f": np.float32(3.5),
              "d": np.float64([[[1e300]]]), "l": np.int64([-2**63])}
    data = safetensors.save(arrays, {"who": "me"})
    back, metadata = safetensors.load_with_metadata(data)
    assert list(back) == sorted(arrays) and metadata == {"who": "me"}
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape
        np.testing.assert_array_equal(back[name], array)
    assert safetensors.save(back, metadata) == data
    # Tensors lie by dtype, then name: every one is aligned.
    header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
    assert [k for k in sorted((k for k in header if k != "__metadata__"),
                              key=lambda k: header[k]["data_offsets"][0])] == list("ldfiu")


HOSTILE = {
    "empty": b"",
    "short": b"\x00" * 7,
    "no header": struct.pack("<Q", 0),
    "header too long": struct.pack("<Q", 2**21) + b" " * 2**21,
    "header length overflows": struct.pack("<Q", 2**64 - 1) + b"{}",
    "truncated header": struct.pack("<Q", 64) + b"{}",
    "not a multiple of 8": file_of({"a": tensor()}, b"xy", pad=False),
    "not JSON": file_of(b"{]", b"xy"),
    "a list": file_of(b"[]", b""),
    "leading space": file_of(b' {"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', b"xy"),
    "deep nesting": file_of(b'{"a":' + b"[" * 50_000, b""),
    "no tensors": file_of({}, b""),
    "key twice": file_of(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
                         b'"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}', b"xy"),
    "NaN": file_of(b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,2]}}', b"xy"),
    "unknown dtype": file_of({"a": tensor("F16")}, b"xy"),
    "dtype is a list": file_of({"a": tensor(["U8"])}, b"xy"),
    "extra member": file_of({"a": {**tensor(), "x": 1}}, b"xy"),
    "missing member": file_of({"a": {"dtype": "U8", "shape": [2]}}, b"xy"),
    "shape is text": file_of({"a": {**tensor(), "shape": "2"}}, b"xy"),
    "negative": file_of({"a": tensor(shape=(-2,))}, b"xy"),
    "zero": file_of({"a": tensor(shape=(0,), offsets=(0, 0))}, b""),
    "boolean dimension": file_of({"a": tensor(shape=(True, 2))}, b"xy"),
    "float dimension": file_of({"a": tensor(shape=(2.0,))}, b"xy"),
    "product overflows": file_of({"a": tensor(shape=(2**32, 2**32), offsets=(0, 0))}, b""),
    "too many dimensions": file_of({"a": tensor(shape=(1,) * 9, offsets=(0, 1))}, b"x"),
    "offsets do not match": file_of({"a": tensor(offsets=(0, 3))}, b"xyz"),
    "begins late": file_of({"a": tensor(offsets=(1, 3))}, b"xyz"),
    "overlap": file_of({"a": tensor(), "b": tensor(offsets=(1, 3))}, b"xyz"),
    "other order": file_of({"a": tensor(offsets=(2, 4)), "b": tensor()}, b"wxyz"),
    "truncated data": file_of({"a": tensor()}, b"x"),
    "surplus data": file_of({"a": tensor()}, b"xyz"),
    "name": file_of({"a b": tensor()}, b"xy"),
    "empty name": file_of({"": tensor()}, b"xy"),
    "long name": file_of({"a" * 257: tensor()}, b"xy"),
    "offsets of texts": file_of({"a": {**tensor(), "data_offsets": ["0", "2"]}}, b"xy"),
    "metadata of numbers": file_of({"__metadata__": {"a": 1}, "a": tensor()}, b"xy"),
    "metadata is a list": file_of({"__metadata__": [], "a": tensor()}, b"xy"),
    "too much metadata": file_of({"__metadata__": {str(i): "" for i in range(65)}, "a": tensor()},
                                 b"xy"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name):
    with pytest.raises(MalformedTensors):
        safetensors.load(HOSTILE[name])


def test_what_cannot_be_written():
    for arrays in ({}, {"a": np.float16([1])}, {"a b": np.float32([1])},
                   {"a": np.zeros((0,), "f4")},
                   {"a": np.zeros((1,) * 9, "f4")}):
        with pytest.raises(MalformedTensors):
            safetensors.save(arrays)


def test_random_damage_never_does_anything_but_refuse():
    data = safetensors.save({"w": np.arange(6, dtype="f4").reshape(2, 3), "b": np.int32([1])})
    rng = np.random.default_rng(5)
    for _ in range(3000):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            changed[at] = int(rng.integers(0, 256))
        try:
            safetensors.load(bytes(changed))
        except MalformedTensors:
            pass
