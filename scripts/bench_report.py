"""Turns a benchmark's figures into build/bench/NAME.json and a table. See scripts/bench."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEYS = ("name", "value", "unit", "peer", "peer_value", "ratio", "target", "met")


def machine():
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {"cores": len(os.sched_getaffinity(0)), "cpu": cpu.group(1) if cpu else "unknown",
            "memory": f"{int(memory.group(1)) / 2**20:.1f} GiB" if memory else "unknown"}


def commit():
    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout
    changed = git("status", "--porcelain", "--untracked-files=no").strip()
    return (git("rev-parse", "HEAD").strip() or "unknown") + ("-modified" if changed else "")


def checked(figure):
    """The figure with its ratio; what was not measured must be absent, not zero or null."""
    unknown = set(figure) - set(KEYS)
    if unknown or not {"name", "value", "unit"} <= set(figure):
        raise ValueError(f"a figure with missing or unknown keys: {figure}")
    if any(value is None for value in figure.values()):
        raise ValueError(f"a figure that was not measured: {figure}")
    if figure.get("peer_value") and "ratio" not in figure:
        figure["ratio"] = figure["value"] / figure["peer_value"]
    if ("target" in figure) != ("met" in figure):
        raise ValueError(f"a target goes with whether it was met: {figure}")
    return {key: figure[key] for key in KEYS if key in figure}


def table(figures):
    def text(value):
        if isinstance(value, bool):
            return "yes" if value else "NO"
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    rows = [KEYS] + [[text(figure.get(key, "")) for key in KEYS] for figure in figures]
    widths = [max(len(row[i]) for row in rows) for i in range(len(KEYS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                     for row in rows)


def main():
    name, quick = sys.argv[1], "--quick" in sys.argv[2:]
    folder = ROOT / "build/bench"
    figures = [checked(f) for f in json.loads((folder / f"{name}.raw.json").read_text())["figures"]]
    report = {"bench": name, "commit": commit(), "machine": machine(), "quick": quick,
              "figures": figures}
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(table(figures))


if __name__ == "__main__":
    main()
