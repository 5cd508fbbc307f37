"""The house rules of the protos, read from the descriptors that protoc makes."""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parents[3]
PROTOS = ROOT / "protos"
READS = re.compile(r"^(Get|List|Watch|Download|Resolve|Check|Verify)")
# Numbers in descriptor.proto, from which the path of a comment is made.
MESSAGE, ENUM, SERVICE, EXTENSION = 4, 5, 6, 7         # of FileDescriptorProto
FIELD, NESTED, NESTED_ENUM = 2, 3, 4                   # of DescriptorProto
VALUE, METHOD = 2, 2                                   # of EnumDescriptorProto, ServiceDescriptor


def descriptors(folder, *names):
    """FileDescriptorProtos of these files (paths relative to `folder`) and what they import."""
    with tempfile.NamedTemporaryFile(suffix=".pb") as out:
        subprocess.run(["protoc", f"--proto_path={folder}", "--include_source_info",
                        "--include_imports", f"--descriptor_set_out={out.name}", *names],
                       check=True, cwd=folder)
        parsed = descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes())
    return parsed.file


def has_access(method):
    """Whether the method carries the option `access` (field 50001) with at least one role."""
    data, at = method.options.SerializeToString(), 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 2:
            size = varint()
            if key >> 3 == 50001:
                return size > 0
            at += size
        elif key & 7 == 0:
            varint()
        else:
            at += 8 if key & 7 == 1 else 4
    return False


class Lint:
    """Collects the defects of one file; `messages` are all known ones by full name."""

    def __init__(self, file, messages):
        self.file, self.messages, self.defects = file, messages, []
        self.comments = {tuple(l.path): l.leading_comments + l.trailing_comments
                         for l in file.source_code_info.location}

    def say(self, what):
        self.defects.append(f"{self.file.name}: {what}")

    def need_comment(self, path, what):
        if not self.comments.get(path, "").strip():
            self.say(f"{what} has no comment")

    def run(self):
        if self.file.package != str(Path(self.file.name).parent).replace("/", "."):
            self.say(f"package {self.file.package} is not its directory")
        if self.file.syntax != "proto3":
            self.say("is not proto3")
        for i, message in enumerate(self.file.message_type):
            self.message(message, (MESSAGE, i))
        for i, enum in enumerate(self.file.enum_type):
            self.enum(enum, (ENUM, i))
        for i, service in enumerate(self.file.service):
            self.service(service, (SERVICE, i))
        for i, extension in enumerate(self.file.extension):
            self.need_comment((EXTENSION, i), f"extension {extension.name}")
        return self.defects

    def message(self, message, path):
        if message.options.map_entry:
            return
        self.need_comment(path, f"message {message.name}")
        for i, field in enumerate(message.field):
            self.need_comment((*path, FIELD, i), f"field {message.name}.{field.name}")
            if not re.fullmatch(r"[a-z][a-z0-9_]*", field.name):
                self.say(f"field {message.name}.{field.name} is not snake_case")
        for i, nested in enumerate(message.nested_type):
            self.message(nested, (*path, NESTED, i))
        for i, enum in enumerate(message.enum_type):
            self.enum(enum, (*path, NESTED_ENUM, i))

    def enum(self, enum, path):
        self.need_comment(path, f"enum {enum.name}")
        prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper()
        first = enum.value[0]
        if first.number != 0 or first.name != f"{prefix}_UNSPECIFIED":
            self.say(f"enum {enum.name} does not begin with {prefix}_UNSPECIFIED = 0")
        for i, value in enumerate(enum.value):
            self.need_comment((*path, VALUE, i), f"value {value.name}")
            if not value.name.startswith(prefix + "_"):
                self.say(f"value {value.name} does not begin with {prefix}_")

    def service(self, service, path):
        self.need_comment(path, f"service {service.name}")
        for i, method in enumerate(service.method):
            self.need_comment((*path, METHOD, i), f"rpc {method.name}")
            if not has_access(method):
                self.say(f"rpc {method.name} has no access rule")
            fields = {f.name: f for f in self.messages[method.input_type].field}
            # A stream of chunks is made idempotent by its offsets.
            if not READS.match(method.name) and not method.client_streaming:
                if "request_id" not in fields:
                    self.say(f"rpc {method.name} changes something and has no request_id")
            if method.name.startswith("List"):
                self.paging(method, fields)

    def paging(self, method, fields):
        answer = {f.name for f in self.messages[method.output_type].field}
        missing = {"page_size", "page_token"} - set(fields)
        missing |= {"next_page_token"} - answer
        if missing:
            self.say(f"rpc {method.name} lists without {', '.join(sorted(missing))}")


def lint(folder, *names):
    """All defects in the files `names`."""
    files = descriptors(folder, *names)
    messages = {}

    def know(message, scope):
        messages[f"{scope}.{message.name}"] = message
        for nested in message.nested_type:
            know(nested, f"{scope}.{message.name}")

    for file in files:
        for message in file.message_type:
            know(message, f".{file.package}" if file.package else "")
    return [defect for file in files if file.name in names
            for defect in Lint(file, messages).run()]


BAD = """
syntax = "proto3";
package wrong;
service Things {
  rpc MakeThing(MakeThingRequest) returns (Thing) {}
  // Commented.
  rpc ListThings(MakeThingRequest) returns (Thing) {}
}
// Asks.
message MakeThingRequest { string name = 1; }
// A thing.
message Thing {
  // Good.
  string good_name = 1;
  // Bad.
  string badName = 2;
}
// Kinds.
enum ThingKind {
  // First.
  FIRST = 0;
  THING_KIND_SECOND = 1;
}
"""


class Protos(unittest.TestCase):
    def test_the_lint_itself(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "a").mkdir()
            Path(folder, "a/bad.proto").write_text(BAD)
            defects = lint(folder, "a/bad.proto")
        self.assertEqual(sorted(d.removeprefix("a/bad.proto: ") for d in defects), sorted([
            "package wrong is not its directory",
            "field MakeThingRequest.name has no comment",
            "field Thing.badName is not snake_case",
            "enum ThingKind does not begin with THING_KIND_UNSPECIFIED = 0",
            "value FIRST does not begin with THING_KIND_",
            "value THING_KIND_SECOND has no comment",
            "service Things has no comment",
            "rpc MakeThing has no comment",
            "rpc MakeThing has no access rule",
            "rpc MakeThing changes something and has no request_id",
            "rpc ListThings has no access rule",
            "rpc ListThings lists without next_page_token, page_size, page_token",
        ]))

    def test_our_protos(self):
        names = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.glob("rochdale/**/*.proto"))
        self.assertTrue(names)
        defects = lint(PROTOS, *names)
        self.assertFalse(defects, "\n" + "\n".join(defects))


if __name__ == "__main__":
    unittest.main()
