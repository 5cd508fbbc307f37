#include "services/attribution/measuring.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>

#include "libs/crypto/canonical.h"

namespace rochdale::attribution {
namespace {

// A sum beyond the wire's range is held at its end: it stands for a loss that no bound allows.
int64_t Held(__int128 sum) {
  return static_cast<int64_t>(
      std::min<__int128>(sum, std::numeric_limits<int64_t>::max()));
}

}  // namespace

Measuring::Measuring(const EarlyRule& rule, const std::vector<NeededProbe>& needed) : rule_(rule) {
  for (const NeededProbe& one : needed) {
    Pair& pair = pairs_.emplace_back();
    pair.needed = one;
    pair.looks = one.bound ? EarlyLooks(rule, one.rows) : std::vector<int64_t>{one.rows};
  }
}

std::vector<Measuring::Part> Measuring::NextParts() const {
  std::vector<size_t> open;
  for (size_t i = 0; i < pairs_.size(); ++i) {
    if (!pairs_[i].decided) open.push_back(i);
  }
  const auto place = [&](size_t i) {
    return std::make_tuple(pairs_[i].needed.probe.value, pairs_[i].raced());
  };
  std::stable_sort(open.begin(), open.end(),
                   [&](size_t a, size_t b) { return place(a) < place(b); });
  std::vector<Part> parts;
  for (size_t k = 0; k < open.size(); ++k) {
    const Pair& pair = pairs_[open[k]];
    const bool same = k > 0 && place(open[k]) == place(open[k - 1]) &&
                      parts.back().pairs.size() < kUpdatesPerPart;
    if (!same) {
      Part& part = parts.emplace_back();
      part.data = pair.needed.data;
      if (pair.raced()) {
        part.begin = pair.taken == 0 ? 0 : pair.looks[pair.taken - 1];
        part.end = pair.looks[pair.taken];
        part.of_rows = pair.looks.back();
      }
    }
    parts.back().pairs.push_back(open[k]);
  }
  return parts;
}

void Measuring::Take(Pair& pair, absl::Span<const int64_t> base, absl::Span<const int64_t> with) {
  for (const int64_t loss : base) pair.base_sum += loss;
  for (const int64_t loss : with) pair.sum += loss;
  pair.rows += static_cast<int64_t>(base.size());
  ++pair.taken;
  if (pair.taken == pair.looks.size()) {
    pair.decided = true;
    return;
  }
  for (size_t r = 0; r < base.size(); ++r) pair.differences.push_back(with[r] - base[r]);
  const int looks = static_cast<int>(pair.looks.size()) - 1;
  pair.decided = LookDecides(rule_, looks, *pair.needed.bound, pair.differences);
}

absl::Status Measuring::Add(const std::vector<std::vector<int64_t>>& losses,
                            absl::string_view spec) {
  const std::vector<Part> parts = NextParts();
  if (losses.size() != parts.size()) return absl::InternalError("a measuring run of other parts");
  for (size_t p = 0; p < parts.size(); ++p) {
    const size_t candidates = parts[p].pairs.size() + 1;
    const size_t rows = losses[p].size() / candidates;
    const bool fits = rows > 0 && rows * candidates == losses[p].size() &&
                      (parts[p].end == 0 ||
                       static_cast<int64_t>(rows) == parts[p].end - parts[p].begin);
    if (!fits) return absl::InternalError("a measuring run of other rows");
    const auto all = absl::MakeConstSpan(losses[p]);
    for (size_t j = 0; j < parts[p].pairs.size(); ++j) {
      Take(pairs_[parts[p].pairs[j]], all.subspan(0, rows), all.subspan((j + 1) * rows, rows));
    }
  }
  specs_.push_back(crypto::Sha256(spec));
  return absl::OkStatus();
}

std::vector<Measurement> Measuring::measurements() const {
  std::vector<Measurement> found;
  for (const Pair& pair : pairs_) {
    Measurement one;
    one.update = pair.needed.update;
    one.probe = pair.needed.probe;
    one.base_loss_sum = Held(pair.base_sum);
    one.loss_sum = Held(pair.sum);
    one.rows = pair.rows;
    one.of_rows = pair.raced() ? pair.looks.back() : pair.rows;
    found.push_back(one);
  }
  return found;
}

crypto::Digest Measuring::EvidenceDigest() const {
  crypto::CanonicalWriter writer;
  for (const crypto::Digest& spec : specs_) writer.Raw(spec.AsBytes());
  for (const Measurement& one : measurements()) {
    writer.Raw(one.update.value.AsBytes()).Raw(one.probe.value.AsBytes());
    writer.I64(one.base_loss_sum).I64(one.loss_sum).I64(one.rows).I64(one.of_rows);
  }
  return crypto::Sha256(writer.bytes());
}

}  // namespace rochdale::attribution
