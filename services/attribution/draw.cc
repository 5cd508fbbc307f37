#include "services/attribution/draw.h"

#include <algorithm>
#include <utility>

#include "libs/crypto/canonical.h"
#include "libs/crypto/merkle.h"

namespace rochdale::attribution {
namespace {

// The `count` candidates with the smallest keys, in increasing order.
std::vector<int64_t> SmallestKeys(absl::string_view domain, const crypto::Digest& seed,
                                  const std::vector<int64_t>& candidates, int64_t count) {
  std::vector<std::pair<crypto::Digest, int64_t>> keyed;
  keyed.reserve(candidates.size());
  for (const int64_t row : candidates) {
    crypto::CanonicalWriter index(4);
    index.U32(static_cast<uint32_t>(row));
    keyed.emplace_back(crypto::Sha256Of3(domain, seed.AsBytes(), index.bytes()), row);
  }
  const int64_t taken = std::clamp<int64_t>(count, 0, static_cast<int64_t>(keyed.size()));
  std::nth_element(keyed.begin(), keyed.begin() + taken, keyed.end());
  std::vector<int64_t> rows;
  rows.reserve(taken);
  for (int64_t i = 0; i < taken; ++i) rows.push_back(keyed[i].second);
  std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace

std::vector<int64_t> VisibleRows(const crypto::Digest& split_seed, int64_t pool_rows,
                                 int64_t visible_rows) {
  std::vector<int64_t> all(pool_rows);
  for (int64_t row = 0; row < pool_rows; ++row) all[row] = row;
  return SmallestKeys("ROCHDALEsplit1", split_seed, all, visible_rows);
}

int64_t VisibleRowCount(int64_t pool_rows, int64_t visible_fraction_bp) {
  return pool_rows * visible_fraction_bp / 10'000;
}

std::vector<int64_t> DrawSettlementRows(const crypto::Digest& seed, int64_t pool_rows,
                                        const std::vector<int64_t>& visible,
                                        const std::set<int64_t>& retired, int64_t count) {
  std::vector<int64_t> eligible;
  size_t next_visible = 0;
  for (int64_t row = 0; row < pool_rows; ++row) {
    if (next_visible < visible.size() && visible[next_visible] == row) {
      ++next_visible;
    } else if (!retired.contains(row)) {
      eligible.push_back(row);
    }
  }
  return SmallestKeys("ROCHDALEdraw1", seed, eligible, count);
}

crypto::Digest PoolRoot(learning::Rows rows, const std::vector<int64_t>& visible) {
  crypto::Frontier tree;
  size_t next_visible = 0;
  for (int64_t row = 0; row < rows.count(); ++row) {
    const bool shown = next_visible < visible.size() && visible[next_visible] == row;
    next_visible += shown;
    const auto inputs = rows.inputs.subspan(row * rows.dimension, rows.dimension);
    crypto::CanonicalWriter leaf(9 + inputs.size());
    leaf.U32(static_cast<uint32_t>(row)).U8(shown).U32(static_cast<uint32_t>(rows.labels[row]));
    leaf.Raw({reinterpret_cast<const char*>(inputs.data()), inputs.size()});
    tree.Append(crypto::LeafHash(leaf.bytes()));
  }
  return tree.Root();
}

}  // namespace rochdale::attribution
