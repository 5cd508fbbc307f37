"""The report: one HTML file with everything in it, to be opened anywhere, without a network."""

import html
from pathlib import Path

from demo import plots
from demo.checks import ACCURACY_MIN, tokens
from demo.data import CLASSES

_STYLE_FILE = Path(__file__).with_name("report.css")
ROLES = {"honest": "honest", "value-breaking": "breaks its own values",
         "label-flipper": "flips labels", "copier": "copies"}


def _e(text) -> str:
    return html.escape(str(text), quote=True)


def _card(title: str, body: str, note: str = "", wide: bool = False) -> str:
    note = f'<p class="quiet">{note}</p>' if note else ""
    return (f'<section class="card{" wide" if wide else ""}"><h2>{_e(title)}</h2>{note}{body}'
            "</section>")


def _table(head: list, rows: list, right=frozenset()) -> str:
    """Cells are HTML."""
    def cells(row, tag):
        return "".join(f'<{tag}{" class=right" if i in right else ""}>{c}</{tag}>'
                       for i, c in enumerate(row))
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return (f'<div class="scroll"><table><thead><tr>{cells(map(_e, head), "th")}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")


def _nats(value) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value) -> str:
    return f"{value * 100:.1f}".removesuffix(".0") + " %"


def _summary(result) -> str:
    failed = [c for c in result.checks if not c.ok]
    state = ("every check holds" if not failed else
             f"{len(failed)} of {len(result.checks)} checks failed")
    last = result.rounds[-1].test_accuracy if result.rounds else 0.0
    updates = sum(len(m.updates) for m in result.members)
    refused = sum(m.count("refused") for m in result.members)
    facts = [
        (f"{last:.1%}", f"test accuracy, from {result.first_accuracy:.1%}"),
        (f"{len(result.rounds)}", "rounds, a checkpoint each"),
        (f"{updates - refused} / {updates}", "updates admitted"),
        (f"{result.payments_microtokens / 1e6:,.2f}", f"tokens paid of "
         f"{result.revenue_microtokens / 1e6:,.0f}"),
        (f"{result.wall_seconds:.0f} s", "from start to proof"),
    ]
    tiles = "".join(f"<div class=fact><b>{_e(n)}</b><span>{_e(t)}</span></div>" for n, t in facts)
    settings = result.settings
    return (f'<header><h1>One cooperative, end to end</h1><p>{settings.agents} principals with an '
            f"agent each train a shared model on Fashion-MNIST. Values decide what may train; "
            f"measured improvement decides who is paid; anyone can check.</p>"
            f'<p class="verdict {"bad" if failed else "good"}">{"✗" if failed else "✓"} '
            f"{_e(state)}<span> · seed {settings.seed}</span></p>"
            f'<div class="facts">{tiles}</div></header>')


def _learning(result) -> str:
    loss = [(r.number, r.validation_loss) for r in result.rounds]
    accuracy = [(0, result.first_accuracy)] + [(r.number, r.test_accuracy) for r in result.rounds]
    return (_card("Validation loss", plots.line_plot(loss, "validation loss per round", "loss",
                                                     _nats),
                  "Nats per row on the visible validation rows, as the service released it.")
            + _card("Test accuracy", plots.line_plot(
                accuracy, "test accuracy per round", "accuracy", _percent, ACCURACY_MIN,
                f"target {ACCURACY_MIN:.0%}"),
                "Of the shared checkpoint on 10,000 images that nobody trained on."))


def _fate(update) -> tuple:
    if update.verdict == "refused":
        return "refused", f"refused: {update.reason}"
    if update.verdict == "undecided":
        return "undecided", update.reason or "not decided"
    credit = f", credit {update.credit_nanonats / 1e9:.6f} nats"
    if update.verdict == "projected" and update.applied:
        return "projected", "the conforming part was applied" + credit
    if update.applied:
        return "applied", "admitted and applied" + credit
    return "held", f"{update.verdict}, not applied: {update.reason or 'no gain'}" + credit


def _admissions(result) -> str:
    rows = [(m.name, {u.round_number: _fate(u) for u in m.updates}) for m in result.members]
    legend = ('<p class="legend"><span class="key applied">● applied</span> '
              '<span class="key projected">◐ projected, applied</span> '
              '<span class="key held">○ admitted, not applied</span> '
              '<span class="key refused">✕ refused</span></p>')
    plot = plots.fates(rows, [r.number for r in result.rounds], "fate of every update")
    return _card("What became of every update", plot + legend,
                 "One column per round. Point at a cell for the reason.")


def _spans(numbers: list) -> str:
    """1, 2, 3, 5 as "1–3, 5"."""
    spans = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in spans)


