#include "libs/rpc/paging.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/sha256.h"

namespace rochdale::rpc {
namespace {

// version (1 byte) | first 8 bytes of SHA-256(binding length, binding, keys) | keys, each as a
// 16-bit length and its bytes. Then base64url without padding.
constexpr char kVersion = 1;
constexpr size_t kCheckBytes = 8;
constexpr size_t kTokenMax = 2'048;
constexpr size_t kKeysMax = 1'024;

std::string Check(absl::string_view binding, absl::string_view packed) {
  const crypto::Digest digest =
      crypto::Sha256(absl::StrCat("rochdale page ", binding.size(), " ", binding, packed));
  return std::string(digest.AsBytes().substr(0, kCheckBytes));
}

absl::Status BadToken() {
  return Error("PAGE_TOKEN_INVALID", "the page token does not belong to this method and arguments");
}

absl::StatusOr<std::vector<std::string>> Unpack(absl::string_view packed) {
  std::vector<std::string> keys;
  while (!packed.empty()) {
    if (packed.size() < 2) return BadToken();
    const size_t length = static_cast<uint8_t>(packed[0]) << 8 | static_cast<uint8_t>(packed[1]);
    packed.remove_prefix(2);
    if (packed.size() < length) return BadToken();
    keys.emplace_back(packed.substr(0, length));
    packed.remove_prefix(length);
  }
  return keys;
}

}  // namespace

absl::StatusOr<Page> ParsePage(int32_t page_size, absl::string_view page_token,
                               absl::string_view binding, size_t keys) {
  Page page;
  if (page_size < 0) {
    FieldErrors errors;
    errors.Add("page_size", "must not be negative");
    return errors.ToStatus();
  }
  if (page_size > 0) page.size = std::min<int>(page_size, kPageSizeMax);
  if (page_token.empty()) return page;

  std::string raw;
  if (page_token.size() > kTokenMax || !absl::WebSafeBase64Unescape(page_token, &raw)) {
    return BadToken();
  }
  // One spelling per token: the decoder above also takes padding and spaces.
  if (absl::WebSafeBase64Escape(raw) != page_token) return BadToken();
  if (raw.size() < 1 + kCheckBytes || raw[0] != kVersion) return BadToken();
  const absl::string_view check = absl::string_view(raw).substr(1, kCheckBytes);
  const absl::string_view packed = absl::string_view(raw).substr(1 + kCheckBytes);
  if (check != Check(binding, packed)) return BadToken();
  ASSIGN_OR_RETURN(page.after, Unpack(packed));
  if (page.after.size() != keys) return BadToken();
  return page;
}

std::string MakePageToken(absl::string_view binding, const std::vector<std::string>& keys) {
  std::string packed;
  for (const std::string& key : keys) {
    packed.push_back(static_cast<char>(key.size() >> 8));
    packed.push_back(static_cast<char>(key.size()));
    packed.append(key);
  }
  if (keys.empty() || packed.size() > kKeysMax) {
    std::fprintf(stderr, "a page token takes 1 to %zu bytes of keys\n", kKeysMax);
    std::abort();
  }
  return absl::WebSafeBase64Escape(
      absl::StrCat(std::string(1, kVersion), Check(binding, packed), packed));
}

}  // namespace rochdale::rpc
