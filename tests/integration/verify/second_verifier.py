"""A second verifier, written from docs/evidence.md alone: it shares no code with the project.

    second_verifier.py BUNDLE VERIFIER_KEY      prints what it checked; exit status 1 where it fails
    second_verifier.py --sample PROGRAM         the same on the bundle that PROGRAM DIR writes, and
                                                on changed copies of it, which have to fail

Needs numpy (sums of products that are exact in any order) and PyNaCl or cryptography (Ed25519).
"""

import base64
import hashlib
import itertools
import json
import math
import shutil
import struct
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

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
        self.index = index
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


MUST_BE_ALLOWED_BY = {203: 108, 204: 203, 205: 203, 206: 203, 308: 205, 310: 205, 502: 501,
                      503: 502, 504: 502}


def check_authority(log):
    for entry in log.entries:
        wanted = MUST_BE_ALLOWED_BY.get(entry.kind)
        if entry.authorised_by == ZERO:
            need(wanted is None and (3 in entry.fields or entry.kind in (403, 111, 306, 405)),
                 f"entry {entry.index}: nothing allowed it")
        else:
            author = log.events.get(entry.authorised_by)
            need(author is not None and wanted in (None, author.kind),
                 f"entry {entry.index}: who allowed it")
        if entry.kind == 203:
            agent = log.only(103, entry.fields[11])
            need(agent.fields[19] == entry.fields[3] and agent.fields[10] == entry.fields[10],
                 f"entry {entry.index}: its signer")


def check_documents(bundle, log):
    bodies = {}
    for name in bundle.names("documents"):
        file = bundle.json("documents/" + name)
        body = base64.b64decode(file["body"], validate=True)
        kind = file["type"].encode()
        pae = b"ROCHDALEv1 %d %s %d %s" % (len(kind), kind, len(body), body)
        need(sha(pae).hex() + ".json" == name, name)
        need(ed25519(bytes.fromhex(file["public_key"]), pae, bytes.fromhex(file["signature"])),
             name)
        bodies[sha(pae)] = pae
    for entry in log.entries:
        if entry.fields.get(2) in bodies:
            need(ed25519(entry.fields[3], bodies[entry.fields[2]], entry.fields[4]),
                 f"entry {entry.index}: its signature")
    return len(bodies)


# ---- Section 5: decisions ----

VERDICTS = ["", "ALLOW", "PROJECT", "OBLIGE", "REVIEW", "DENY"]


def check_decisions(bundle, log):
    verdicts = {}
    for made in log.kind(205):
        need(made.subject not in verdicts, "an update decided twice")
        verdicts[made.subject] = made.fields[81]
        path = f"decisions/{uuid_text(made.subject)}.json"
        if path not in bundle.files:
            continue
        data = bundle.read(path)
        need(sha(data) == made.fields[54], path)
        body = parse(data)
        joined, reason = 1, ""
        for finding in body["findings"]:
            verdict = VERDICTS.index(finding["verdict"])
            if finding["reason"] == "RULE_ERROR":
                need(verdict == (5 if finding["scope"] == "FLOOR" else 4), path)
            elif "measured" in finding:
                measured, threshold = int(finding["measured"]), int(finding["threshold"])
                violated = (measured < threshold if finding["kind"] == "FIT"
                            else measured > threshold)
                need(violated == (verdict != 1), f"{path}: {finding['rule_id']}")
            need((verdict == 1) == (finding["reason"] == ""), path)
            if verdict > joined:
                joined, reason = verdict, finding["reason"]
        reason = {4: "REVIEW_EXPIRED", 5: reason}.get(joined, "")
        need(body["verdict"] == VERDICTS[joined] and joined == made.fields[81], path)
        need(body["reason"] == reason == made.fields.get(35, ""), path)
    for entry in log.kind(308) + log.kind(310):
        need(verdicts.get(entry.subject) in (1, 2, 3), f"entry {entry.index}: not admitted")
    return len(verdicts)


