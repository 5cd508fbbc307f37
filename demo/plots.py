"""Plots as inline SVG: no script, no network, colours from the page's style sheet."""

import html
import math

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 34


def _escape(text) -> str:
    return html.escape(str(text), quote=True)


def ticks(low: float, high: float, wanted: int = 5) -> list:
    """Round numbers that span [low, high]."""
    if not high > low:
        high = low + 1.0
    raw = (high - low) / max(1, wanted - 1)
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw - 1e-12)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _svg(body: list, label: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    return (f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{_escape(label)}">'
            + "".join(body) + "</svg>")


def _text(x: float, y: float, text, kind: str = "label", anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{_escape(text)}' \
           "</text>"


def line_plot(points: list, label: str, style: str, write=str, target: float | None = None,
              target_text: str = "") -> str:
    """points: (round number, value), values may be None; one line with a mark for each round."""
    known = [(x, y) for x, y in points if y is not None]
    if not known:
        return '<p class="quiet">No figures.</p>'
    values = [y for _, y in known] + ([target] if target is not None else [])
    levels = ticks(min(values), max(values))
    low, high = levels[0], levels[-1]
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)
    across = (WIDTH - LEFT - RIGHT) / (last - first)
    up = (HEIGHT - TOP - BOTTOM) / (high - low)

    def place(x, y):
        return LEFT + (x - first) * across, HEIGHT - BOTTOM - (y - low) * up

    body = []
    for level in levels:
        _, y = place(first, level)
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                    'class="grid"/>')
        body.append(_text(LEFT - 7, y + 4, write(level), anchor="end"))
    every = max(1, math.ceil(len(points) / 12))
    body += [_text(place(x, low)[0], HEIGHT - BOTTOM + 17, x)
             for x, _ in points if (x - first) % every == 0]
    body.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 2, "round", "axis"))
    if target is not None:
        _, y = place(first, target)
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                    'class="target"/>')
        body.append(_text(WIDTH - RIGHT, y + 14, target_text, "label", "end"))
    path = " ".join(f"{'M' if i == 0 else 'L'}{place(x, y)[0]:.1f} {place(x, y)[1]:.1f}"
                    for i, (x, y) in enumerate(known))
    body.append(f'<path d="{path}" class="line {style}"/>')
    for x, y in known:
        cx, cy = place(x, y)
        body.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3.5" class="dot {style}">'
                    f"<title>round {x}: {_escape(write(y))}</title></circle>")
    # The last value is what people look for.
    cx, cy = place(*known[-1])
    body.append(_text(cx - 6, cy - 9 if cy > TOP + 16 else cy + 18, write(known[-1][1]), "value",
                      "end"))
    return _svg(body, label)


def bars(items: list, label: str, write=str) -> str:
    """items: (name, value >= 0, style): horizontal bars with their values."""
    row, left, right = 26, 84, 112
    height, top = row * len(items) + 8, 4
    most = max([value for _, value, _ in items] + [0]) or 1
    body = []
    for i, (name, value, style) in enumerate(items):
        y = top + i * row
        length = (WIDTH - left - right) * value / most
        body.append(_text(left - 8, y + 16, name, "name", "end"))
        body.append(f'<rect x="{left}" y="{y + 4}" width="{max(length, 1.5):.1f}" height="16" '
                    f'rx="3" class="bar {style}">'
                    f"<title>{_escape(name)}: {_escape(write(value))}</title></rect>")
        body.append(_text(left + max(length, 1.5) + 7, y + 16, write(value), "value", "start"))
    return _svg(body, label, WIDTH, height)


def mixtures(items: list, label: str) -> str:
    """items: (name, counts): one stacked bar each, as long as it has rows."""
    row, left, right = 26, 84, 56
    most = max([sum(counts) for _, counts in items] + [1])
    body = []
    for i, (name, counts) in enumerate(items):
        y, x = 4 + i * row, float(left)
        body.append(_text(left - 8, y + 16, name, "name", "end"))
        for kind, count in enumerate(counts):
            width = (WIDTH - left - right) * count / most
            if width > 0:
                body.append(f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="16" '
                            f'class="c{kind}"><title>{_escape(name)}: class {kind}, {count:,} rows'
                            "</title></rect>")
            x += width
        text = f"{sum(counts):,}" if counts else "no data"
        body.append(_text(x + 7, y + 16, text, "value", "start"))
    return _svg(body, label, WIDTH, row * len(items) + 8)


_MARKS = {"applied": "●", "held": "○", "projected": "◐", "refused": "✕", "undecided": "?",
          "none": "·"}


def fates(rows: list, rounds: list, label: str) -> str:
    """rows: (name, {round number: (fate, words)}); a cell for each member and round."""
    cell, left, head = 34, 84, 22
    width = max(WIDTH, left + cell * len(rounds) + 10)
    body = [_text(left + cell * (i + 0.5), 14, number) for i, number in enumerate(rounds)]
    for r, (name, by_round) in enumerate(rows):
        y = head + r * 30
        body.append(_text(left - 8, y + 18, name, "name", "end"))
        for i, number in enumerate(rounds):
            fate, words = by_round.get(number, ("none", "no update"))
            x = left + i * cell
            body.append(
                f'<g><title>{_escape(name)}, round {number}: {_escape(words)}</title>'
                f'<rect x="{x + 2}" y="{y + 2}" width="{cell - 4}" height="24" rx="5" '
                f'class="fate {fate}"/>' + _text(x + cell / 2, y + 18.5, _MARKS[fate], "mark")
                + "</g>")
    return _svg(body, label, width, head + 30 * len(rows) + 4)
