"""Trees, tiles, notes, receipts and log entries against known vectors and hostile input."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from rochdale import entry, keys, merkle, note, protos, receipts, tiles

ROOT = Path(__file__).resolve().parent.parent.parent


# ---- Trees: roots of RFC 6962's test data, as in its reference implementation ----

LEAVES = [bytes.fromhex(h) for h in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f")]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]


def plain_root(hashes):
    """RFC 6962 2.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return merkle.node_hash(plain_root(hashes[:split]), plain_root(hashes[split:]))


def plain_consistency(first, hashes, whole=True):
    if first == len(hashes):
        return [] if whole else [plain_root(hashes)]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    if first <= split:
        return plain_consistency(first, hashes[:split], whole) + [plain_root(hashes[split:])]
    return plain_consistency(first - split, hashes[split:], False) + [plain_root(hashes[:split])]


def test_known_roots():
    for size, root in ROOTS.items():
        assert merkle.root_of(HASHES[:size]).hex() == root
    assert merkle.root_of([]).hex() == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def test_every_proof_of_small_trees_and_no_other():
    hashes = [merkle.leaf_hash(bytes([i])) for i in range(20)]

    def node(level, index):
        return plain_root(hashes[index << level:(index + 1) << level])

    for size in range(1, 21):
        root = plain_root(hashes[:size])
        assert merkle.root_of(hashes[:size]) == root == merkle.range_root(0, size, node)
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, node)
            merkle.verify_inclusion(index, size, hashes[index], proof, root)
            wrong = [(index, size, hashes[index], [*proof, bytes(32)], root),
                     (index, size, bytes(32), proof, root),
                     (size, size, hashes[index], proof, root),
                     (-1, size, hashes[index], proof, root)]
            if proof:
                wrong += [(index, size, hashes[index], proof[:-1], root),
                          (index, size, hashes[index], [bytes(32), *proof[1:]], root),
                          (index ^ 1, size, hashes[index], proof, root)]
            for case in wrong:
                with pytest.raises(merkle.ProofError):
                    merkle.verify_inclusion(*case)
        for first in range(1, size + 1):
            proof = plain_consistency(first, hashes[:size])
            old = plain_root(hashes[:first])
            merkle.verify_consistency(first, size, old, root, proof)
            wrong = [(first, size, old, root, [*proof, bytes(32)]),
                     (first, size, bytes(32), root, proof), (first, size, old, bytes(32), proof),
                     (0, size, old, root, proof), (size + 1, size, old, root, proof)]
            for number in range(len(proof)):
                changed = list(proof)
                changed[number] = bytes(32)
                wrong.append((first, size, old, root, changed))
            for case in wrong:
                with pytest.raises(merkle.ProofError):
                    merkle.verify_consistency(*case)


# ---- Tiles ----

@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 700])
def test_tiles_round_trip(size):
    files = {}
    writer = tiles.TileWriter(files.__setitem__)
    data = [b"entry %d" % i * (i % 5) for i in range(size)]
    for item in data:
        writer.append(item)
    writer.finish()
    reader = tiles.TileReader(size, files.__getitem__)
    assert reader.root() == writer.root() == plain_root([merkle.leaf_hash(d) for d in data])
    assert [item for _, item in reader.entries()] == data
    for index in range(0, size, 37):
        merkle.verify_inclusion(index, size, merkle.leaf_hash(data[index]),
                                reader.inclusion_proof(index), writer.root())
    if size > 256:
        changed = dict(files)
        name = tiles.path("entries", 0)
        changed[name] = changed[name][:-1] + bytes([changed[name][-1] ^ 1])
        with pytest.raises(tiles.TileError):
            list(tiles.TileReader(size, changed.__getitem__).entries())


def test_tile_paths_are_those_of_the_specification():
    assert tiles.path(0, 1234067, 8) == "tile/0/x001/x234/067.p/8"
    assert tiles.path("entries", 0) == "tile/entries/000"
    assert tiles.path(1, 999) == "tile/1/999" and tiles.path(1, 1000) == "tile/1/x001/000"


# ---- Notes ----

# The example of the Go implementation of signed notes (golang.org/x/mod/sumdb/note).
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXg"
    "KvqfqdngotpRZb6KE6RyyBwJnAM=\n")


def test_note_of_another_implementation():
    key = note.Key.parse(PETER)
    assert str(key) == PETER
    note.Note.parse(PETER_NOTE).verify(key)
    with pytest.raises(note.NoteError):
        note.Note.parse(PETER_NOTE.replace("answer", "Answer")).verify(key)


