"""Runs everything that was built for testing, and counts single test cases. See scripts/test.

C++: what ctest knows. A binary of rochdale_test is a Catch2 program; its cases are counted one by
one. Any other ctest test counts as one. Python: pytest on the folders below, case by case.
Cases tagged [long] and tests labelled "long" run with --long only.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON_TESTS = ["tests/unit/style", "tests/sdk", "tests/demo", "sdk/python/tests"]
SYSTEM_TESTS = "tests/system"  # against the server that was built
PARALLEL = 2
PYTHON_SECONDS_MAX = 1800
SHOWN_LINES_MAX = 120


@dataclasses.dataclass
class Outcome:
    """What one program found: names of cases, failures with their text, skips with a reason."""
    name: str
    passed: int = 0
    failed: list = dataclasses.field(default_factory=list)   # (case, text)
    skipped: list = dataclasses.field(default_factory=list)  # (case, why)
    seconds: float = 0.0


def environment():
    env = dict(os.environ, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", LC_ALL="C.UTF-8",
               PYTHONDONTWRITEBYTECODE="1")
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1")
    return env


def run(command, log, seconds, cwd=ROOT, env=None):
    """(exit status, wall seconds); None for the status if it had to be killed for time."""
    begun = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=cwd,
                                   stdin=subprocess.DEVNULL, env={**environment(), **(env or {})},
                                   start_new_session=True)
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            # The whole group: a test may have started servers.
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            status = None
    return status, time.monotonic() - begun


def tail(path):
    lines = Path(path).read_text(errors="replace").splitlines()
    return "\n".join(lines[-SHOWN_LINES_MAX:])


def ending(status):
    if status is None:
        return "killed: it ran past its limit"
    if status < 0:
        return f"killed by signal {-status}"
    return f"exit status {status}"


def case_names(binary, spec):
    """Names of the Catch2 cases that `spec` selects."""
    listed = subprocess.run([binary, "--list-test-names-only", *spec], text=True, cwd=ROOT,
                            capture_output=True, timeout=60, env=environment())
    return [line for line in listed.stdout.splitlines() if line.strip()]


def failure_text(case):
    """The failed assertions of a <TestCase>, as a reader wants them."""
    lines = []
    for node in case.iter():
        text = " ".join((node.text or "").split())
        where = f"{node.get('filename')}:{node.get('line')}" if node.get("line") else ""
        if node.tag == "Expression" and node.get("success") == "false":
            original = (node.findtext("Original") or "").strip()
            expanded = (node.findtext("Expanded") or "").strip()
            lines.append(f"{where}: {original}\n    with {expanded}")
        elif node.tag in ("Exception", "Failure", "FatalErrorCondition"):
            lines.append(f"{where}: {node.tag.lower()}: {text}")
        elif node.tag == "Info":
            lines.append(f"  info: {text}")
    return "\n".join(lines)


def finished_cases(report):
    """<TestCase> elements that have a result; the file may end in the middle after a crash."""
    cases = []
    try:
        for _, node in xml.iterparse(report, events=("end",)):
            if node.tag == "TestCase":
                cases.append(node)
    except (xml.ParseError, FileNotFoundError):
        pass
    return [case for case in cases if case.find("OverallResult") is not None]


def run_catch(name, command, seconds, logs, long):
    outcome = Outcome(name)
    spec = [] if long else ["~[long]"]
    wanted = case_names(command[0], spec)
    if not long:
        outcome.skipped = [(f"{name}: {case}", "takes long; run with --long")
                           for case in case_names(command[0], ["[long]"])]
    log, report = logs / f"{name}.log", logs / f"{name}.xml"
    report.unlink(missing_ok=True)
    if not wanted:
        if not outcome.skipped:
            outcome.failed.append((name, "has no test cases"))
        return outcome
    status, outcome.seconds = run([*command, *spec, "-r", "xml", "-o", str(report)], log, seconds)
    unfinished = list(wanted)
    for case in finished_cases(report):
        case_name = case.get("name")
        if case_name in unfinished:
            unfinished.remove(case_name)
        if case.find("OverallResult").get("success") == "true":
            outcome.passed += 1
        else:
            outcome.failed.append((f"{name}: {case_name}", failure_text(case)))
    if unfinished:
        # A crash ends the binary: the first of these is the one that did it.
        outcome.failed += [(f"{name}: {case}", f"did not finish ({ending(status)})")
                           for case in unfinished]
        outcome.failed[-1] = (outcome.failed[-1][0], outcome.failed[-1][1] + "\n" + tail(log))
    elif status != 0 and not outcome.failed:
        outcome.failed.append((name, f"{ending(status)}\n{tail(log)}"))
    return outcome


def run_plain(name, command, seconds, logs, cwd, env):
    outcome = Outcome(name)
    log = logs / f"{name}.log"
    status, outcome.seconds = run(command, log, seconds, cwd, env)
    if status == 0:
        outcome.passed = 1
    else:
        outcome.failed.append((name, f"{ending(status)}\n{tail(log)}"))
    return outcome


def ctest_jobs(build, logs, long):
    """Callables that give an Outcome each, from ctest's own list; serial ones apart."""
    listed = subprocess.run(["ctest", "--show-only=json-v1"], cwd=build, capture_output=True,
                            text=True, check=True)
    parallel, serial, skipped = [], [], Outcome("ctest")
    for test in json.loads(listed.stdout)["tests"]:
        name, command = test["name"], test.get("command")
        properties = {p["name"]: p["value"] for p in test.get("properties", [])}
        if properties.get("DISABLED"):
            skipped.skipped.append((name, "disabled"))
            continue
        if "long" in properties.get("LABELS", []) and not long:
            skipped.skipped.append((name, "takes long; run with --long"))
            continue
        if not command or not Path(command[0]).exists():
            skipped.failed.append((name, "was not built"))
            continue
        seconds = float(properties.get("TIMEOUT", 900))
        if Path(command[0]).parent == build / "tests":
            job = lambda n=name, c=command, s=seconds: run_catch(n, c, s, logs, long)
        else:
            cwd = properties.get("WORKING_DIRECTORY", str(build))
            env = dict(e.split("=", 1) for e in properties.get("ENVIRONMENT", []))
            job = lambda n=name, c=command, s=seconds, d=cwd, e=env: run_plain(n, c, s, logs, d, e)
        (serial if properties.get("RUN_SERIAL") else parallel).append(job)
    return parallel, serial, skipped


