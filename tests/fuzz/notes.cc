// Signed notes, checkpoints and verifier keys: what parses is written the same again, and nothing
// opens as a checkpoint of a log but what that log signed.
#include "libs/crypto/note.h"

#include "tests/fuzz/target.h"

using namespace rochdale::crypto;  // NOLINT: a program of its own

namespace {

const char kOrigin[] = "fuzz.example/log";
KeyPair LogKey() { return KeyPair::FromSeed({1, 2, 3}); }
KeyPair WitnessKey() { return KeyPair::FromSeed({4, 5, 6}); }
const NoteKey& Log() {
  static const NoteKey key{kOrigin, NoteAlgorithm::kEd25519, LogKey().public_key()};
  return key;
}
const NoteKey& Witness() {
  static const NoteKey key{"witness.example", NoteAlgorithm::kCosignatureV1,
                           WitnessKey().public_key()};
  return key;
}

const std::vector<Checkpoint>& Signed() {
  static const std::vector<Checkpoint> all = {{kOrigin, 1, Sha256("a")},
                                              {kOrigin, 70'000, Sha256("b")},
                                              {kOrigin, (uint64_t{1} << 62) - 1, Sha256("c")}};
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto note = ParseNote(bytes); note.ok()) {
    FUZZ_CHECK(FormatNote(*note) == bytes);
    FUZZ_CHECK(note->signatures.size() <= kNoteMaxSignatures);
    if (VerifyCosignature(*note, Witness()).ok()) FUZZ_CHECK(note->text == Signed()[1].ToText());
  } else {
    FUZZ_CHECK(!OpenCheckpoint(bytes, Log()).ok());
  }
  if (const auto opened = OpenCheckpoint(bytes, Log()); opened.ok()) {
    bool known = false;
    for (const Checkpoint& checkpoint : Signed()) known |= checkpoint == *opened;
    FUZZ_CHECK(known);
  }
  if (const auto checkpoint = Checkpoint::Parse(bytes); checkpoint.ok()) {
    FUZZ_CHECK(checkpoint->ToText() == bytes);
  }
  if (const auto key = NoteKey::Parse(bytes); key.ok()) FUZZ_CHECK(key->ToString() == bytes);
  if (const auto number = ParseStrictDecimal(bytes); number.ok()) {
    FUZZ_CHECK(std::to_string(*number) == bytes);
  }
  return 0;
}

std::vector<std::string> FuzzSeeds() {
  std::vector<std::string> seeds = {Log().ToString(), Witness().ToString(), "0", "70000",
                                    "18446744073709551615"};
  for (const Checkpoint& checkpoint : Signed()) {
    seeds.push_back(checkpoint.ToText());
    seeds.push_back(FormatNote(SignCheckpoint(checkpoint, LogKey()).value()));
  }
  Note cosigned = SignCheckpoint(Signed()[1], LogKey()).value();
  cosigned.signatures.push_back(
      CosignNote("witness.example", WitnessKey(), cosigned.text, 1'700'000'000).value());
  seeds.push_back(FormatNote(cosigned));
  // By somebody else, under the log's name.
  seeds.push_back(FormatNote(SignCheckpoint({kOrigin, 5, Sha256("d")}, WitnessKey()).value()));
  return seeds;
}