@pytest.mark.parametrize("text", [
    "", "\n", "text\n", "text\n\n", "text\n\n— x\n", "text\n\n— x AAAA\n",
    "text\n\n- x AAAAAAAA\n",
    "text\n\n— x AAAAAAA=\n ", "text\n\n— x+y AAAAAAAA\n", "t\tt\n\n— x AAAAAAAA\n",
    "text\n\n— x AAAAAAAA", "text\n\n— x AAAAAAAB==\n"])
def test_what_is_no_note(text):
    with pytest.raises(note.NoteError):
        note.Note.parse(text).verify(note.Key("x", bytes(32)))


def test_checkpoints():
    key = keys.KeyPair.generate()
    log = note.Key("log.example/a", key.public_key)
    checkpoint = note.Checkpoint("log.example/a", 7, bytes(32))
    text = note.sign("log.example/a", key, checkpoint.to_text())
    assert note.Checkpoint.open(text, log) == checkpoint
    assert note.Checkpoint.open(text.encode(), note.Key.parse(str(log))) == checkpoint
    other = note.Key("log.example/b", key.public_key)
    signed_by_other = note.sign("log.example/b", key, checkpoint.to_text())
    for data, with_key in ((text, other), (signed_by_other, other), (signed_by_other, log),
                           (text + text.splitlines()[-1] + "\n", log)):
        with pytest.raises(note.NoteError):
            note.Checkpoint.open(data, with_key)
    for body in ("a\n07\n" + "A" * 43 + "=\n", "a\n7\nAAAA\n", "a\n-7\n\n", "a\n7\n",
                 checkpoint.to_text() + "extension\n"):
        with pytest.raises(note.NoteError):
            note.Checkpoint.parse_text(body)
    for key_text in ("", "a+b", PETER.replace("c74f", "c74e"), PETER[:-4], "a b+" + PETER):
        with pytest.raises(note.NoteError):
            note.Key.parse(key_text)


def test_receipt_texts():
    receipt = receipts.Receipt(b"entry", 5, (bytes(32), b"\x01" * 32), "note\n")
    lines = receipt.to_text().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1" and lines[2] == "index 5" and lines[5] == ""
    assert receipts.Receipt.from_text(receipt.to_text()) == receipt
    for text in ("", "x\n\n", receipt.to_text().replace("index 5", "index 05"),
                 receipt.to_text().replace("@v1", "@v2"), "x" * (receipts.TEXT_MAX + 1),
                 receipt.to_text().replace("extra ", "extra !")):
        with pytest.raises(receipts.ReceiptError):
            receipts.Receipt.from_text(text)


# ---- Entries ----

def golden_entries():
    for line in (ROOT / "tests/golden/crypto/entries.txt").read_text().splitlines():
        number, name, _, data = line.split()
        yield int(number), name, bytes.fromhex(data)


def test_golden_entries_decode_and_encode_to_the_same_bytes():
    seen = set()
    for number, name, data in golden_entries():
        decoded = entry.decode(data)
        assert decoded.kind == name and entry.KIND_NUMBERS[name] == number
        assert entry.encode(decoded) == data
        assert not any(field.startswith("tag_") for field in decoded.fields)
        json.dumps(decoded.to_dict())
        seen.add(number)
    assert seen == set(protos.entry_table.KINDS)


def test_entry_table_is_that_of_the_repository():
    source = (ROOT / "libs/crypto/entry_kinds.h").read_text()
    numbers = {int(n) for n in re.findall(r"constexpr uint16_t k\w+ = (\d+);", source)}
    assert numbers == set(protos.entry_table.TAGS) | set(protos.entry_table.KINDS)


def test_hostile_entries():
    _, _, data = max(golden_entries(), key=lambda item: len(item[2]))
    for size in range(len(data)):
        with pytest.raises(entry.EntryError):
            entry.decode(data[:size])
    with pytest.raises(entry.EntryError):
        entry.decode(data + b"\x00")
    with pytest.raises(entry.EntryError):
        entry.decode(data[:2] + bytes(16) + data[18:])
    rng = np.random.default_rng(11)
    for _ in range(3000):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), 2):
            changed[at] = int(rng.integers(0, 256))
        try:
            assert entry.encode(entry.decode(bytes(changed))) == bytes(changed)
        except entry.EntryError:
            pass
