"""The second verifier's rounds: the draw, the exact evaluator, credits (section 6 of
docs/evidence.md)."""

import base64
import json
import math
import struct
from fractions import Fraction

import numpy as np

import second_lineages
import second_models
import second_values
from second_basics import need, parse, root, sha, uuid_raw, uuid_text


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


def cross_entropy(logits, label):
    top = max(logits)
    d = [value - top for value in logits]
    s = 0.0
    for value in d:
        s = s + exact_exp(value)
    return int(((exact_log(s) - d[label]) * 1e9 + MAGIC) - MAGIC)


def losses(tensors, model, inputs, labels):
    """Nano-nats of every row, for parameters in units of 2^-20."""
    labels = labels.tolist()
    if model["kind"] == "CHARACTER_TRANSFORMER":
        logits = second_models.transformer_logits(tensors, model, inputs, exact_exp).tolist()
        targets = [[*row[1:], label] for row, label in zip(inputs.tolist(), labels)]
        return [round(Fraction(sum(map(cross_entropy, at, wanted)), len(at)))
                for at, wanted in zip(logits, targets)]
    if model["kind"] == "CONVNET":
        logits = second_models.convnet_logits(tensors, model, inputs)
    else:
        names = [str(2 * layer) for layer in range(len(model["layer_sizes"]) - 1)]
        logits = second_models.linear_layers(tensors, names, inputs / 256)
    return list(map(cross_entropy, logits.tolist(), labels))


def half_even(units, n):
    quotient, rest = np.divmod(units.astype(np.int64), n)
    return quotient + ((2 * rest > n) | ((2 * rest == n) & (quotient % 2 != 0)))


