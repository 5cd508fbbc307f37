"""The Merkle tree of RFC 6962 and RFC 9162: SHA-256, leaf prefix 0x00, node prefix 0x01.

Verification is strict: ProofError unless a proof is exactly right.
"""

import hashlib

HASH_BYTES = 32
SIZE_MAX = 1 << 62


class ProofError(ValueError):
    """A Merkle proof does not hold; the message says why."""


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def empty_root() -> bytes:
    return hashlib.sha256(b"").digest()


class Frontier:
    """The right edge of a growing tree: append leaf hashes, ask for the root."""

    def __init__(self):
        self.size = 0
        self._subtrees = []  # (level, hash), largest first

    def append(self, leaf: bytes, sink=None) -> None:
        """`sink(level, index, hash)` is told of every perfect subtree completed, leaves first."""
        level, index, node = 0, self.size, leaf
        self.size += 1
        if sink is not None:
            sink(0, index, node)
        while self._subtrees and self._subtrees[-1][0] == level:
            node = node_hash(self._subtrees.pop()[1], node)
            level, index = level + 1, index >> 1
            if sink is not None:
                sink(level, index, node)
        self._subtrees.append((level, node))

    def root(self) -> bytes:
        if not self._subtrees:
            return empty_root()
        root = self._subtrees[-1][1]
        for _, left in reversed(self._subtrees[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaf_hashes) -> bytes:
    frontier = Frontier()
    for leaf in leaf_hashes:
        frontier.append(leaf)
    return frontier.root()


def _check_hashes(*lists) -> None:
    for hashes in lists:
        if any(len(value) != HASH_BYTES for value in hashes):
            raise ProofError("a hash has not 32 bytes")


def verify_inclusion(index: int, size: int, leaf: bytes, proof, root: bytes) -> None:
    """RFC 9162 2.1.3.2. ProofError unless the leaf hash is at `index` in the tree of `size`."""
    proof = [bytes(h) for h in proof]
    _check_hashes(proof, [leaf, root])
    if not 0 <= index < size < SIZE_MAX:
        raise ProofError(f"index {index} is not in a tree of {size}")
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("the proof has too many hashes")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            if not node & 1:
                while not (node & 1 or node == 0):
                    node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise ProofError("the proof has too few hashes")
    if result != root:
        raise ProofError("the proof leads to another root")


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes,
                       proof) -> None:
    """RFC 9162 2.1.4.2. ProofError unless the first tree is a prefix of the second."""
    proof = [bytes(h) for h in proof]
    _check_hashes(proof, [first_root, second_root])
    if not 0 < first <= second < SIZE_MAX:
        raise ProofError(f"nothing can be proved from size {first} to size {second}")
    if first == second:
        if proof or first_root != second_root:
            raise ProofError("trees of one size differ")
        return
    if first & (first - 1) == 0:
        proof = [first_root, *proof]
    if not proof:
        raise ProofError("the proof is empty")
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    left = right = proof[0]
    for sibling in proof[1:]:
        if last == 0:
            raise ProofError("the proof has too many hashes")
        if node & 1 or node == last:
            left, right = node_hash(sibling, left), node_hash(sibling, right)
            while not (node & 1 or node == 0):
                node, last = node >> 1, last >> 1
        else:
            right = node_hash(right, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise ProofError("the proof has too few hashes")
    if left != first_root or right != second_root:
        raise ProofError("the proof leads to another root")


def inclusion_proof(index: int, size: int, node) -> list:
    """RFC 9162 2.1.3.1 from `node(level, index)`, the hashes of perfect subtrees."""
    if not 0 <= index < size:
        raise ProofError(f"index {index} is not in a tree of {size}")
    proof, low, high = [], 0, size
    while high - low > 1:
        split = 1 << ((high - low - 1).bit_length() - 1)
        if index < low + split:
            proof.append(range_root(low + split, high, node))
            high = low + split
        else:
            proof.append(range_root(low, low + split, node))
            low += split
    return proof[::-1]


def range_root(begin: int, end: int, node) -> bytes:
    """The root over the leaves [begin, end) of a subtree, from `node(level, index)`."""
    count = end - begin
    if count == 0:
        return empty_root()
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, begin >> level)
    split = 1 << ((count - 1).bit_length() - 1)
    return node_hash(range_root(begin, begin + split, node),
                     range_root(begin + split, end, node))
