"""Log entries: the canonical bytes that are the leaves of the Merkle tree.

Layout, all integers big-endian, at most 65,535 bytes in all:
    version u16 = 1 | event_id 16 | time_us i64 | service u8 | kind u16 | link u8 |
    cooperative 16 | subject 16 | authorised_by 16 | field count u16 |
    fields in strictly increasing order of tag:
        tag u16 | type u8 (1 u64, 2 i64, 3 bytes, 4 text) | 8 bytes, or length u32 and data
"""

import dataclasses
import struct
import uuid

from rochdale.protos import entry_table

VERSION = 1
BYTES_MAX = 65_535
U64, I64, BYTES, TEXT = 1, 2, 3, 4
_HEADER = struct.Struct(">H16sqBHB16s16s16sH")
_ZERO = bytes(16)

KIND_NUMBERS = {row[0]: number for number, row in entry_table.KINDS.items()}
TAG_NUMBERS = {row[0]: number for number, row in entry_table.TAGS.items()}
# Fields that are packed ids, 16 bytes each.
ID_LISTS = ("credit_entries", "counterparties")


class Signed(int):
    """An i64 under a tag that is not in the table: what else would say so where it is positive?"""


class EntryError(ValueError):
    """The bytes are not a canonical log entry."""


def _uuid(raw: bytes) -> str:
    """Text form; empty for the zero id, which stands for none."""
    return "" if raw == _ZERO else str(uuid.UUID(bytes=raw))


def _raw(text: str) -> bytes:
    return uuid.UUID(text).bytes if text else _ZERO


@dataclasses.dataclass(frozen=True)
class Entry:
    """A decoded entry. Ids are UUID texts, empty where zero; `fields` maps tag names to integers,
    bytes or texts (unknown tags: "tag_<number>")."""
    event_id: str
    time_us: int
    service: str
    kind: str
    link: str
    cooperative: str
    subject: str
    authorised_by: str
    fields: dict

    def id(self, name: str) -> str:
        """A field that holds an id; empty where absent."""
        return _uuid(self.fields.get(name, _ZERO))

    def hex(self, name: str) -> str:
        """A field of bytes, hexadecimal; empty where absent."""
        return self.fields.get(name, b"").hex()

    def ids(self, name: str) -> list:
        """A field of packed ids."""
        packed = self.fields.get(name, b"")
        return [_uuid(packed[i:i + 16]) for i in range(0, len(packed), 16)]

    def to_dict(self) -> dict:
        """For people and JSON: bytes in hexadecimal, ids as UUIDs."""
        shown = {}
        for name, value in self.fields.items():
            if name in ID_LISTS:
                shown[name] = self.ids(name)
            elif isinstance(value, bytes):
                size = entry_table.TAGS.get(TAG_NUMBERS.get(name, 0), ("", 0, 0))[2]
                shown[name] = _uuid(value) if size == 16 else value.hex()
            else:
                shown[name] = value
        return {**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)},
                "fields": shown}


def _fields(data: bytes, count: int) -> dict:
    fields, at, last = {}, _HEADER.size, -1
    for _ in range(count):
        if at + 3 > len(data):
            raise EntryError("cut off in a field")
        tag, kind = struct.unpack_from(">HB", data, at)
        at += 3
        if tag <= last:
            raise EntryError("tags do not increase")
        last = tag
        if kind in (U64, I64):
            if at + 8 > len(data):
                raise EntryError("cut off in a number")
            (value,) = struct.unpack_from(">Q" if kind == U64 else ">q", data, at)
            at += 8
            if kind == I64 and tag not in entry_table.TAGS:
                value = Signed(value)
        elif kind in (BYTES, TEXT):
            if at + 4 > len(data):
                raise EntryError("cut off in a length")
            (length,) = struct.unpack_from(">I", data, at)
            at += 4
            if length > len(data) - at:
                raise EntryError("cut off in a value")
            value = data[at:at + length]
            at += length
            if kind == TEXT:
                try:
                    value = value.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise EntryError("a text is not UTF-8") from error
        else:
            raise EntryError(f"no type of field has the number {kind}")
        name, wanted, size = entry_table.TAGS.get(tag, (f"tag_{tag}", kind, 0))
        if wanted != kind or (size and kind == BYTES and len(value) != size) or (
                name in ID_LISTS and len(value) % 16):
            raise EntryError(f"field {name} has a wrong type or size")
        fields[name] = value
    if at != len(data):
        raise EntryError("bytes follow the last field")
    return fields


def decode(data: bytes) -> Entry:
    """EntryError for anything but the canonical bytes of an entry."""
    data = bytes(data)
    if not _HEADER.size <= len(data) <= BYTES_MAX:
        raise EntryError(f"an entry has {_HEADER.size} to {BYTES_MAX} bytes")
    (version, event, time_us, service, kind, link, cooperative, subject, authorised,
     count) = _HEADER.unpack_from(data)
    if version != VERSION:
        raise EntryError(f"version {version} is unknown")
    if event == _ZERO or time_us < 0:
        raise EntryError("an entry has an event id and a time that is not negative")
    if service not in entry_table.SERVICES or link not in entry_table.LINKS:
        raise EntryError("unknown service or link")
    fields = _fields(data, count)
    name, own_service, own_link, _ = entry_table.KINDS.get(
        kind, (f"KIND_{kind}", service, link, ""))
    if (own_service, own_link) != (service, link):
        raise EntryError(f"{name} belongs to another service or link")
    return Entry(_uuid(event), time_us, entry_table.SERVICES[service], name,
                 entry_table.LINKS[link], _uuid(cooperative), _uuid(subject), _uuid(authorised),
                 fields)


def _encode_field(name: str, value) -> bytes:
    tag = TAG_NUMBERS.get(name)
    if tag is None:
        tag = int(name.removeprefix("tag_"))
    kind = entry_table.TAGS[tag][1] if tag in entry_table.TAGS else (
        TEXT if isinstance(value, str) else BYTES if isinstance(value, bytes)
        else I64 if isinstance(value, Signed) else U64)
    if kind in (U64, I64):
        return struct.pack(">HB" + ("Q" if kind == U64 else "q"), tag, kind, value)
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(">HBI", tag, kind, len(raw)) + raw


def encode(entry: Entry) -> bytes:
    """The canonical bytes, for tests and tools."""
    numbers = {name: number for number, name in entry_table.SERVICES.items()}
    links = {name: number for number, name in entry_table.LINKS.items()}
    kind = KIND_NUMBERS.get(entry.kind) or int(entry.kind.removeprefix("KIND_"))
    parts = sorted((_encode_field(n, v) for n, v in entry.fields.items()), key=lambda p: p[:2])
    return _HEADER.pack(VERSION, _raw(entry.event_id), entry.time_us, numbers[entry.service],
                        kind, links[entry.link], _raw(entry.cooperative),
                        _raw(entry.subject), _raw(entry.authorised_by),
                        len(parts)) + b"".join(parts)
