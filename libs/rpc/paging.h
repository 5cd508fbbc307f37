// Pages by keyset: page_size, page_token -> where to go on; the last row -> next_page_token.
//
//   ASSIGN_OR_RETURN(const rpc::Page page, rpc::ParsePage(request.page_size(),
//       request.page_token(), absl::StrCat("ListTransfers/", request.account_id()), 2));
//   ... WHERE (created, id) > (page.after[0], page.after[1]) ... LIMIT page.size + 1
//   if (there was one row more)
//     response->set_next_page_token(rpc::MakePageToken(binding, {created, id}));
//
// A token is opaque, belongs to one method and its other arguments (the binding), and holds no
// secret: what a caller may see is decided by the query, not by the token.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rochdale::rpc {

inline constexpr int kPageSizeDefault = 50;
inline constexpr int kPageSizeMax = 1'000;

struct Page {
  int size = kPageSizeDefault;     // 1 .. kPageSizeMax
  std::vector<std::string> after;  // the keys of the last row seen; empty: from the start

  bool first() const { return after.empty(); }
};

// `binding`: the method and every argument that selects or orders rows. `keys`: how many keys a
// token of this method holds. A page size of 0 is the default, above the maximum the maximum.
// BAD_REQUEST where it is negative, PAGE_TOKEN_INVALID where the token was not made by
// MakePageToken for this binding and number of keys.
absl::StatusOr<Page> ParsePage(int32_t page_size, absl::string_view page_token,
                               absl::string_view binding, size_t keys);

// At least one key; each is any bytes, all together at most 1 KiB.
std::string MakePageToken(absl::string_view binding, const std::vector<std::string>& keys);

}  // namespace rochdale::rpc