def _refusals(result) -> str:
    rows = []
    for member in result.members:
        groups = {}
        for update in member.updates:
            if update.verdict == "refused" or not update.applied:
                key = (update.verdict, update.reason)
                groups.setdefault(key, []).append(update)
        for (verdict, reason), updates in sorted(groups.items()):
            rounds = _spans([u.round_number for u in updates])
            said = updates[0].findings[0] if updates[0].findings else ""
            word = "refused" if verdict == "refused" else "not applied"
            rows.append([_e(member.name), f'<span class="pill {word[:3]}">{word}</span>',
                         f"<code class=word>{_e(reason or '-')}</code>", rounds,
                         f"<span class=small>{_e(said)}</span>"])
    body = _table(["member", "", "reason", "rounds", "what was found in the first of them"], rows)
    return _card("Refusals and their reasons", body if rows else "<p>There were none.</p>",
                 wide=True)


def _members(result) -> str:
    revenue = result.revenue_microtokens or 1
    rows = [[f"<b>{_e(m.name)}</b>", f'<span class="role {m.role}">{_e(ROLES[m.role])}</span>',
             f"{m.rows:,}", str(len(m.updates)), str(m.count("admitted")),
             str(m.count("projected")), str(m.count("refused")), str(m.applied),
             f"{m.credit_nanonats:,}", tokens(m.payment_microtokens),
             f"{m.payment_microtokens / revenue:.1%}"] for m in result.members]
    rows.append(["<b>sum</b>", "", "", *[""] * 5,
                 f"{sum(m.credit_nanonats for m in result.members):,}",
                 f"<b>{tokens(result.payments_microtokens)}</b>", ""])
    return _card("Members", _table(
        ["member", "its agent", "rows", "updates", "admitted", "projected", "refused", "applied",
         "credit (nano-nats)", "payment (tokens)", "share"], rows, set(range(2, 11))), wide=True)


def _money(result) -> str:
    credit = [(m.name, m.credit_nanonats / 1e9, m.role) for m in result.members]
    paid = [(m.name, m.payment_microtokens / 1e6, m.role) for m in result.members]
    return (_card("Credit per member", plots.bars(credit, "credit per member",
                                                  lambda v: f"{v:.4f} nats"),
                  "Validation loss that a member's updates took away, counterfactually.")
            + _card("Payment per member", plots.bars(paid, "payment per member",
                                                     lambda v: f"{v:,.2f} tokens"),
                    f"Shares of {result.revenue_microtokens / 1e6:,.0f} tokens in proportion to "
                    "credit, exact to the micro-token."))


def _shards(result) -> str:
    items = [(m.name, m.class_counts) for m in result.members]
    legend = "".join(f'<span class="swatch"><i class="c{i}"></i>{_e(c)}</span>'
                     for i, c in enumerate(CLASSES))
    return _card("Who holds what", plots.mixtures(items, "rows per member and class")
                 + f'<p class="legend">{legend}</p>',
                 "Shards by Dirichlet(0.5): every member knows some classes much better than "
                 "others. Colours show what an image is, not what its holder calls it.")


def _proofs(result) -> str:
    rows = [[_mark(v.ok), _e(v.name), f"<span class=small>{_e(v.detail)}</span>"]
            for v in result.verification]
    chain = "".join(f"<li>{_e(line)}</li>" for line in result.chain_summary)
    outputs = "".join(f"<details><summary>{_e(v.name)}</summary><pre>{_e(v.output)}</pre></details>"
                      for v in result.verification)
    return _card(
        "Anyone can check", _table(["", "check", "found"], rows)
        + f'<p class="quiet">Changed in the copy: {_e(result.tampered)}. The log\'s key: '
        f"<code>{_e(result.log_key)}</code></p>"
        + f'<h3>From a payment back to a signature</h3><ol class="chain">{chain}</ol>' + outputs,
        f"The evidence bundle: {_e(result.bundle_summary)}.",
        wide=True)


def _mark(ok: bool) -> str:
    return f'<span class="{"good" if ok else "bad"}">{"✓" if ok else "✗"}</span>'


def _checks(result) -> str:
    rows = [[_mark(c.ok), _e(c.name), f"<span class=small>{_e(c.figure)}</span>", _e(c.target)]
            for c in result.checks]
    return _card("What was promised", _table(["", "check", "found", "target"], rows), wide=True)


def render(result) -> str:
    style = _STYLE_FILE.read_text(encoding="utf-8")
    body = "".join([_summary(result), '<main class="grid">', _learning(result),
                    _admissions(result), _shards(result), _money(result), _members(result),
                    _refusals(result), _proofs(result), _checks(result), "</main>"])
    return ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            '<meta http-equiv="Content-Security-Policy" '
            'content="default-src \'none\'; style-src \'unsafe-inline\'">'
            f"<title>Rochdale: one cooperative, end to end</title><style>{style}</style></head>"
            f"<body>{body}</body></html>\n")


def write(result, path) -> None:
    path.write_text(render(result), encoding="utf-8")
