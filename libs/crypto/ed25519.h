// Ed25519 keys and signatures (libsodium), and the files that keep them.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rochdale::crypto {

// Text form: 64 lower-case hexadecimal digits. The zero value means "none" and verifies nothing.
struct PublicKey {
  std::array<uint8_t, 32> bytes{};

  bool IsZero() const;
  std::string ToString() const;
  // INVALID_ARGUMENT for anything that is not exactly the text form.
  static absl::StatusOr<PublicKey> Parse(absl::string_view text);
  // INVALID_ARGUMENT unless `raw` has 32 bytes.
  static absl::StatusOr<PublicKey> FromBytes(absl::string_view raw);
  absl::string_view AsBytes() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  auto operator<=>(const PublicKey&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const PublicKey& key) {
    return H::combine(std::move(h), key.bytes);
  }
};

struct Signature {
  std::array<uint8_t, 64> bytes{};

  // INVALID_ARGUMENT unless `raw` has 64 bytes.
  static absl::StatusOr<Signature> FromBytes(absl::string_view raw);
  absl::string_view AsBytes() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  auto operator<=>(const Signature&) const = default;
};

// Fills `size` bytes at `out` with unpredictable bytes; tests pass a seeded one.
using RandomBytes = std::function<void(uint8_t* out, size_t size)>;

// The operating system's generator. Thread-safe.
RandomBytes SystemRandomBytes();

// A private key with its public key. Wiped from memory when destroyed. Const methods are
// thread-safe.
class KeyPair {
 public:
  static KeyPair FromSeed(const std::array<uint8_t, 32>& seed);
  // INVALID_ARGUMENT unless `seed` has 32 bytes.
  static absl::StatusOr<KeyPair> FromSeedBytes(absl::string_view seed);
  static KeyPair Generate(const RandomBytes& random);

  KeyPair(const KeyPair&) = default;
  KeyPair& operator=(const KeyPair&) = default;
  ~KeyPair();

  const PublicKey& public_key() const { return public_key_; }
  Signature Sign(absl::string_view message) const;
  // Secret: 64 hexadecimal digits, the content of a key file. Never log it.
  std::string SeedHex() const;

 private:
  KeyPair() = default;
  std::array<uint8_t, 64> secret_{};  // seed, then public key
  PublicKey public_key_;
};

// RFC 8032 verification, strict: refuses S >= L, non-canonical or small-order keys, and small-order
// R.
bool Verify(const PublicKey& key, absl::string_view message, const Signature& signature);

// Reads a private key: a regular file that only its owner may read or write (mode 0600 or
// stricter), holding the seed as 64 lower-case hexadecimal digits and at most one newline.
// NOT_FOUND, PERMISSION_DENIED (mode) or INVALID_ARGUMENT (content), without quoting the content.
absl::StatusOr<KeyPair> LoadKeyFile(const std::string& path);

// Creates `path` with mode 0600 and flushes it to disk. ALREADY_EXISTS: a key file is never
// overwritten.
absl::Status WriteKeyFile(const std::string& path, const KeyPair& key);

}  // namespace rochdale::crypto