# ---- Section 6: rounds ----

def smallest(domain, seed, rows, count):
    keyed = sorted((sha(domain + seed + struct.pack(">I", r)), r) for r in rows)
    return sorted(r for _, r in keyed[:count])


def check_draw(evidence, rounds, log):
    split, seed = bytes.fromhex(evidence["split_seed"]), bytes.fromhex(evidence["seed"])
    commitment = sha(b"ROCHDALEcommit1" + split + bytes.fromhex(evidence["pool_sha256"]))
    need(any(e.fields.get(55) == commitment and e.fields[82] == evidence["pool_rows"]
             for e in log.kind(302)), "the pool's commitment")
    visible = set(smallest(b"ROCHDALEsplit1", split, range(evidence["pool_rows"]),
                           evidence["visible_rows"]))
    gone = set()
    for earlier in evidence["retired_rounds"]:
        need(rounds[earlier]["number"] < evidence["number"], "a retired round")
        gone.update(rounds[earlier]["rows"])
    eligible = [r for r in range(evidence["pool_rows"]) if r not in visible and r not in gone]
    need(smallest(b"ROCHDALEdraw1", seed, eligible, len(evidence["rows"])) == evidence["rows"],
         "the draw")


def safetensors(data):
    size = int.from_bytes(data[:8], "little")
    header, body = parse(data[8:8 + size]), data[8 + size:]
    types = {"F32": "<f4", "I32": "<i4", "U8": "u1", "I64": "<i8"}
    return {name: np.frombuffer(body[t["data_offsets"][0]:t["data_offsets"][1]],
                                types[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items()}


def checkpoint_bytes(tensors):
    """The one file of these parameters, in units of 2^-20."""
    header, data = {}, b""
    for name in sorted(tensors):
        raw = (tensors[name].astype(np.float64) * 2.0**-20).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


MAGIC = float.fromhex("0x1.8p+52")
LOG2E = float.fromhex("0x1.71547652b82fep+0")
LN2_HI = float.fromhex("0x1.62e42fefa38p-1")
LN2_LO = float.fromhex("0x1.ef35793c7673p-45")
SQRT2 = float.fromhex("0x1.6a09e667f3bcdp+0")
E = [float(Fraction(1, math.factorial(i))) for i in range(14)]
L = [float(Fraction(2, 2 * i + 1)) for i in range(11)]


def exact_exp(x):
    if x < -700:
        return 0.0
    k = (x * LOG2E + MAGIC) - MAGIC
    r = (x - k * LN2_HI) - k * LN2_LO
    p = E[13]
    for i in range(12, -1, -1):
        p = p * r + E[i]
    return math.ldexp(p, int(k))


def exact_log(s):
    m, e = math.frexp(s)  # 0.5 <= m < 1
    m, e = m * 2, e - 1
    if m >= SQRT2:
        m, e = m / 2, e + 1
    g = m - 1
    f = g / (g + 2)
    w = f * f
    q = L[10]
    for i in range(9, 0, -1):
        q = q * w + L[i]
    q = q * w
    return e * LN2_HI + ((g - f * (g - q)) + e * LN2_LO)


def losses(tensors, layers, inputs, labels):
    """Nano-nats of every row, for parameters in units of 2^-20."""
    h = inputs.astype(np.float64) / 256
    for layer in range(layers):
        w = tensors[f"{2 * layer}.weight"].astype(np.float64) * 2.0**-20
        b = tensors[f"{2 * layer}.bias"].astype(np.float64) * 2.0**-20
        z = h @ w.T + b
        h = np.rint(np.maximum(z, 0) * 2.0**16) * 2.0**-16
    result = []
    for row, label in zip(z.tolist(), labels.tolist()):
        top = max(row)
        d = [value - top for value in row]
        s = 0.0
        for value in d:
            s = s + exact_exp(value)
        result.append(int(((exact_log(s) - d[label]) * 1e9 + MAGIC) - MAGIC))
    return result


def half_even(units, n):
    quotient, rest = np.divmod(units.astype(np.int64), n)
    return quotient + ((2 * rest > n) | ((2 * rest == n) & (quotient % 2 != 0)))


def floor_mean(total, scale, rows):
    return total // (scale * rows)


def standard_error(x, scale):
    rows = len(x)
    spread = rows * sum(v * v for v in x) - sum(x) ** 2
    unit = scale * scale * rows * rows * (rows - 1)
    s = math.isqrt(spread // unit)
    while s * s * unit < spread:
        s += 1
    return s


def per_row(name, k, i, table, rows):
    """x_r and scale of an estimator; table[mask][row]."""
    bit, whole = 1 << i, (1 << k) - 1
    if name == "solo":
        return [table[0][r] - table[bit][r] for r in range(rows)], 1
    if name == "leave_one_out":
        return [table[whole & ~bit][r] - table[whole][r] for r in range(rows)], 1
    lcm = math.lcm(*(math.comb(k - 1, m) for m in range(k)))
    x = [0] * rows
    for mask in range(1 << k):
        if mask & bit:
            continue
        weight = lcm // math.comb(k - 1, bin(mask).count("1")) if name == "shapley" else 1
        for r in range(rows):
            x[r] += weight * (table[mask][r] - table[mask | bit][r])
    return x, k * lcm if name == "shapley" else 1 << (k - 1)


def recompute(evidence, blob):
    """Every number of a round again, from its blobs."""
    k, rows = len(evidence["updates"]), len(evidence["rows"])
    layers = len(evidence["model"]["layer_sizes"]) - 1

    def units(digest, scale):
        return {name: (t.astype(np.float64) * scale).astype(np.int64)
                for name, t in safetensors(blob(digest)).items()}

    base, best = units(evidence["base_sha256"], 2.0**20), units(evidence["best_sha256"], 2.0**20)
    steps = []
    for update in evidence["updates"]:
        u = units(update["effective_sha256"], 1)
        steps.append({name: half_even(t, evidence["lineages"]) for name, t in u.items()})
    data = safetensors(blob(evidence["rows_sha256"]))
    top = 2**23 - 1

    def theta(mask):
        return {name: np.clip(t + sum((steps[i][name] for i in range(k) if mask >> i & 1),
                                      np.zeros_like(t)), -top, top) for name, t in base.items()}

    masks = [int(m) for m in evidence.get("masks", range(1 << k))]
    table = {m: losses(theta(m), layers, data["inputs"], data["labels"]) for m in masks}
    best_losses = losses(best, layers, data["inputs"], data["labels"])
    need([sum(table[m]) for m in masks] == [int(s) for s in evidence["coalition_loss_sums"]],
         "coalition_loss_sums")
    need(sum(best_losses) == int(evidence["best_loss_sum"]), "best_loss_sum")
    leaves = [struct.pack(">QIq", m, r, table[m][r]) for m in masks for r in range(rows)]
    leaves += [struct.pack(">QIq", 2**64 - 1, r, best_losses[r]) for r in range(rows)]
    need(root(leaves).hex() == evidence["losses_root"], "losses_root")

    rule = evidence["credit_rule"]
    literal = rule["preset"] == "literal"
    paid = "solo" if literal else rule["estimator"]
    if k > 10 and not literal:
        paid = "leave_one_out" if paid == "leave_one_out" else "solo"
    z_gate, z_bound = rule["z_gate_micro"] // 10_000, rule["z_bound_micro"] // 10_000
    totals, errors, harmful, bounded = [], [], [], []
    for i in range(k):
        x, scale = per_row(paid, k, i, table, rows)
        t, s = sum(x), standard_error(x, scale)
        totals.append(t)
        errors.append(s)
        harmful.append(not literal and 100 * t + z_gate * s * scale * rows < 0)
        bounded.append(0 if harmful[i] else max(100 * t - z_bound * s * scale * rows, 0))
    applied = sum(1 << i for i in range(k) if not harmful[i])
    need(applied == int(evidence["applied_mask"]), "applied_mask")
    gain = max(0, sum(best_losses) - sum(table[applied])) * 100 * scale
    for i, credit in enumerate(evidence["credits"]):
        solo = floor_mean(sum(per_row("solo", k, i, table, rows)[0]), 1, rows)
        left = floor_mean(sum(per_row("leave_one_out", k, i, table, rows)[0]), 1, rows)
        value = max(solo, 0) if literal else 0
        if not literal and sum(bounded):
            value = (bounded[i] * min(sum(bounded), gain)
                     // (sum(bounded) * 100 * scale * rows))
        need(credit == {"update_id": evidence["updates"][i]["update_id"],
                        "credit_nanonats": value,
                        "estimate_nanonats": floor_mean(totals[i], scale, rows),
                        "standard_error_nanonats": errors[i], "solo_nanonats": solo,
                        "leave_one_out_nanonats": left, "harmful": harmful[i]},
             f"credit of update {i}")
    need(sha(checkpoint_bytes(theta(applied))).hex() == evidence["next_sha256"], "next_sha256")


def check_rounds(bundle, log):
    rounds = {}
    for made in log.kind(309):
        path = f"rounds/{uuid_text(made.subject)}.json"
        if path not in bundle.files:
            continue
        need(sha(bundle.read(path)) == made.fields[50], path)
        rounds[uuid_text(made.subject)] = bundle.json(path)
    recomputed = 0
    for name, evidence in rounds.items():
        opened = log.only(303, uuid_raw(name))
        need(sha(bytes.fromhex(evidence["seed"])) == opened.fields[60], f"{name}: seed")
        check_draw(evidence, rounds, log)
        wanted = [evidence["base_sha256"], evidence["best_sha256"], evidence["rows_sha256"]]
        wanted += [u["effective_sha256"] for u in evidence["updates"]]
        if all("blobs/" + digest in bundle.files for digest in wanted):
            recompute(evidence, lambda digest: bundle.read("blobs/" + digest))
            recomputed += 1
        for credit in evidence["credits"]:
            entry = log.only(308, uuid_raw(credit["update_id"]))
            need(entry.fields[85] == credit["credit_nanonats"], "CREDIT_ASSIGNED")
            file = bundle.json(f"credits/{credit['update_id']}.json")
            need((file["credit_nanonats"], file["log_index"], file["round_id"])
                 == (credit["credit_nanonats"], entry.index, name), "credits/")
    return len(rounds), recomputed


# ---- Sections 7 and 8: money ----

def check_money(log):
    balances, accounts = {}, {}
    for entry in log.entries:
        if entry.kind == 401:
            need(entry.subject not in accounts, "an account opened twice")
            accounts[entry.subject], balances[entry.subject] = entry.fields, 0
        if entry.kind != 402:
            continue
        debit, credit, amount = (entry.fields[t] for t in (100, 101, 102))
        need(accounts[debit][108] == accounts[credit][108] and debit != credit and amount > 0,
             f"entry {entry.index}")
        balances[debit] -= amount
        balances[credit] += amount
        floor = accounts[debit][109]
        need(balances[debit] >= floor or floor == -2**63, f"entry {entry.index}: below the floor")
        need(floor != -2**63 or entry.fields[103] == 12, f"entry {entry.index}: minted later")
        need((entry.fields[103] == 3) == (log.events[entry.authorised_by].kind == 503),
             f"entry {entry.index}: rewards and statements")
    need(len(log.kind(402)) == len({e.subject for e in log.kind(402)}), "a transfer posted twice")
    need(sum(balances.values()) == 0, "debits and credits")


def check_epochs(log):
    counted, cumulative = set(), {}
    for closed in sorted(log.kind(502), key=lambda e: (e.fields[16], e.fields[92])):
        where = f"epoch {uuid_text(closed.subject)}"
        statements = sorted((e for e in log.kind(503) if e.fields[15] == closed.subject),
                            key=lambda e: e.fields[10])
        revenue, total = closed.fields[102], closed.fields[85]
        leaves, remainders, shares = [], [], {}
        for s in statements:
            packed = s.fields[111]
            credits = [log.events[packed[i:i + 16]] for i in range(0, len(packed), 16)]
            need(all(c.kind == 308 and c.fields[10] == s.fields[10] and c.event not in counted
                     for c in credits), where)
            counted.update(c.event for c in credits)
            need(sum(c.fields[85] for c in credits) == s.fields[85], where)
            need(s.fields[17] == derived_id("payout/account", s.fields[10]), where)
            quotient, rest = divmod(revenue * s.fields[85], total) if total else (0, 0)
            shares[s.event] = quotient
            remainders.append((-rest, s.fields[17], s.event))
        left = revenue - sum(shares.values())
        for _, _, event in sorted(remainders)[:left]:
            shares[event] += 1
        need(sum(s.fields[85] for s in statements) == total, where)
        need(sum(s.fields[102] for s in statements) == revenue, where)
        for s in statements:
            need(shares[s.event] == s.fields[102], f"{where}: a share")
            rewards = [e for e in log.kind(402) if e.authorised_by == s.event]
            need([e.fields[102] for e in rewards] == [s.fields[102]] * (s.fields[102] > 0),
                 f"{where}: paid once")
            so_far = cumulative[closed.fields[16], s.fields[10]] = (
                cumulative.get((closed.fields[16], s.fields[10]), 0) + s.fields[102])
            leaves.append(s.fields[10] + struct.pack(">Q", so_far))
        if revenue:
            settled = log.only(504, closed.subject)
            need(settled.fields[102] == revenue and settled.fields[65] == root(leaves),
                 f"{where}: EPOCH_SETTLED")
    return len(log.kind(502))


def verify(folder, key_text):
    key = Key(key_text)
    bundle = Bundle(folder, key)
    need(Key(bundle.read("log/origin.vkey").decode()).id == key.id, "log/origin.vkey")
    log = Log(read_log(bundle, key))
    need(log.entries[0].kind == 403 and log.entries[0].fields[19] == key.key, "LOG_STARTED")
    check_authority(log)
    documents = check_documents(bundle, log)
    decisions = check_decisions(bundle, log)
    rounds, recomputed = check_rounds(bundle, log)
    check_money(log)
    epochs = check_epochs(log)
    return (f"{len(bundle.files)} files, {len(log.entries)} entries, {documents} documents, "
            f"{decisions} decisions, {rounds} rounds ({recomputed} evaluated again), "
            f"{epochs} epochs")


def sample(program):
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        bundle.mkdir()
        key = subprocess.run([program, bundle], check=True, capture_output=True,
                             text=True).stdout.strip()
        said = verify(bundle, key)
        print(said)
        need("2 rounds (2 evaluated again), 2 epochs" in said, "something was not looked at")
        files = sorted(p for p in bundle.rglob("*") if p.is_file())
        for path in files[:: max(1, len(files) // 12)]:
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            try:
                verify(bundle, key)
            except (Failed, ValueError, KeyError, IndexError, struct.error):
                path.write_bytes(data)
                continue
            raise Failed(f"a changed bit of {path.name} was not found")
        for fault in subprocess.run([program, "--faults"], check=True, capture_output=True,
                                    text=True).stdout.split():
            shutil.rmtree(bundle)
            bundle.mkdir()
            subprocess.run([program, bundle, fault], check=True, capture_output=True)
            try:
                verify(bundle, key)
            except Failed as why:
                print(f"fault {fault}: {why}")
                continue
            raise Failed(f"fault {fault} was not found")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        if sys.argv[1] == "--sample":
            sample(sys.argv[2])
        else:
            print(verify(sys.argv[1], sys.argv[2]))
    except Failed as why:
        sys.exit(f"FAILED: {why}")


if __name__ == "__main__":
    main()
