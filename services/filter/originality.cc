#include "services/filter/originality.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::filter {
namespace {

// A part of a unit vector shorter than this (squared) is rounding: no direction is left in it.
constexpr double kResidualMin = 1e-10;
constexpr int64_t kOneMicro = 1'000'000;

// Rounded up, so that a ratio is above a limit exactly if its millionths are.
int64_t ToMicro(double ratio) {
  return static_cast<int64_t>(std::ceil(std::clamp(ratio, 0.0, 1.0) * kOneMicro));
}

// Cosines of all pairs.
class Cosines {
 public:
  Cosines(absl::Span<const double> gram, size_t count) : count_(count), values_(gram.size()) {
    std::vector<double> inverse(count, 0.0);
    for (size_t i = 0; i < count; ++i) {
      const double square = gram[i * count + i];
      if (square > 0) inverse[i] = 1.0 / std::sqrt(square);
    }
    for (size_t i = 0; i < count; ++i) {
      for (size_t j = 0; j < count; ++j) {
        values_[i * count + j] = i == j ? (inverse[i] > 0 ? 1.0 : 0.0)
                                        : gram[i * count + j] * inverse[i] * inverse[j];
      }
    }
  }

  double operator()(size_t i, size_t j) const { return values_[i * count_ + j]; }
  bool IsZero(size_t i) const { return values_[i * count_ + i] == 0.0; }

 private:
  size_t count_;
  std::vector<double> values_;
};

// Squared partial correlations of i with members of `others`, given the mean of the remaining.
class PartialCorrelation {
 public:
  PartialCorrelation(const Cosines& cosines, size_t i, const std::vector<size_t>& others)
      : cosines_(cosines), i_(i), others_(others) {
    for (const size_t a : others_) {
      own_sum_ += cosines_(i_, a);
      double row = 0;
      for (const size_t b : others_) row += cosines_(a, b);
      row_sums_.push_back(row);
      total_ += row;
    }
  }

  // `position` is that of j in `others`.
  double Squared(size_t position) const {
    const size_t j = others_[position];
    const double pair = cosines_(i_, j);
    if (others_.size() == 1) return pair * pair;
    // Dots with the sum of the remaining; its length cancels out of the projections.
    const double i_rest = own_sum_ - pair;
    const double j_rest = row_sums_[position] - 1.0;
    const double rest_rest = total_ - 2.0 * row_sums_[position] + 1.0;
    if (rest_rest <= kResidualMin) return pair * pair;  // the remaining cancel: nothing to remove
    const double i_left = 1.0 - i_rest * i_rest / rest_rest;
    const double j_left = 1.0 - j_rest * j_rest / rest_rest;
    // Nothing of one of them is left beside the mean: no pair to speak of (EV sees mixtures).
    if (i_left <= kResidualMin || j_left <= kResidualMin) return 0.0;
    const double both = pair - i_rest * j_rest / rest_rest;
    return both * both / (i_left * j_left);
  }

