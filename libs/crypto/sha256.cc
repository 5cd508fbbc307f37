#include "libs/crypto/sha256.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/status/status.h"
#include "libs/base/status_macros.h"

namespace rochdale::crypto {
namespace {

// OpenSSL fails here only without memory or without its default provider: nothing can go on.
void Require(bool ok) {
  if (ok) return;
  std::fprintf(stderr, "SHA-256 is not available from OpenSSL\n");
  std::abort();
}

// Fetched once: EVP_sha256() makes OpenSSL 3 look the algorithm up again on every use.
const EVP_MD* Algorithm() {
  static const EVP_MD* const algorithm = [] {
    const EVP_MD* fetched = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    Require(fetched != nullptr);
    return fetched;
  }();
  return algorithm;
}

EVP_MD_CTX* NewContext() {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  Require(context != nullptr && EVP_DigestInit_ex2(context, Algorithm(), nullptr) == 1);
  return context;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

Sha256Hasher& ThreadHasher() {
  thread_local Sha256Hasher hasher;
  return hasher;
}

}  // namespace

bool Digest::IsZero() const {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

std::string Digest::ToString() const { return HexEncode(AsBytes()); }

absl::StatusOr<Digest> Digest::Parse(absl::string_view text) {
  if (text.size() != 64) return absl::InvalidArgumentError("a digest has 64 hexadecimal digits");
  ASSIGN_OR_RETURN(const std::string raw, HexDecode(text));
  return FromBytes(raw);
}

absl::StatusOr<Digest> Digest::FromBytes(absl::string_view raw) {
  if (raw.size() != 32) return absl::InvalidArgumentError("a digest has 32 bytes");
  Digest digest;
  std::copy(raw.begin(), raw.end(), digest.bytes.begin());
  return digest;
}

Digest Sha256(absl::string_view data) { return ThreadHasher().Update(data).Finish(); }

Digest Sha256Of3(absl::string_view a, absl::string_view b, absl::string_view c) {
  return ThreadHasher().Update(a).Update(b).Update(c).Finish();
}

Digest HmacSha256(absl::string_view key, absl::string_view data) {
  Digest mac;
  unsigned int length = 0;
  // A null key pointer would mean "the key of the last call" to OpenSSL.
  const char* key_data = key.empty() ? "" : key.data();
  Require(HMAC(Algorithm(), key_data, static_cast<int>(key.size()),
               reinterpret_cast<const uint8_t*>(data.data()), data.size(), mac.bytes.data(),
               &length) != nullptr &&
          length == mac.bytes.size());
  return mac;
}

void Sha256Hasher::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256Hasher::Sha256Hasher() : context_(NewContext()) {}
Sha256Hasher::~Sha256Hasher() = default;
Sha256Hasher::Sha256Hasher(Sha256Hasher&&) noexcept = default;
Sha256Hasher& Sha256Hasher::operator=(Sha256Hasher&&) noexcept = default;

Sha256Hasher& Sha256Hasher::Update(absl::string_view data) {
  Require(EVP_DigestUpdate(context_.get(), data.data(), data.size()) == 1);
  return *this;
}

Digest Sha256Hasher::Finish() {
  Digest digest;
  unsigned int length = 0;
  Require(EVP_DigestFinal_ex(context_.get(), digest.bytes.data(), &length) == 1);
  Require(EVP_DigestInit_ex2(context_.get(), nullptr, nullptr) == 1);
  return digest;
}

std::string HexEncode(absl::string_view bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    text.push_back(kHex[static_cast<uint8_t>(c) >> 4]);
    text.push_back(kHex[static_cast<uint8_t>(c) & 15]);
  }
  return text;
}

absl::StatusOr<std::string> HexDecode(absl::string_view text) {
  if (text.size() % 2 != 0) {
    return absl::InvalidArgumentError("an odd number of hexadecimal digits");
  }
  std::string bytes;
  bytes.reserve(text.size() / 2);
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = HexValue(text[i]), low = HexValue(text[i + 1]);
    if (high < 0 || low < 0) {
      return absl::InvalidArgumentError("not lower-case hexadecimal digits");
    }
    bytes.push_back(static_cast<char>(high << 4 | low));
  }
  return bytes;
}

}  // namespace rochdale::crypto
