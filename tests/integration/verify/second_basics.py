"""What every part of the second verifier needs: hashes, notes, files, tiles, entries (sections 1
to 4 of docs/evidence.md)."""

import base64
import hashlib
import itertools
import json
import struct
from pathlib import Path

try:
    from nacl.exceptions import BadSignatureError as BadSignature
    from nacl.signing import VerifyKey

    def ed25519(key, message, signature):
        try:
            VerifyKey(key).verify(message, signature)
            return True
        except (BadSignature, ValueError):
            return False
except ModuleNotFoundError:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    def ed25519(key, message, signature):
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
            return True
        except (InvalidSignature, ValueError):
            return False


class Failed(Exception):
    """Something does not hold."""


def need(holds, what):
    if not holds:
        raise Failed(what)


def sha(data):
    return hashlib.sha256(data).digest()


def root(leaves):
    """RFC 6962 root over the leaves' bytes."""
    if not leaves:
        return sha(b"")
    # The right edge as (size, hash), merged while sizes are equal.
    edge = []
    for leaf in leaves:
        size, value = 1, sha(b"\0" + leaf)
        while edge and edge[-1][0] == size:
            value = sha(b"\1" + edge.pop()[1] + value)
            size *= 2
        edge.append((size, value))
    value = edge[-1][1]
    for _, left in reversed(edge[:-1]):
        value = sha(b"\1" + left + value)
    return value


# ---- Sections 1 and 3: files, notes ----

class Key:
    def __init__(self, text):
        self.name, ident, material = text.strip().split("+", 2)
        raw = base64.b64decode(material, validate=True)
        need(raw[0] == 1 and len(raw) == 33, "not a log's key")
        self.key = raw[1:]
        self.id = sha(self.name.encode() + b"\n" + raw)[:4]
        need(self.id.hex() == ident, "the key's id does not follow")


def open_note(text, key):
    body, _, lines = text.rpartition("\n\n")
    body += "\n"
    need(lines.endswith("\n"), "a note that is cut off")
    lines = lines[:-1].split("\n")
    own = 0
    for line in lines:
        dash, name, signature = line.split(" ")
        need(dash == "\u2014", "a signature line without its dash")
        raw = base64.b64decode(signature, validate=True)
        if name == key.name and raw[:4] == key.id:
            need(ed25519(key.key, body.encode(), raw[4:]), "a note's signature")
            own += 1
    need(own == 1, "a note that the log did not sign once")
    return body, len(lines)


def open_checkpoint(text, key):
    body, _ = open_note(text, key)
    origin, size, base = body.split("\n")[:3]
    need(origin == key.name, "a checkpoint of another log")
    return int(size), base64.b64decode(base)


def no_repeats(pairs):
    need(len(dict(pairs)) == len(pairs), "a key twice")
    return dict(pairs)


def parse(data):
    return json.loads(data, object_pairs_hook=no_repeats)


class Bundle:
    def __init__(self, folder, key):
        self.folder = Path(folder)
        manifest = (self.folder / "manifest.json").read_bytes()
        body, lines = open_note((self.folder / "manifest.sig").read_text(), key)
        need(lines == 1 and body == f"rochdale evidence bundle v1\n{sha(manifest).hex()}\n",
             "manifest.sig")
        self.manifest = parse(manifest)
        self.files = self.manifest["files"]
        there = {str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file()}
        need(there == set(self.files) | {"manifest.json", "manifest.sig"}, "files and manifest")
        for path, about in self.files.items():
            data = self.read(path)
            need(sha(data).hex() == about["sha256"] and len(data) == about["size"], path)
            need(not path.startswith("blobs/") or path == "blobs/" + about["sha256"], path)

    def read(self, path):
        return (self.folder / path).read_bytes()

    def names(self, folder):
        return [p[len(folder) + 1:] for p in self.files if p.startswith(folder + "/")]

    def json(self, path):
        return parse(self.read(path))


# ---- Section 4: the log ----

def tile_path(level, index, width):
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i:i + 3] for i in range(0, len(digits), 3)]
    path = "/".join(["x" + g for g in groups[:-1]] + groups[-1:])
    return f"log/tile/{level}/{path}" + (f".p/{width}" if width < 256 else "")


