"""A second verifier, written from docs/evidence.md alone: it shares no code with the project.

    second_verifier.py BUNDLE VERIFIER_KEY      prints what it checked; exit status 1 where it fails
    second_verifier.py --sample PROGRAM         the same on the bundle that PROGRAM DIR writes, and
                                                on changed copies of it, which have to fail

Needs numpy (sums of products that are exact in any order) and PyNaCl or cryptography (Ed25519).
"""

import base64
import json
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from second_basics import (ZERO, Bundle, Failed, Key, Log, derived_id, ed25519, need, parse,
                           read_log, root, sha, uuid_raw, uuid_text)
from second_comparisons import check_comparisons
from second_money import check_money
from second_orders import Document, check_orders, check_restarts
from second_rounds import check_rounds

MUST_BE_ALLOWED_BY = {203: 108, 204: 203, 205: 203, 206: 203, 308: 205, 310: 205, 502: 501,
                      503: 502, 504: 502,
                      314: 313}


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
        bodies[sha(pae)] = Document(file["type"], body, pae)
    for entry in log.entries:
        if entry.fields.get(2) in bodies:
            need(ed25519(entry.fields[3], bodies[entry.fields[2]].signed, entry.fields[4]),
                 f"entry {entry.index}: its signature")
    return bodies


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
            if "rows" in finding or "of_rows" in finding:
                need(finding["kind"] == "VALUE_EFFECT" and finding["scope"] == "PRINCIPAL" and
                     finding["reason"] != "RULE_ERROR", f"{path}: it may not stop early")
                need(1 <= finding["rows"] <= finding["of_rows"] // 2, f"{path}: rows")
                probe = log.only(202, uuid_raw(finding["probe_id"]))
                need(probe.fields[82] == finding["of_rows"], f"{path}: rows of the probe")
            if verdict > joined:
                joined, reason = verdict, finding["reason"]
        reason = {4: "REVIEW_EXPIRED", 5: reason}.get(joined, "")
        need(body["verdict"] == VERDICTS[joined] and joined == made.fields[81], path)
        need(body["reason"] == reason == made.fields.get(35, ""), path)
    for entry in log.kind(308) + log.kind(310):
        need(verdicts.get(entry.subject) in (1, 2, 3), f"entry {entry.index}: not admitted")
    return len(verdicts)


# ---- Section 8: epochs ----

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
    need(log.entries[0].kind == 403 and log.entries[0].fields[19] == key.key and
         log.entries[0].fields[120] == key.name, "LOG_STARTED")
    check_authority(log)
    documents = check_documents(bundle, log)
    check_restarts(log, documents)
    check_orders(log, documents)
    decisions = check_decisions(bundle, log)
    rounds, recomputed = check_rounds(bundle, log)
    comparisons = check_comparisons(bundle, log)
    check_money(log)
    epochs = check_epochs(log)
    return (f"{len(bundle.files)} files, {len(log.entries)} entries, {len(documents)} documents, "
            f"{decisions} decisions, {rounds} rounds ({recomputed} evaluated again), "
            f"{epochs} epochs, {comparisons} A/B tests")


EVERYTHING = "2 rounds (2 evaluated again), 2 epochs, 1 A/B tests"
MODELS = [
    {"kind": "CONVNET", "image": [1, 4, 4], "channels": [6, 8], "layer_sizes": [4]},
    {"kind": "CHARACTER_TRANSFORMER", "context": 16, "vocabulary": 4, "width": 6, "heads": 2,
     "blocks": 1, "mlp_width": 8},
]


def sample(program):
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        bundle.mkdir()
        key = subprocess.run([program, bundle], check=True, capture_output=True,
                             text=True).stdout.strip()
        said = verify(bundle, key)
        print(said)
        need(EVERYTHING in said, "something was not looked at")
        variants = [(12, "mean"), (5, "mean")]  # Shapley is sampled; two are of one owner
        variants += [(6, rule) for rule in ("sample_weighted", "credit_weighted", "trimmed_mean",
                                            "median", "multi_krum")]
        for members, rule in variants:
            variant = Path(folder) / f"{members} {rule}"
            variant.mkdir()
            key_of_it = subprocess.run([program, variant, "0", str(members), rule], check=True,
                                       capture_output=True, text=True).stdout.strip()
            said = verify(variant, key_of_it)
            need(EVERYTHING in said, "something was not looked at")
            print(f"{members} members, {rule}: {said}")
        again = Path(folder) / "again"  # its log was restarted
        again.mkdir()
        key_of_again = subprocess.run([program, again, "0", "3", "restarted"], check=True,
                                      capture_output=True, text=True).stdout.strip()
        need(key_of_again != key, "the log is called as before")
        print("restarted:", verify(again, key_of_again))
        for model in MODELS:
            other = Path(folder) / model["kind"]
            other.mkdir()
            key_of_other = subprocess.run([program, other, "0", "3", json.dumps(model)],
                                          check=True, capture_output=True,
                                          text=True).stdout.strip()
            print(f"{model['kind']}:", verify(other, key_of_other))
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
            key = subprocess.run([program, bundle, fault], check=True, capture_output=True,
                                 text=True).stdout.strip()
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
