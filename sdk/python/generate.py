"""Makes rochdale/_proto from the repository's protos, docs and tables. See scripts/generate-sdk.

Generated modules live below rochdale._proto, since `rochdale.common.v1` would collide with the
package itself. google/rpc is renamed (package and path) before it is compiled, so that it never
meets another copy of the same files in the process-wide descriptor pool; on the wire nothing
changes but the type URLs, which errors.py compares by hand.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = HERE / "rochdale" / "_proto"
PROTOS = ROOT / "protos"
ERRORS = ROOT / "docs" / "errors.md"
KINDS = [ROOT / "libs/crypto/entry_kinds.h", ROOT / "libs/crypto/entry_kinds.cc",
         ROOT / "libs/crypto/entry.h"]
RENAMED = "rochdale_google"


def sources():
    return [*sorted((PROTOS / "rochdale").rglob("*.proto")),
            *sorted((PROTOS / "google/rpc").glob("*.proto")), ERRORS, *KINDS, Path(__file__)]


def is_stale():
    stamp = TARGET / "stamp"
    if not stamp.exists():
        return True
    made = stamp.stat().st_mtime_ns
    return any(source.stat().st_mtime_ns > made for source in sources() if source.exists())


def stage(work):
    """A copy of the protos with google/rpc renamed; returns the paths to compile."""
    paths = []
    for source in sources():
        if source.suffix != ".proto":
            continue
        relative = source.relative_to(PROTOS)
        text = source.read_text()
        if relative.parts[0] == "google":
            relative = Path(RENAMED, *relative.parts[1:])
            text = text.replace("package google.rpc;", f"package {RENAMED}.rpc;")
            text = text.replace('import "google/rpc/', f'import "{RENAMED}/rpc/')
        destination = work / "in" / relative
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(text)
        paths.append(str(relative))
    return paths


def compile_protos(work, paths):
    out = work / "out"
    out.mkdir()
    arguments = [f"-I{work / 'in'}", f"--python_out={out}"]
    services = [p for p in paths if "\nservice " in (work / "in" / p).read_text()]
    protoc, plugin = shutil.which("protoc"), shutil.which("grpc_python_plugin")
    if protoc and plugin:
        subprocess.run([protoc, *arguments, *paths], check=True)
        subprocess.run([protoc, f"-I{work / 'in'}", f"--plugin=protoc-gen-grpc_python={plugin}",
                        f"--grpc_python_out={out}", *services], check=True)
    else:
        tools = [sys.executable, "-m", "grpc_tools.protoc"]
        subprocess.run([*tools, *arguments, *paths], check=True)
        subprocess.run([*tools, f"-I{work / 'in'}", f"--grpc_python_out={out}", *services],
                       check=True)
    imports = re.compile(rf"(?m)^(from|import) ((?:rochdale|{RENAMED})(?:\.[\w.]+)?)(?= )")
    for module in out.rglob("*.py"):
        module.write_text(imports.sub(r"\1 rochdale._proto.\2", module.read_text()))
    for folder in [out, *(d for d in out.rglob("*") if d.is_dir())]:
        (folder / "__init__.py").touch()
    return out


def reason_table():
    rows = re.findall(r"(?m)^\| `([A-Z_]+)` \| ([A-Z_]+) \| (.*?) \|$", ERRORS.read_text())
    if not rows:
        raise SystemExit(f"{ERRORS}: no table of reasons")
    lines = [f"    {reason!r}: ({code!r}, {meaning!r}),\n" for reason, code, meaning in rows]
    return ('"""Error reasons, from docs/errors.md: reason -> (gRPC code, meaning)."""\n\n'
            "REASONS = {\n" + "".join(lines) + "}\n")


def constants(header, namespace):
    body = re.search(rf"namespace {namespace} {{(.*?)}}  // namespace {namespace}", header, re.S)
    return {name: int(number) for name, number in
            re.findall(r"constexpr uint16_t k(\w+) = (\d+);", body.group(1))}


def entry_table():
    header, source, layout = (path.read_text() for path in KINDS)
    tags, kinds = constants(header, "tag"), constants(header, "kind")
    tag_rows = re.findall(
        r'\{tag::k(\w+),\s*"(\w+)",\s*k(U64|I64|Bytes|Text),\s*(\d+),\s*"([^"]*)"\}', source)
    kind_rows = re.findall(r'\{kind::k(\w+),\s*"(\w+)",\s*k(\w+),\s*k(\w+),\s*"([^"]*)"', source)
    if {row[0] for row in tag_rows} != set(tags) or {row[0] for row in kind_rows} != set(kinds):
        raise SystemExit("libs/crypto/entry_kinds: header and table name different entries")
    aliases = {"Gov": "Governance", "Fil": "Filter", "Att": "Attribution", "Led": "Ledger",
               "Pay": "Payout"}
    links = {"Pays": "Pay"}

    def enumerators(name):
        body = re.search(rf"enum class {name} : uint8_t {{(.*?)}};", layout, re.S).group(1)
        return {word: int(number) for word, number in re.findall(r"k(\w+) = (\d+)", body)}

    services, places, types = (enumerators(n) for n in ("Service", "ChainLink", "FieldType"))
    out = ['"""The tables of libs/crypto/entry_kinds.{h,cc}."""\n\n']
    out.append("# Number -> name.\nSERVICES = "
               + repr({n: w.upper() for w, n in services.items()}) + "\n")
    out.append("LINKS = " + repr({n: w.upper() for w, n in places.items()}) + "\n")
    out.append("\n# Tag -> (name, type: 1 u64, 2 i64, 3 bytes, 4 text, exact size or 0).\n")
    out.append("TAGS = {\n")
    for constant, name, kind, size, _ in tag_rows:
        out.append(f"    {tags[constant]}: ({name!r}, {types[kind]}, {int(size)}),\n")
    out.append("}\n\n# Number -> (name, service, link, what the subject is).\nKINDS = {\n")
    for constant, name, service, link, subject in kind_rows:
        out.append(f"    {kinds[constant]}: ({name!r}, {services[aliases[service]]}, "
                   f"{places[links.get(link, link)]}, {subject!r}),\n")
    out.append("}\n")
    return "".join(out)


def main():
    if "--if-stale" in sys.argv[1:] and not is_stale():
        return
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    # One at a time: tests and the demo may both find the result stale.
    lock = os.open(TARGET.parent, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if "--if-stale" in sys.argv[1:] and not is_stale():
        return
    with tempfile.TemporaryDirectory(dir=TARGET.parent, prefix=".generate-") as folder:
        work = Path(folder)
        out = compile_protos(work, stage(work))
        (out / "reasons.py").write_text(reason_table())
        (out / "entry_table.py").write_text(entry_table())
        (out / "stamp").touch()
        old = work / "old"
        if TARGET.exists():
            TARGET.rename(old)
        out.rename(TARGET)


if __name__ == "__main__":
    main()
