"""The house rules that a program can check: which part may include which, and the form of files."""

import os
import re
import unittest
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
COLUMNS_MAX = 100
LINES_MAX = 500

# Folders of what programs made.
NOT_WRITTEN = {"build", "__pycache__", "node_modules", "_proto"}

# Arrows point down: a part may include what its rank lies above, never a part of its own rank
# (but itself).
RANKS = {
    "libs/base": 0,
    "libs/http": 1,
    "libs/config": 2, "libs/obs": 2, "libs/crypto": 2,
    "libs/replay": 3, "libs/pg": 3, "libs/rpc": 3, "libs/blob": 3, "libs/tensor": 3,
    "libs/service": 4, "libs/learning": 4, "libs/kube": 4,
}
# Within a rank, where what it would otherwise take is a library of two files: blob_transfer, which
# carries blobs over gRPC, is a target of its own in the folder of the store.
SIDEWAYS = {("libs/blob", "libs/rpc")}
# The one composition of all services.
STANDALONE = "services/standalone"
# The auditor repeats what services did, by their own pure functions (no RPC, no database): the
# targets rochdale_evidence and rochdale_filter_rules.
VERIFY = "services/verify"
REPEATED = {"services/attribution/comparison_evidence.h", "services/attribution/evidence.h",
            "services/filter/clipping.h", "services/filter/composition.h",
            "services/filter/direction.h", "services/filter/ownership.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)
TORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")


def files(*suffixes, folders=("libs", "services", "tests", "sdk", "scripts")):
    """Source files as paths relative to the root, sorted."""
    found = []
    for folder in folders:
        for at, names, entries in os.walk(ROOT / folder):
            # Nor what another test generates meanwhile, in a hidden directory.
            names[:] = [n for n in names if n not in NOT_WRITTEN
                        and not n.endswith(".egg-info") and not n.startswith(".")]
            found += [Path(at, e).relative_to(ROOT) for e in entries if e.endswith(suffixes)]
    return sorted(found)


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8")


def includes_of(text):
    return INCLUDE.findall(text)


def part_of(path):
    """ "libs/base" of "libs/base/ids.h"; None outside of libs and services."""
    parts = Path(path).parts
    return "/".join(parts[:2]) if len(parts) > 2 and parts[0] in ("libs", "services") else None


def arrow_defect(source, target):
    """What is wrong with a file of part `source` including one of part `target`, or None."""
    if source == target or target is None:
        return None
    if source.startswith("services/"):
        if target.startswith("services/") and source != STANDALONE:
            return "services never include each other"
        return None
    if target.startswith("services/"):
        return "a library never includes a service"
    if source not in RANKS or target not in RANKS:
        return "a library without a rank: add it to RANKS where it belongs"
    if RANKS[target] >= RANKS[source] and (source, target) not in SIDEWAYS:
        return "the arrow does not point down"
    return None


def reaches_torch(path, cache):
    """Whether a header brings torch with it, through whatever of ours it includes."""
    if path not in cache:
        cache[path] = False  # ends cycles
        if (ROOT / path).exists():
            cache[path] = any(TORCH.match(i) or reaches_torch(i, cache)
                              for i in includes_of(text_of(path)))
    return cache[path]


class IncludeGraph(unittest.TestCase):
    def test_the_check_itself(self):
        self.assertIsNone(arrow_defect("libs/pg", "libs/base"))
        self.assertIsNone(arrow_defect("libs/pg", "libs/pg"))
        self.assertIsNone(arrow_defect("services/filter", "libs/tensor"))
        self.assertIsNone(arrow_defect(STANDALONE, "services/filter"))
        for source, target in [("libs/base", "libs/crypto"), ("libs/crypto", "libs/obs"),
                               ("libs/pg", "libs/rpc"), ("libs/rpc", "libs/blob"),
                               ("libs/rpc", "services/filter"),
                               ("services/filter", "services/ledger"),
                               ("services/filter", STANDALONE), ("libs/new", "libs/base")]:
            self.assertIsNotNone(arrow_defect(source, target), (source, target))
        self.assertEqual(includes_of('#include "a/b.h"\n# include <c>\n// #include "d.h"\n'),
                         ["a/b.h", "c"])

    def test_arrows_point_down(self):
        defects = []
        for path in files(".h", ".cc", folders=("libs", "services")):
            source = part_of(path)
            for included in includes_of(text_of(path)):
                if source == VERIFY and included in REPEATED:
                    continue
                defect = source and arrow_defect(source, part_of(included))
                if defect:
                    defects.append(f"{path} includes {included}: {defect}")
        self.assertFalse(defects, "\n" + "\n".join(defects))

    def test_only_learning_sees_torch(self):
        defects, cache = [], {}
        for path in files(".h", ".cc", folders=("libs", "services", "tests")):
            if part_of(path) == "libs/learning":
                continue
            for included in includes_of(text_of(path)):
                if TORCH.match(included):
                    defects.append(f"{path} includes {included}")
                elif path.suffix == ".h" and reaches_torch(included, cache):
                    defects.append(f"{path} is a header and brings torch through {included}")
        self.assertFalse(defects, "\n" + "\n".join(defects))

    def test_programs_of_the_tests_do_not_enter_the_product(self):
        defects = [f"{path} includes {included}"
                   for path in files(".h", ".cc", folders=("libs", "services"))
                   for included in includes_of(text_of(path)) if included.startswith("tests/")]
        self.assertFalse(defects, "\n" + "\n".join(defects))


class Files(unittest.TestCase):
    def test_headers_begin_with_a_contract_and_pragma_once(self):
        defects = []
        for path in files(".h"):
            code = [line for line in text_of(path).splitlines()
                    if line.strip() and not line.startswith("//")]
            if not code or code[0] != "#pragma once":
                defects.append(f"{path}: #pragma once is not its first line of code")
            if not text_of(path).startswith("//"):
                defects.append(f"{path}: no comment at the top that says what it is")
        self.assertFalse(defects, "\n" + "\n".join(defects))

    def test_lines_fit(self):
        defects = []
        for path in files(".h", ".cc", ".py"):
            for number, line in enumerate(text_of(path).splitlines(), 1):
                if len(line) > COLUMNS_MAX:
                    defects.append(f"{path}:{number}: {len(line)} columns")
                if line != line.rstrip() or "\t" in line:
                    defects.append(f"{path}:{number}: a tab or space that nobody sees")
        self.assertFalse(defects, "\n" + "\n".join(defects))

    def test_names(self):
        defects = [f"{path}: says nothing about what is in it"
                   for path in files(".h", ".cc", ".py")
                   if re.fullmatch(r"(utils?|helpers?|common|misc)\.\w+", path.name)
                   or {"utils", "helpers"} & set(path.parts)]
        defects += [f"{path}: C++ files end in .cc and .h"
                    for path in files(".cpp", ".hpp", ".cxx", ".hh")]
        self.assertFalse(defects, "\n" + "\n".join(defects))

    def test_long_files_are_mentioned(self):
        for path in files(".h", ".cc", ".py"):
            lines = text_of(path).count("\n")
            if lines > LINES_MAX:
                warnings.warn(f"{path} has {lines} lines: look for the second thing it does")


if __name__ == "__main__":
    unittest.main()
