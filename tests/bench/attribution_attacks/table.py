"""The table of docs/attacks.md from what scripts/bench attribution-attacks measured.

    table.py build/bench/attribution_attacks.json
"""

import json
import sys


def rows(figures):
    """(attack, {(preset, statistic): value}) in the order of the figures."""
    table = {}
    for figure in figures:
        parts = figure["name"].rsplit(", ", 2)
        if len(parts) == 3 and parts[1] in ("literal", "hardened"):
            table.setdefault(parts[0], {})[parts[1], parts[2]] = figure["value"]
    return table.items()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        figures = json.load(file)["figures"]
    print("| attack | literal, mean | worst | hardened, mean | worst |\n|---|---|---|---|---|")
    for attack, values in rows(figures):
        cells = [f"{values[key]:.3f}" if key in values else ""
                 for key in (("literal", "mean"), ("literal", "worst"),
                             ("hardened", "mean"), ("hardened", "worst"))]
        print(f"| {attack} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
