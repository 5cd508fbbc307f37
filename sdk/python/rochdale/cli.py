"""The `rochdale` command. Every command takes --json; errors go to stderr with exit status 1, what
does not verify exits with status 3."""

import argparse
import datetime
import json
import os
import sys
import time
from pathlib import Path

from google.protobuf import json_format

from rochdale import cli_money, client as clients, documents, errors, explain, protos, rounds
from rochdale.keys import KeyPair
from rochdale.rounds import Update
from rochdale.transport import Tls

DEFAULT_TARGET = "localhost:7443"
EXIT_ERROR, EXIT_USAGE, EXIT_NOT_VERIFIED = 1, 2, 3


class NotVerified(Exception):
    """Something was looked at and does not hold; what was found is printed already."""


def as_dict(message) -> dict:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def show(arguments, data, text: str) -> None:
    """One result: JSON for programs, text for people."""
    print(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) if arguments.json
          else text)


def table(rows) -> str:
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)


def connect(arguments) -> clients.Client:
    tls = None
    if arguments.ca or arguments.tls:
        tls = Tls(ca=Path(arguments.ca).read_bytes() if arguments.ca else None)
    log_key = arguments.log_key
    if log_key and os.path.exists(log_key):
        log_key = Path(log_key).read_text(encoding="utf-8").strip()
    return clients.Client(arguments.target, key=arguments.key, identity=arguments.identity,
                          cooperative=arguments.cooperative, tls=tls, log_key=log_key)


# ---- Commands ----


def keys_new(arguments):
    path = Path(arguments.out or clients.home() / "key")
    key = KeyPair.generate()
    key.save(path)
    show(arguments, {"path": str(path), "public_key": key.public_hex},
         f"wrote {path} (mode 0600)\npublic key {key.public_hex}")


def whoami(arguments):
    key, identity = clients.configured(arguments.key, arguments.identity)
    data = {"identity": identity, "public_key": key.public_hex if key else None}
    text = (f"identity   {identity or 'none: calls go out anonymously'}\n"
            f"public key {data['public_key'] or 'none'}")
    if identity and not arguments.offline:
        with connect(arguments) as client:
            data["principal_id"] = client.principal_id
            if client.agent_id:
                agent = client.transport.call(
                    "governance", "GetAgent",
                    protos.governance.GetAgentRequest(agent_id=client.agent_id)).agent
                data["agent"] = as_dict(agent)
                text += f"\nagent      {agent.display_name}{' (paused)' if agent.paused else ''}"
            text += f"\nprincipal  {data['principal_id']}"
    show(arguments, data, text)


