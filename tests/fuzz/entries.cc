// Canonical bytes of entries: what decodes is encoded to exactly the same bytes (so no two byte
// strings are one entry), and the tables of kinds take or refuse it without harm.
#include "libs/crypto/entry.h"

#include "libs/crypto/entry_kinds.h"
#include "tests/fuzz/target.h"
#include "tests/unit/crypto/sample_entries.h"

using namespace rochdale::crypto;  // NOLINT: a program of its own

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<Entry> entry = DecodeEntry(bytes);
  if (!entry.ok()) return 0;
  const absl::StatusOr<std::string> again = EncodeEntry(*entry);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(*again == bytes);
  FUZZ_CHECK(DecodeEntry(*again).value() == *entry);
  if (!CheckKind(*entry).ok()) return 0;
  // What fits its kind has every field that its kind asks for, readable as its type.
  for (const uint16_t number : FindKind(entry->kind)->required) {
    if (number == 0) continue;
    switch (FindTag(number)->type) {
      case FieldType::kU64: FUZZ_CHECK(entry->U64(number).ok()); break;
      case FieldType::kI64: FUZZ_CHECK(entry->I64(number).ok()); break;
      case FieldType::kBytes: FUZZ_CHECK(entry->Bytes(number).ok()); break;
      case FieldType::kText: FUZZ_CHECK(entry->Text(number).ok()); break;
    }
  }
  return 0;
}

std::vector<std::string> FuzzSeeds() {
  std::vector<std::string> seeds;
  for (const KindInfo& info : Kinds()) {
    seeds.push_back(SampleBuilder(info, false).BuildBytes().value());
    seeds.push_back(SampleBuilder(info, true).BuildBytes().value());
  }
  return seeds;
}
