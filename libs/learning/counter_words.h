// A documented stream of 32-bit words from a seed, so that anyone can draw the same numbers:
//   key   = SHA-256(seed)
//   block = SHA-256(tag || key || k as 8 bytes big-endian), k = 0, 1, ...: eight big-endian words
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "libs/crypto/sha256.h"

namespace rochdale::learning {

class CounterWords {
 public:
  // `tag` outlives this.
  CounterWords(absl::string_view tag, absl::string_view seed)
      : tag_(tag), key_(crypto::Sha256(seed)) {}

  uint32_t Next();
  // Uniform in 0 .. bound-1, by rejection. bound >= 1.
  uint32_t Below(uint32_t bound);

 private:
  absl::string_view tag_;
  crypto::Digest key_;
  crypto::Digest words_;
  uint64_t block_ = 0;
  int word_ = 8;
};

}  // namespace rochdale::learning
