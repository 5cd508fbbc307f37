"""C2SP tlog-tiles (c2sp.org/tlog-tiles): the static files in which a log is published.

A hash tile at (level, index) holds up to 256 hashes: the tree's nodes at tree level 8 * level from
node 256 * index on. An entry bundle holds the entries of the level-0 tile of its index, each with
its length as u16.
"""

import collections

from rochdale import merkle

HEIGHT = 8
WIDTH = 1 << HEIGHT
LEVELS = 8
CACHE_TILES = 64


class TileError(ValueError):
    """A tile is missing or is not what the tree says."""


def path(level, index: int, width: int = WIDTH) -> str:
    """"tile/<L>/<N>[.p/<W>]"; `level` is a number or "entries"."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[i:i + 3] for i in range(0, len(digits), 3)]
    number = "/".join([*("x" + g for g in groups[:-1]), groups[-1]])
    return f"tile/{level}/{number}" + (f".p/{width}" if width < WIDTH else "")


def entry_bundle(entries) -> bytes:
    return b"".join(len(e).to_bytes(2, "big") + e for e in entries)


def parse_entry_bundle(data: bytes, width: int) -> list:
    """TileError unless the bytes are exactly `width` entries."""
    entries, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at:at + 2], "big")
        if at + 2 + size > len(data):
            raise TileError("an entry bundle is cut off")
        entries.append(data[at + 2:at + 2 + size])
        at += 2 + size
    if len(entries) != width:
        raise TileError(f"an entry bundle has {len(entries)} entries, not {width}")
    return entries


class TileWriter:
    """Writes a log's tiles as its entries come, in bounded memory.
    `write(path, bytes)` is called once per file; finish() writes the partial tiles."""

    def __init__(self, write):
        self._write, self._frontier = write, merkle.Frontier()
        self._entries: list = []
        self._hashes = [[] for _ in range(LEVELS)]

    @property
    def size(self) -> int:
        return self._frontier.size

    def root(self) -> bytes:
        return self._frontier.root()

    def append(self, entry: bytes) -> None:
        index = self._frontier.size // WIDTH
        self._frontier.append(merkle.leaf_hash(entry), self._take)
        self._entries.append(entry)
        if len(self._entries) == WIDTH:
            self._write(path("entries", index), entry_bundle(self._entries))
            self._entries = []

    def _take(self, level: int, index: int, node: bytes) -> None:
        if level % HEIGHT:
            return
        tile = self._hashes[level // HEIGHT]
        tile.append(node)
        if len(tile) == WIDTH:
            self._write(path(level // HEIGHT, index // WIDTH), b"".join(tile))
            tile.clear()

    def finish(self) -> None:
        size = self._frontier.size
        if self._entries:
            self._write(path("entries", size // WIDTH, len(self._entries)),
                        entry_bundle(self._entries))
        for level, tile in enumerate(self._hashes):
            if tile:
                self._write(path(level, (size >> (HEIGHT * level)) // WIDTH, len(tile)),
                            b"".join(tile))


class TileReader:
    """Reads the tree of `size` leaves from `fetch(path) -> bytes`. Entries are checked against
    their leaf hashes; hashes are as good as the files, so compare root() with a signed one."""

    def __init__(self, size: int, fetch):
        self.size, self._fetch = size, fetch
        self._tiles: collections.OrderedDict = collections.OrderedDict()

    def _width(self, level: int, index: int) -> int:
        return max(0, min(WIDTH, (self.size >> (HEIGHT * level)) - index * WIDTH))

    def _tile(self, level: int, index: int) -> bytes:
        key = (level, index)
        if key not in self._tiles:
            width = self._width(level, index)
            data = self._fetch(path(level, index, width))
            if width == 0 or len(data) != width * merkle.HASH_BYTES:
                raise TileError(f"{path(level, index, width)} has {len(data)} bytes")
            self._tiles[key] = data
            if len(self._tiles) > CACHE_TILES:
                self._tiles.popitem(last=False)
        self._tiles.move_to_end(key)
        return self._tiles[key]

    def node(self, level: int, index: int) -> bytes:
        """The root of the perfect subtree whose first leaf is index << level."""
        tile_level, above = divmod(level, HEIGHT)
        first, count = index << above, 1 << above
        tile = self._tile(tile_level, first // WIDTH)
        at = first % WIDTH
        hashes = [tile[32 * i:32 * (i + 1)] for i in range(at, at + count)]
        if any(len(h) != 32 for h in hashes):
            raise TileError(f"node {index} of level {level} is not in the tree of {self.size}")
        return merkle.root_of(hashes)

    def root(self) -> bytes:
        return merkle.range_root(0, self.size, self.node)

    def inclusion_proof(self, index: int) -> list:
        return merkle.inclusion_proof(index, self.size, self.node)

    def bundle(self, index: int) -> list:
        """The entries of one bundle, checked."""
        width = self._width(0, index)
        name = path("entries", index, width)
        entries = parse_entry_bundle(self._fetch(name), width)
        tile = self._tile(0, index)
        for number, data in enumerate(entries):
            if merkle.leaf_hash(data) != tile[32 * number:32 * (number + 1)]:
                raise TileError(f"{name}: entry {index * WIDTH + number} is not the tree's")
        return entries

    def entries(self):
        """(index, bytes) of every entry, in order."""
        for index in range(-(-self.size // WIDTH)):
            for number, data in enumerate(self.bundle(index)):
                yield index * WIDTH + number, data
