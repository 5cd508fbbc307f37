#include "services/attribution/looks.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "libs/crypto/canonical.h"
#include "libs/crypto/sha256.h"

namespace rochdale::attribution {
namespace {

constexpr int64_t kZMax = 1'000;  // ten standard errors: 1.5e-23

}  // namespace

std::vector<int64_t> OrderedRows(absl::string_view domain, absl::string_view seed,
                                 std::vector<int64_t> rows) {
  std::vector<std::pair<crypto::Digest, int64_t>> keyed;
  keyed.reserve(rows.size());
  for (const int64_t row : rows) {
    crypto::CanonicalWriter index(4);
    index.U32(static_cast<uint32_t>(row));
    keyed.emplace_back(crypto::Sha256Of3(domain, seed, index.bytes()), row);
  }
  std::sort(keyed.begin(), keyed.end());
  for (size_t i = 0; i < keyed.size(); ++i) rows[i] = keyed[i].second;
  return rows;
}

int64_t StoppingZ(int64_t error_micro, int looks) {
  // The C library's last bits do not matter: no value compared here comes within 1e-5 of a whole
  // number of millionths, save that of z = 0.
  int64_t z = 0;
  while (z < kZMax && std::erfc(static_cast<double>(z) / 100 / std::sqrt(2.0)) * looks * 1e6 >
                          static_cast<double>(error_micro)) {
    ++z;
  }
  return z;
}

}  // namespace rochdale::attribution