def robust_step(aggregation, members, n):
    """Agg(S) of a robust rule; members are the updates of S."""
    s = len(members)
    rule, trim_bp = aggregation["rule"], aggregation["trim_bp"]
    if rule == "multi_krum":
        f = s * trim_bp // 10_000
        if f > 0 and s >= 2 * f + 3:
            def distance(a, b):
                return sum(int(d) ** 2 for name in a for d in (a[name] - b[name]).ravel())
            scores = []
            for i, a in enumerate(members):
                others = sorted(distance(a, b) for j, b in enumerate(members) if j != i)
                scores.append((sum(others[:s - f - 2]), i))
            members = [members[i] for _, i in sorted(scores)[:s - f]]
    step = {}
    for name in members[0] if members else ():
        values = np.sort(np.stack([u[name] for u in members]), axis=0)
        if rule == "trimmed_mean":
            b = s * trim_bp // 10_000
            values = values[b:s - b]
        elif rule == "median" and s >= 3:
            values = values[(s - 1) // 2:s // 2 + 1]
        step[name] = half_even(values.sum(axis=0) * s, len(values) * n)
    return step


def weights_fit(sizes, shares, unit):
    """Whether floor(unit size / sum) = share for one and the same sum."""
    low, high = max(sum(sizes), 1), None
    for size, share in zip(sizes, shares):
        if size == 0:
            need(share == 0, "a share of nothing")
            continue
        low = max(low, unit * size // (share + 1) + 1)
        if share:
            high = unit * size // share if high is None else min(high, unit * size // share)
    return high is None or low <= high


def check_weights(evidence, rounds, log, samples):
    aggregation = evidence.get("aggregation", {"rule": "mean"})
    if aggregation["rule"] == "sample_weighted":
        known = [(samples(u["update_id"]), share)
                 for u, share in zip(evidence["updates"], aggregation["shares"])]
        known = [pair for pair in known if pair[0]]
        need(weights_fit([s for s, _ in known], [f for _, f in known], 2**30), "shares")
    if aggregation["rule"] == "credit_weighted":
        earned = {}
        for earlier in rounds.values():
            if earlier["number"] < evidence["number"]:
                for u, credit in zip(earlier["updates"], earlier["credits"]):
                    earned[u["principal_id"]] = (earned.get(u["principal_id"], 0)
                                                 + credit["credit_nanonats"])
        sizes = [earned.get(u["principal_id"], 0) for u in evidence["updates"]]
        shares, n = aggregation["shares"], evidence["lineages"]
        if not any(sizes) and shares == [2**30 // n] * len(shares):
            return
        rest = [share - 2**29 // n for share in shares]
        need(min(rest) >= 0 and weights_fit(sizes, rest, 2**29), "shares")


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


def permutations(k, pairs, seed):
    """The round's permutations: each drawn one, then its reverse."""
    key = sha(b"ROCHDALEperm1" + seed)
    words, block = [], 0
    orders = []

    def uniform(m):
        nonlocal block
        while True:
            if not words:
                data = sha(b"ROCHDALE-PERMv1" + key + struct.pack(">Q", block))
                words.extend(struct.unpack(">8I", data))
                block += 1
            word = words.pop(0)
            if word < 2**32 // m * m:
                return word % m

    for _ in range(pairs):
        order = list(range(k))
        for i in range(k - 1, 0, -1):
            j = uniform(i + 1)
            order[i], order[j] = order[j], order[i]
        orders += [order, order[::-1]]
    return orders


def joins(order, i):
    """The coalition before i comes, and with it."""
    before = sum(1 << j for j in order[:order.index(i)])
    return before, before | 1 << i


def pair_errors(k, orders, sums, rows):
    """s_pairs of every update."""
    errors = []
    for i in range(k):
        gains = [sums[a] - sums[b] for a, b in (joins(order, i) for order in orders)]
        by_pair = [1000 * (gains[p] + gains[p + 1]) // rows for p in range(0, len(gains), 2)]
        errors.append(standard_error(by_pair, 2000))
    return errors


def check_sampling(k, rule, seed, sums, rows):
    """Sampling goes on while it has to; the permutations it ends with."""
    orders = permutations(k, rule["pairs"], seed)
    pairs = min(rule["pairs_min"], rule["pairs_max"])
    while pairs < rule["pairs_max"] and pairs <= rule["pairs"]:
        if max(pair_errors(k, orders[:2 * pairs], sums, rows)) <= rule["error_max_nanonats"]:
            break
        pairs = min(2 * pairs, rule["pairs_max"])
    need(pairs == rule["pairs"], "the stage where sampling ends")
    return orders


def expected_masks(k, orders, applied):
    whole = (1 << k) - 1
    masks = {0, whole, applied}
    masks.update(1 << i for i in range(k))
    masks.update(whole & ~(1 << i) for i in range(k))
    for order in orders:
        masks.update(joins(order, i)[1] for i in order)
    return sorted(masks)


def per_row(name, k, i, table, rows, orders=()):
    """x_r and scale of an estimator; table[mask][row]."""
    bit, whole = 1 << i, (1 << k) - 1
    if name == "solo":
        return [table[0][r] - table[bit][r] for r in range(rows)], 1
    if name == "leave_one_out":
        return [table[whole & ~bit][r] - table[whole][r] for r in range(rows)], 1
    if orders:
        steps = [joins(order, i) for order in orders]
        return [sum(table[a][r] - table[b][r] for a, b in steps) for r in range(rows)], len(orders)
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
    model = evidence["model"]

    def units(digest, scale):
        return {name: (t.astype(np.float64) * scale).astype(np.int64)
                for name, t in safetensors(blob(digest)).items()}

    base, best = units(evidence["base_sha256"], 2.0**20), units(evidence["best_sha256"], 2.0**20)
    aggregation = evidence.get("aggregation", {"rule": "mean"})
    weighted = aggregation["rule"] in ("sample_weighted", "credit_weighted")
    robust = aggregation["rule"] in ("trimmed_mean", "median", "multi_krum")
    need(robust or weighted or aggregation == {"rule": "mean"}, "the aggregation rule")
    need(not weighted or sum(aggregation["shares"]) <= 2**30, "shares")
    raw = [units(update["effective_sha256"], 1) for update in evidence["updates"]]
    steps = []
    for i, u in enumerate(raw):
        by, n = (aggregation["shares"][i], 2**30) if weighted else (1, evidence["lineages"])
        steps.append({name: half_even(t * by, n) for name, t in u.items()})
    data = safetensors(blob(evidence["rows_sha256"]))
    top = 2**23 - 1

    def theta(mask):
        members = [i for i in range(k) if mask >> i & 1]
        if robust:
            step = robust_step(aggregation, [raw[i] for i in members], evidence["lineages"])
        else:
            step = {name: sum((steps[i][name] for i in members), np.zeros_like(t))
                    for name, t in base.items()}
        return {name: np.clip(t + step.get(name, 0), -top, top) for name, t in base.items()}

    masks = [int(m) for m in evidence.get("masks", range(1 << k))]
    deadband = model.get("deadband_nanonats", 0)
    if model["kind"] == "TORCHSCRIPT":  # the recorded ones; the module is not run here
        recorded = np.frombuffer(blob(evidence["losses_sha256"]), "<i8").tolist()
        need(len(recorded) == (len(masks) + 1) * rows, "the recorded losses")
        *of_masks, best_losses = (recorded[at:at + rows] for at in range(0, len(recorded), rows))
        table = dict(zip(masks, of_masks))
    else:
        table = {m: losses(theta(m), model, data["inputs"], data["labels"]) for m in masks}
        best_losses = losses(best, model, data["inputs"], data["labels"])
    need([sum(table[m]) for m in masks] == [int(s) for s in evidence["coalition_loss_sums"]],
         "coalition_loss_sums")
    need(sum(best_losses) == int(evidence["best_loss_sum"]), "best_loss_sum")
    leaves = [struct.pack(">QIq", m, r, table[m][r]) for m in masks for r in range(rows)]
    leaves += [struct.pack(">QIq", 2**64 - 1, r, best_losses[r]) for r in range(rows)]
    need(root(leaves).hex() == evidence["losses_root"], "losses_root")

    rule = evidence["credit_rule"]
    literal = rule["preset"] == "literal"
    paid = "solo" if literal else rule["estimator"]
    orders = []
    if k > 10:
        if not literal and paid in ("shapley", "banzhaf"):
            paid = "shapley"
            sums = {m: sum(table[m]) for m in masks}
            orders = check_sampling(k, rule["sampling"], bytes.fromhex(evidence["seed"]), sums,
                                    rows)
            over_pairs = pair_errors(k, orders, sums, rows)
        need(masks == expected_masks(k, orders, int(evidence["applied_mask"])), "masks")
    z_gate, z_bound = rule["z_gate_micro"] // 10_000, rule["z_bound_micro"] // 10_000
    totals, errors, harmful, lower = [], [], [], []
    for i in range(k):
        x, scale = per_row(paid, k, i, table, rows, orders)
        t, s = sum(x), standard_error(x, scale)
        if orders:
            square = s * s + over_pairs[i] ** 2
            s = math.isqrt(square) + (math.isqrt(square) ** 2 < square)
        totals.append(t)
        errors.append(s)
        t = 0 if abs(t) < deadband * scale * rows else t
        harmful.append(not literal and 100 * t + z_gate * s * scale * rows < 0)
        lower.append(max(100 * t - z_bound * s * scale * rows, 0))
    gate = sum(1 << i for i in range(k) if not harmful[i])
    applied = second_values.kept(gate, evidence.get("values"))
    need(applied == int(evidence["applied_mask"]), "applied_mask")
    bounded = [lower[i] if applied >> i & 1 else 0 for i in range(k)]
    gain = sum(best_losses) - sum(table[applied])
    gain = 0 if gain < deadband * rows else max(0, gain) * 100 * scale
    for i, credit in enumerate(evidence["credits"]):
        solo = floor_mean(sum(per_row("solo", k, i, table, rows)[0]), 1, rows)
        left = floor_mean(sum(per_row("leave_one_out", k, i, table, rows)[0]), 1, rows)
        value = max(solo, 0) if literal and applied >> i & 1 and solo >= deadband else 0
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


def signed(bundle, entry):
    """The body of the document that an entry names; None where it is not exported."""
    path = f"documents/{entry.fields[2].hex()}.json"
    return parse(base64.b64decode(bundle.json(path)["body"])) if path in bundle.files else None


def sample_count(bundle, log, update):
    """As the agent signed it; 0 where its commitment is not exported."""
    body = signed(bundle, log.only(203, uuid_raw(update))) or {}
    return int(body.get("sampleCount", body.get("sample_count", 0)))


def genesis(bundle, log, cooperative):
    return signed(bundle, log.only(101, cooperative))


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
        second_lineages.check(evidence, uuid_raw(name), log)
        second_values.check_bounds(evidence, uuid_raw(name), log,
                                   lambda cooperative: genesis(bundle, log, cooperative))
        second_values.check_reasons(evidence, log)
        check_weights(evidence, rounds, log, lambda update: sample_count(bundle, log, update))
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