 private:
  const Cosines& cosines_;
  size_t i_;
  const std::vector<size_t>& others_;
  double own_sum_ = 0;
  double total_ = 0;
  std::vector<double> row_sums_;
};

// The part of unit vector i's squared length in the span of `basis`: Cholesky with pivots in order
// of the residual length (ties: the lower index), until only rounding is left.
double Explained(const Cosines& cosines, size_t i, std::vector<size_t> basis) {
  const size_t size = basis.size();
  std::vector<double> residual(size, 1.0);          // squared length outside the span so far
  std::vector<std::vector<double>> columns;         // components along each pivot's direction
  std::vector<double> target;                       // of i along each pivot's direction
  double explained = 0;
  for (size_t step = 0; step < size; ++step) {
    const auto best = std::max_element(residual.begin(), residual.end());
    if (*best <= kResidualMin) break;
    const size_t pivot = static_cast<size_t>(best - residual.begin());
    const double length = std::sqrt(*best);
    double along = cosines(i, basis[pivot]);
    for (size_t c = 0; c < columns.size(); ++c) along -= target[c] * columns[c][pivot];
    along /= length;
    std::vector<double> column(size);
    for (size_t a = 0; a < size; ++a) column[a] = cosines(basis[a], basis[pivot]);
    for (const std::vector<double>& before : columns) {
      const double factor = before[pivot];
      for (size_t a = 0; a < size; ++a) column[a] -= before[a] * factor;
    }
    for (size_t a = 0; a < size; ++a) {
      column[a] = residual[a] <= kResidualMin ? 0.0 : column[a] / length;
      residual[a] -= column[a] * column[a];
    }
    residual[pivot] = 0;
    columns.push_back(std::move(column));
    target.push_back(along);
    explained += along * along;
  }
  return explained;
}

absl::Status Validate(absl::Span<const OriginalityEntry> entries, absl::Span<const double> gram) {
  const size_t count = entries.size();
  if (count > kOriginalityUpdatesMax || gram.size() != count * count) {
    return absl::InvalidArgumentError("the Gram matrix does not fit the updates");
  }
  std::set<uint64_t> indices;
  for (const OriginalityEntry& entry : entries) {
    if (entry.stands_for && (*entry.stands_for >= count || !entry.current ||
                             !entries[*entry.stands_for].current ||
                             entries[*entry.stands_for].log_index >= entry.log_index)) {
      return absl::InvalidArgumentError("what stands for an update is not before it");
    }
    if (entry.current && !indices.insert(entry.log_index).second) {
      return absl::InvalidArgumentError("two commitments with one log index");
    }
  }
  for (size_t i = 0; i < gram.size(); ++i) {
    const bool square = i % (count + 1) == 0;
    if (!std::isfinite(gram[i]) || (square && gram[i] < 0)) {
      return Error("TENSOR_NOT_FINITE", "the Gram matrix of the round has an invalid number");
    }
  }
  return absl::OkStatus();
}

OriginalityResult Judge(const Cosines& cosines, absl::Span<const OriginalityEntry> entries,
                        size_t i, const OriginalityLimits& limits) {
  OriginalityResult result;
  result.lineage = entries[i].lineage;
  if (cosines.IsZero(i)) return result;
  const auto is_earlier = [&](size_t j) {
    return !entries[j].current || entries[j].log_index < entries[i].log_index;
  };
  std::vector<size_t> others;
  std::vector<size_t> earlier;
  for (size_t j = 0; j < entries.size(); ++j) {
    if (j == i || entries[j].lineage == entries[i].lineage || cosines.IsZero(j)) continue;
    others.push_back(j);
    if (is_earlier(j)) earlier.push_back(j);
  }
  const PartialCorrelation partial(cosines, i, others);
  double r1 = 0;
  for (size_t position = 0; position < others.size(); ++position) {
    if (!is_earlier(others[position])) continue;
    const double squared = partial.Squared(position);
    if (squared > r1 || !result.partner) {
      r1 = std::max(r1, squared);
      result.partner = others[position];
    }
  }
  result.r1_micro = ToMicro(r1);
  result.ev_micro = ToMicro(Explained(cosines, i, std::move(earlier)));
  result.original = result.r1_micro <= limits.r1_micro && result.ev_micro <= limits.ev_micro;
  return result;
}

}  // namespace

absl::StatusOr<std::vector<OriginalityResult>> Originality(
    absl::Span<const OriginalityEntry> entries, absl::Span<const double> gram,
    const OriginalityLimits& limits) {
  RETURN_IF_ERROR(Validate(entries, gram));
  const Cosines cosines(gram, entries.size());
  std::vector<size_t> order;
  std::vector<OriginalityResult> results(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    results[i].lineage = entries[i].lineage;
    if (entries[i].current) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return entries[a].log_index < entries[b].log_index;
  });
  // In order of commitment: a partner's own lineage is settled before it is taken over.
  for (const size_t i : order) {
    results[i] = Judge(cosines, entries, i, limits);
    if (!results[i].original && results[i].partner) {
      results[i].lineage = results[*results[i].partner].lineage;
    }
    if (entries[i].stands_for) results[i].lineage = results[*entries[i].stands_for].lineage;
  }
  return results;
}

int64_t CountLineages(absl::Span<const OriginalityEntry> entries,
                      absl::Span<const OriginalityResult> results) {
  std::set<Uuid> lineages;
  for (size_t i = 0; i < entries.size() && i < results.size(); ++i) {
    if (entries[i].current) lineages.insert(results[i].lineage);
  }
  return static_cast<int64_t>(lineages.size());
}

}  // namespace rochdale::filter