def _principal_text(principal) -> str:
    text = f"principal {principal.principal_id}  KYC level {principal.kyc_level}"
    if not principal.kyc_expires_us:
        return text + ", none was attested"
    until = datetime.datetime.fromtimestamp(principal.kyc_expires_us // 1_000_000, datetime.UTC)
    word = "until" if principal.kyc_expires_us > documents.now_us() else "expired on"
    owners = "".join(f"\n  owned by {owner}" for owner in principal.beneficial_owners)
    return text + f", {word} {until:%Y-%m-%d %H:%M} UTC" + owners


def kyc_attest(arguments):
    with connect(arguments) as client:
        principal = client.admin.attest_kyc(arguments.principal, arguments.level,
                                            seconds=arguments.days * 24 * 3600,
                                            beneficial_owners=arguments.owner)
    show(arguments, as_dict(principal), _principal_text(principal))


def kyc_show(arguments):
    with connect(arguments) as client:
        principal = client.transport.call(
            "governance", "GetPrincipal", protos.governance.GetPrincipalRequest(
                principal_id=arguments.principal or client.principal_id)).principal
    show(arguments, as_dict(principal), _principal_text(principal))


def coop_show(arguments):
    with connect(arguments) as client:
        info = client.cooperative(arguments.name or arguments.cooperative).info
    rules = [["rule", "kind", "mode", "probes", "explanation"]]
    for rule in info.floor:
        rules.append([rule.id, protos.rule.RuleKind.Name(rule.kind).removeprefix("RULE_KIND_"),
                      protos.rule.RuleMode.Name(rule.mode).removeprefix("RULE_MODE_"),
                      len(rule.probe_ids), rule.explanation])
    show(arguments, as_dict(info),
         f"{info.name} ({info.slug})\nid         {info.cooperative_id}\n"
         f"founders   {len(info.founder_public_keys)}, {info.founder_threshold} must sign\n"
         f"rules      version {info.rules_version}, {info.rules_sha256}\n"
         f"parameters version {info.parameters_version}\n{table(rules)}")


def _round_text(round_) -> str:
    text = (f"round {round_.number} {rounds.round_state_name(round_)}  {round_.round_id}  "
            f"base {round_.base_sha256[:12]}")
    if round_.state == rounds.CLOSED:
        text += (f"  {round_.admitted} admitted, {round_.applied} applied, next "
                 f"{round_.next_sha256[:12]}")
        if round_.visible_loss_nanonats:
            text += f", visible loss {round_.visible_loss_nanonats / 1e9:.4f} nats"
    return text + (f"  ({round_.reason})" if round_.reason else "")


def round_show(arguments):
    with connect(arguments) as client:
        cooperative = client.cooperative(arguments.cooperative)
        if arguments.round:
            found = [r for r in cooperative.rounds()
                     if arguments.round in (str(r.number), r.round_id)]
            if not found:
                raise errors.NotFound(f"no round {arguments.round}", code="NOT_FOUND")
            round_ = found[0]
        else:
            round_ = cooperative.current_round()
        updates = cooperative.updates(round_.round_id) if client.identity else []
    rows = [["update", "agent", "state", "reason"]]
    rows += [[u.update_id, u.agent_id, explain.state_name(u), u.reason] for u in updates]
    show(arguments, {"round": as_dict(round_), "updates": [as_dict(u) for u in updates]},
         _round_text(round_) + ("\n" + table(rows) if updates else ""))


def round_watch(arguments):
    end = time.monotonic() + arguments.timeout if arguments.timeout else None
    with connect(arguments) as client:
        cooperative, last = client.cooperative(arguments.cooperative), None
        while end is None or time.monotonic() < end:
            round_ = cooperative.current_round()
            if (round_.round_id, round_.state) != last:
                last = (round_.round_id, round_.state)
                print(json.dumps(as_dict(round_)) if arguments.json else _round_text(round_),
                      flush=True)
            time.sleep(rounds.POLL_SECONDS[1])


def update_show(arguments):
    with connect(arguments) as client:
        update = Update.of(client, arguments.update)
        decision, credit = update.decision(), update.credit()
        text = update.explain()
    show(arguments, {"update": as_dict(update.proto),
                     "decision": as_dict(decision) if decision else None,
                     "credit": as_dict(credit) if credit else None}, text)


def statement(arguments):
    with connect(arguments) as client:
        statements = client.statement()
    if arguments.csv:
        statements.to_csv(arguments.csv)
    show(arguments, [as_dict(s) for s in statements],
         str(statements) + (f"\nwrote {arguments.csv}" if arguments.csv else ""))


def parameters_list(arguments):
    with connect(arguments) as client:
        response = client.transport.call(
            "governance", "GetParameters", protos.governance.GetParametersRequest(
                cooperative_id=client.cooperative(arguments.cooperative).id))
    rows = [["parameter", "value", "default", "bounds", "what it is"]]
    rows += [[p.name, p.value, "" if p.value == p.default_value else p.default_value,
              f"{p.min_value}..{p.max_value}" if p.min_value or p.max_value else "", p.help]
             for p in response.parameters]
    show(arguments, as_dict(response), f"version {response.version}\n{table(rows)}")


def export(arguments):
    from rochdale import export as exports

    def say(text):
        print(text, file=sys.stderr)

    with connect(arguments) as client:
        report = exports.export(client, arguments.cooperative, arguments.out,
                                arguments.all_statements, None if arguments.quiet else say)
    show(arguments, vars(report), str(report))


def audit_chain(arguments):
    from rochdale import audit
    if arguments.bundle:
        log_key = arguments.log_key
        if log_key and os.path.exists(log_key):
            log_key = Path(log_key).read_text(encoding="utf-8").strip()
        chain = audit.chain(audit.BundleSource(arguments.bundle, log_key), arguments.payment)
    else:
        with connect(arguments) as client:
            chain = audit.chain(audit.OnlineSource(client), arguments.payment)
    show(arguments, chain.to_dict(), str(chain))
    if not chain.ok:
        raise NotVerified


def receipt(arguments):
    with connect(arguments) as client:
        update = Update.of(client, arguments.update)
        found = update.receipt
    if arguments.out:
        Path(arguments.out).write_text(found.to_text(), encoding="utf-8")
    show(arguments, {"index": found.index, "entry": found.entry.to_dict(),
                     "receipt": found.to_text()},
         f"wrote {arguments.out}" if arguments.out else found.to_text())


def verify_receipt(arguments):
    from rochdale import note, receipts
    text = Path(arguments.receipt).read_text(encoding="utf-8")
    if arguments.log_key:
        log_key = arguments.log_key
        if os.path.exists(log_key):
            log_key = Path(log_key).read_text(encoding="utf-8").strip()
        # Nothing but the file and the key is needed: no connection is made.
        found = receipts.verify_offline(text, note.Key.parse(log_key))
    else:
        with connect(arguments) as client:
            found = client.verify(text)
    show(arguments, {"ok": found.ok, "pinned": found.pinned, "detail": found.detail,
                     "entry": found.entry.to_dict() if found.entry else None},
         f"{'verified' if found else 'NOT VERIFIED'}: {found.detail}")
    if not found:
        raise NotVerified


# ---- The command line ----


def parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("connection")
    group.add_argument("--json", action="store_true", help="print JSON")
    group.add_argument("--target", default=os.environ.get("ROCHDALE_TARGET", DEFAULT_TARGET),
                       help="host:port (ROCHDALE_TARGET; %(default)s)")
    group.add_argument("--key", help="key file (ROCHDALE_KEY; ~/.config/rochdale/key)")
    group.add_argument("--identity", help="agent:<uuid> or principal:<uuid> (ROCHDALE_IDENTITY)")
    group.add_argument("--cooperative", help="short name or id (ROCHDALE_COOPERATIVE)")
    group.add_argument("--log-key", help="verifier key of the log, or a file with it")
    group.add_argument("--tls", action="store_true", help="TLS with the system's roots")
    group.add_argument("--ca", help="TLS with this CA (PEM file)")

    root = argparse.ArgumentParser(prog="rochdale", description="Take part in a training "
                                   "cooperative: rounds, statements, proofs.")
    top = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(under, name, run, help_text):
        added = under.add_parser(name, parents=[common], help=help_text, description=help_text)
        added.set_defaults(run=run)
        return added

    def family(name, help_text):
        return top.add_parser(name, help=help_text).add_subparsers(
            dest="what", required=True, metavar="COMMAND")

    keys = family("keys", "key files")
    command(keys, "new", keys_new, "make a key file").add_argument("--out", help="its path")
    command(top, "whoami", whoami, "the identity that commands use").add_argument(
        "--offline", action="store_true", help="ask no server")
    kyc = family("kyc", "what principals may send")
    attest = command(kyc, "attest", kyc_attest,
                     "attest a principal's level, with the key of a registered verifier")
    attest.add_argument("principal", help="principal id")
    attest.add_argument("--level", type=int, required=True, choices=range(4))
    attest.add_argument("--days", type=int, default=365, help="how long it holds (%(default)s)")
    attest.add_argument("--owner", action="append", default=[],
                        help="id of a beneficial owner, 64 hexadecimal digits; may be repeated")
    command(kyc, "show", kyc_show, "the level in force").add_argument(
        "principal", nargs="?", help="principal id; your own")
    command(family("coop", "cooperatives"), "show", coop_show,
            "a cooperative with its rules").add_argument("name", nargs="?")
    rounds_ = family("round", "rounds")
    command(rounds_, "show", round_show, "a round with its updates").add_argument(
        "round", nargs="?", help="number or id; the newest")
    command(rounds_, "watch", round_watch, "every change of the newest round").add_argument(
        "--timeout", type=float, help="seconds")
    command(family("update", "updates"), "show", update_show,
            "an update: admitted, projected or rejected, and why").add_argument("update")
    command(top, "statement", statement, "your credits and payments").add_argument(
        "--csv", help="also write this CSV file")
    command(family("parameters", "governed parameters"), "list", parameters_list,
            "parameters with values and bounds")
    receipt_ = command(top, "receipt", receipt, "the proof that an update is in the log")
    receipt_.add_argument("update")
    receipt_.add_argument("--out", help="file to write")
    command(family("verify", "proofs"), "receipt", verify_receipt,
            "check a receipt; with --log-key without any network").add_argument("receipt")
    exported = command(top, "export", export, "write an evidence bundle")
    exported.add_argument("--out", required=True, help="new folder")
    exported.add_argument("--all-statements", action="store_true",
                          help="everybody's statements (founders and auditors)")
    exported.add_argument("--quiet", action="store_true")
    audit_ = command(family("audit", "audits"), "chain", audit_chain,
                     "from a payment back to the signature of a principal")
    audit_.add_argument("--payment", required=True, metavar="TRANSFER_ID")
    audit_.add_argument("--bundle", metavar="DIR", help="offline, from an evidence bundle")
    cli_money.add_commands(top, command, family, connect, show, table, as_dict)
    return root


def main(argv=None) -> int:
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
        return 0
    except NotVerified:
        return EXIT_NOT_VERIFIED
    except errors.VerificationFailed as error:
        fault, status = error, EXIT_NOT_VERIFIED
    except (errors.RochdaleError, OSError, ValueError) as error:
        fault, status = error, EXIT_ERROR
    except KeyboardInterrupt:
        return 130
    if arguments.json:
        print(json.dumps({"error": str(fault), "reason": getattr(fault, "reason", ""),
                          "code": getattr(fault, "code", "")}), file=sys.stderr)
    else:
        print(f"rochdale: {fault}", file=sys.stderr)
    return status