def run_pytest(folder, logs, long, programs):
    name = folder.replace("/", "-")
    outcome = Outcome(name)
    log, report = logs / f"{name}.log", logs / f"{name}.xml"
    report.unlink(missing_ok=True)
    env = {"ROCHDALE_LONG": "1"} if long else {}
    env["ROCHDALE_PROGRAMS"] = str(programs)
    env["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT / "sdk/python"), *filter(None, [os.environ.get("PYTHONPATH")])])
    status, outcome.seconds = run(
        ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs",
         f"--junitxml={report}", folder], log, PYTHON_SECONDS_MAX, env=env)
    try:
        cases = list(xml.parse(report).iter("testcase"))
    except (xml.ParseError, FileNotFoundError):
        cases = []
    for case in cases:
        case_name = f"{case.get('classname')}.{case.get('name')}"
        bad = [node for node in case if node.tag in ("failure", "error")]
        skip = case.find("skipped")
        if bad:
            outcome.failed.append((case_name, "\n".join(node.text or "" for node in bad)))
        elif skip is not None:
            outcome.skipped.append((case_name, skip.get("message") or "no reason given"))
        else:
            outcome.passed += 1
    if status != 0 and not outcome.failed:
        outcome.failed.append((name, f"{ending(status)}\n{tail(log)}"))
    return outcome


def show(outcome):
    print(f"{outcome.name}: {outcome.passed} passed, {len(outcome.failed)} failed"
          f" ({outcome.seconds:.1f} s)", flush=True)
    for case, text in outcome.failed:
        shown = text if len(text) < 8000 else text[:8000] + "\n..."
        print(f"  FAILED {case}\n" + re.sub("(?m)^", "    ", shown), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--failed", action="append", default=[], help="a step that failed before")
    args = parser.parse_args()
    build, logs = args.build.resolve(), args.logs.resolve()

    outcomes = [Outcome("build", failed=[(f.split(":")[0], f)]) for f in args.failed]
    try:
        parallel, serial, listed = ctest_jobs(build, logs, args.long)
    except (subprocess.CalledProcessError, ValueError, OSError) as error:
        parallel, serial, listed = [], [], Outcome("ctest", failed=[("ctest", str(error))])
    outcomes.append(listed)
    folders = list(PYTHON_TESTS)
    if (build / "bin" / "rochdale-standalone").exists():
        folders.append(SYSTEM_TESTS)
    else:
        listed.skipped.append((SYSTEM_TESTS, "rochdale-standalone was not built"))
    for folder in folders:
        if any((ROOT / folder).rglob("test_*.py")):
            parallel.append(lambda f=folder: run_pytest(f, logs, args.long, build / "bin"))
    for outcome in outcomes:
        if outcome.failed:
            show(outcome)
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        for done in concurrent.futures.as_completed([pool.submit(job) for job in parallel]):
            outcomes.append(done.result())
            show(outcomes[-1])
    for job in serial:
        outcomes.append(job())
        show(outcomes[-1])

    if not any(outcome.passed or outcome.failed for outcome in outcomes):
        outcomes.append(Outcome("tests", failed=[("tests", "nothing ran")]))

    reasons = {}
    for outcome in outcomes:
        for _, why in outcome.skipped:
            reasons[why] = reasons.get(why, 0) + 1
    for why, count in sorted(reasons.items()):
        print(f"skipped {count}: {why}")
    failed = sum(len(outcome.failed) for outcome in outcomes)
    for outcome in outcomes:
        for case, _ in outcome.failed:
            print(f"FAILED {case}")
    skipped = sum(reasons.values())
    print(f"{sum(outcome.passed for outcome in outcomes)} passed, {failed} failed"
          + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
