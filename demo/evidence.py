"""Export, verification, the attempt to cheat, and the walk back from a payment."""

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

from rochdale import audit
from rochdale.export import export

VERIFY_SECONDS = 300
LINES_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Verified:
    """One act of verification. ok: it came out as it has to."""
    name: str
    ok: bool
    detail: str
    target: str
    output: str = ""


def clear(folder: Path) -> None:
    """Removes the bundle of an earlier run, and nothing else."""
    if (folder / "manifest.json").exists() or folder.name.endswith((".partial", "-tampered")):
        shutil.rmtree(folder, ignore_errors=True)


def write_bundle(founder, slug: str, folder: Path, say):
    """Exports the whole cooperative as its founder. Returns the exporter's report."""
    clear(folder)
    clear(folder.with_name(folder.name + ".partial"))
    return export(founder, slug, folder, all_statements=True, say=say)


def _verify(program: Path, folder: Path, log_key: str) -> tuple:
    """(exit status, what it printed)."""
    done = subprocess.run([program, "bundle", folder, "--origin-key", log_key], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=VERIFY_SECONDS)
    return done.returncode, done.stdout.strip()


def _last_line(text: str) -> str:
    return text.splitlines()[-1] if text else "no output"


def verify_bundle(program: Path, folder: Path, log_key: str) -> Verified:
    status, output = _verify(program, folder, log_key)
    return Verified("rochdale-verify accepts the bundle", status == 0, _last_line(output),
                    "exit status 0", output)


def _link(source, target) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)  # a file system without links


def change_one_bit(folder: Path, copy: Path, seed: int) -> tuple:
    """Copies a bundle with one bit changed. Returns (file, byte, bit). Files are linked, not
    copied, except for the one that is changed."""
    clear(copy)
    shutil.copytree(folder, copy, copy_function=_link)
    rng = np.random.default_rng([seed, 4])
    files = sorted(p for p in copy.rglob("*") if p.is_file() and p.stat().st_size)
    victim = files[int(rng.integers(len(files)))]
    content = bytearray(victim.read_bytes())
    place, bit = int(rng.integers(len(content))), int(rng.integers(8))
    content[place] ^= 1 << bit
    victim.unlink()  # the link, not the original's bytes
    victim.write_bytes(content)
    return str(victim.relative_to(copy)), place, bit


def verify_tampered(program: Path, folder: Path, log_key: str, file: str) -> Verified:
    status, output = _verify(program, folder, log_key)
    told = [line.strip() for line in output.splitlines() if file in line]
    return Verified("rochdale-verify refuses the copy and names the file",
                    status not in (0, None) and bool(told),
                    told[0] if told else f"exit status {status}: {_last_line(output)}",
                    "non-zero, names the file", output)


# Where the walk branches, the way to the person who allowed it.
_ONWARD = ("statement", "credit", "decision", "commitment", "mandate", "MEMBERSHIP_CONSENTED",
           "MEMBERSHIP_APPROVED", "COOPERATIVE_FOUNDED")


def _rank(step) -> int:
    return next((i for i, word in enumerate(_ONWARD) if step.title.startswith(word)), len(_ONWARD))


def _first_path(step, depth: int = 0, lines=None) -> list:
    """The walk along the first credit only, a line for each entry."""
    lines = [] if lines is None else lines
    held = sum(c.ok is True for c in step.checks)
    open_ = sum(c.ok is None for c in step.checks)
    failed = sum(c.ok is False for c in step.checks)
    marks = [f"{held} checks hold"] + [f"{open_} not checkable here"] * bool(open_)
    marks += [f"{failed} FAIL"] * bool(failed)
    lines.append("  " * depth + f"{step.title}  ({', '.join(marks)})")
    children = sorted(step.children, key=_rank)
    if children:
        _first_path(children[0], depth + 1, lines)
    return lines


def walk_chain(bundle: Path, log_key: str, transfer_id: str) -> tuple:
    """(Verified, full text, short lines): from a payment to the signature that allowed it, offline,
    in the exported bundle."""
    chain = audit.chain(audit.BundleSource(bundle, log_key), transfer_id)
    checks = list(chain.root.all_checks())
    short = _first_path(chain.root)
    short += [f"authorised by the signature of principal {p} (key {k[:16]}…)"
              for p, k in chain.authorities]
    detail = (f"{sum(c.ok is True for c in checks)} checks hold, "
              f"{len(chain.failures)} fail, {len(chain.authorities)} signature(s) of principals")
    return (Verified("the audit chain ends at the signature of a person", chain.ok, detail,
                     "no failed check", str(chain)), str(chain), short)