def read_log(bundle, key):
    size, signed = open_checkpoint(bundle.read("log/checkpoint").decode(), key)
    leaves, wanted = [], set()
    for index in range(-(-size // 256)):
        path = tile_path("entries", index, min(256, size - 256 * index))
        wanted.add(path)
        data, at = bundle.read(path), 0
        while at < len(data):
            length = int.from_bytes(data[at:at + 2], "big")
            leaves.append(data[at + 2:at + 2 + length])
            at += 2 + length
    need(len(leaves) == size and root(leaves) == signed, "the log's root")
    for level in itertools.count():
        span = 256 ** level
        nodes = [root(leaves[i:i + span]) for i in range(0, size // span * span, span)]
        if not nodes:
            break
        for index in range(0, -(-len(nodes) // 256)):
            part = nodes[256 * index:256 * index + 256]
            path = tile_path(level, index, len(part))
            wanted.add(path)
            need(bundle.read(path) == b"".join(part), path)
    need(wanted == {"log/tile/" + name for name in bundle.names("log/tile")}, "tiles")
    for name in bundle.names("log/checkpoints"):
        earlier = open_checkpoint(bundle.read("log/checkpoints/" + name).decode(), key)
        need(earlier == (int(name), root(leaves[:int(name)])), "log/checkpoints/" + name)
    return [Entry(i, leaf) for i, leaf in enumerate(leaves)]


HEADER = struct.Struct(">H16sqBHB16s16s16sH")
ZERO = bytes(16)


class Entry:
    def __init__(self, index, data):
        self.index, self.data = index, data
        (version, self.event, self.time, self.service, self.kind, self.link, self.cooperative,
         self.subject, self.authorised_by, count) = HEADER.unpack_from(data)
        need(version == 1 and self.event != ZERO and self.time >= 0, f"entry {index}")
        at, last, self.fields = HEADER.size, -1, {}
        for _ in range(count):
            tag, kind = struct.unpack_from(">HB", data, at)
            need(tag > last and 1 <= kind <= 4, f"entry {index}: fields")
            at, last = at + 3, tag
            if kind < 3:
                value = struct.unpack_from(">Q" if kind == 1 else ">q", data, at)[0]
                at += 8
            else:
                size = struct.unpack_from(">I", data, at)[0]
                value = data[at + 4:at + 4 + size]
                need(len(value) == size, f"entry {index}: cut off")
                value = value.decode() if kind == 4 else value
                at += 4 + size
            self.fields[tag] = value
        need(at == len(data), f"entry {index}: more bytes")


class Log:
    def __init__(self, entries):
        self.entries = entries
        self.events = {e.event: e for e in entries}
        need(len(self.events) == len(entries), "event ids repeat")
        self.about_ = {}
        for entry in entries:
            self.about_.setdefault((entry.kind, entry.subject), []).append(entry)

    def kind(self, number):
        return [e for e in self.entries if e.kind == number]

    def about(self, kind, subject):
        return self.about_.get((kind, subject), [])

    def only(self, kind, subject):
        found = self.about(kind, subject)
        need(len(found) == 1, f"one entry of kind {kind} about {subject.hex()}")
        return found[0]


def uuid_text(raw):
    h = raw.hex()
    return "-".join((h[:8], h[8:12], h[12:16], h[16:20], h[20:]))


def uuid_raw(text):
    return bytes.fromhex(text.replace("-", ""))


def derived_id(domain, *parts):
    data = b"ROCHDALEid1"
    for part in (domain.encode(), *parts):
        data += struct.pack(">I", len(part)) + part
    raw = bytearray(sha(data)[:16])
    raw[6] = raw[6] & 0x0f | 0x80
    raw[8] = raw[8] & 0x3f | 0x80
    return bytes(raw)


SLACK_US = 60_000_000  # of the clocks of services


def parameter_values(log, cooperative, name, initial, first, last):
    """What a cooperative's parameter may have been between these times, as the log has it."""
    values = {initial}
    for e in log.kind(110):
        if e.cooperative == cooperative and e.fields.get(32) == name:
            if e.time < first - SLACK_US:
                values = set()
            if e.time <= last + SLACK_US:
                values.add(e.fields[33])
    return values
