#include "libs/rpc/loopback.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace rochdale::rpc {

bool IsLoopback(absl::string_view address) {
  if (absl::StartsWith(address, "unix:")) return true;
  if (address == "::1") return true;
  if (absl::ConsumePrefix(&address, "[::1]")) {
    return address.empty() || absl::StartsWith(address, ":");
  }
  const absl::string_view host = address.substr(0, address.find(':'));
  if (host == "localhost") return true;
  // Four numbers, so that the name 127.example.org is not one of them.
  const std::vector<std::string> parts = absl::StrSplit(host, '.');
  return parts.size() == 4 && parts[0] == "127" &&
         std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
           int value;
           return absl::SimpleAtoi(part, &value) && value >= 0 && value <= 255 &&
                  std::all_of(part.begin(), part.end(), absl::ascii_isdigit);
         });
}

}  // namespace rochdale::rpc
