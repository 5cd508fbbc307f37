// One witness of the log, asked over HTTP (c2sp.org/tlog-witness).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/crypto/add_checkpoint.h"
#include "libs/crypto/note.h"
#include "libs/http/client.h"

namespace rochdale::ledger {

struct WitnessName {
  std::string url;      // submission prefix, without a slash at the end
  crypto::NoteKey key;  // its cosignatures verify under

  // "http://127.0.0.1:7445=witness.example.org+hash+key": URL, '=', verifier key.
  // INVALID_ARGUMENT for anything else.
  static absl::StatusOr<WitnessName> Parse(absl::string_view text);
};

// What the witness said to a checkpoint.
struct WitnessAnswer {
  std::string cosignature;             // its line, verified; empty where it refused
  std::optional<uint64_t> known_size;  // what it remembers, where that was the reason
  std::string refusal;                 // in its words
};

// Not thread-safe.
class WitnessClient {
 public:
  explicit WitnessClient(WitnessName name);

  const WitnessName& name() const { return name_; }

  // UNAVAILABLE where there is no answer in time; DATA_LOSS where it is not one of this witness.
  absl::StatusOr<WitnessAnswer> Add(const crypto::AddCheckpoint& request);

  // The checkpoint of the log `origin` that it remembers: an extension of rochdale-witness. Nothing
  // where it has none, or does not know such a question.
  absl::StatusOr<std::optional<std::string>> LastCheckpoint(const std::string& origin);

 private:
  const WitnessName name_;
  http::Client client_;
};

}  // namespace rochdale::ledger
