#include "services/filter/direction.h"

#include <algorithm>
#include <cmath>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/tensor/grid.h"

namespace rochdale::filter {
namespace {

constexpr double kToleranceRelative = 1e-9;    // of |d||g|: what a solution must meet
constexpr double kPolishedRelative = 1e-12;    // what ends the search early
constexpr double kPivotMin = 1e-12;            // of |g|^2: below it gradients are dependent
constexpr int kSweepsPerPolish = 16;

// minimise 1/2 l'Ml - l'v over l >= 0, v = <d,g> - b: the dual of the projection.
class Dual {
 public:
  Dual(double norm, absl::Span<const DirectionConstraint> constraints,
       absl::Span<const double> gram)
      : count_(constraints.size()), norm_(norm), gram_(gram), lambdas_(count_, 0.0) {
    for (size_t k = 0; k < count_; ++k) {
      const double length = std::sqrt(Gram(k, k));
      const double eps = static_cast<double>(constraints[k].eps_micro) / 1e6;
      lengths_.push_back(length);
      excess_.push_back(constraints[k].dot - eps * norm * length);
    }
  }

  absl::Status Solve() {
    for (int sweep = 0; sweep < kDirectionSweepsMax; ++sweep) {
      if (sweep % kSweepsPerPolish == 0) {
        if (Error() <= kPolishedRelative || Polish()) return absl::OkStatus();
      }
      for (size_t k = 0; k < count_; ++k) Ascend(k);
    }
    if (Error() <= kToleranceRelative) return absl::OkStatus();
    return rochdale::Error("RULE_ERROR", "the projection did not converge");
  }

  const std::vector<double>& lambdas() const { return lambdas_; }
  int64_t operations() const { return operations_; }

 private:
  double Gram(size_t a, size_t b) const { return gram_[a * count_ + b]; }

  // excess_k less what the current lambdas take away: positive where violated.
  double Left(size_t k, const std::vector<double>& lambdas) {
    double left = excess_[k];
    for (size_t j = 0; j < count_; ++j) left -= Gram(k, j) * lambdas[j];
    operations_ += static_cast<int64_t>(count_);
    return left;
  }

  // The largest breach of the optimality conditions, relative to |d||g|: a violated constraint,
  // or a slack one that is still pushed.
  double Error() { return Error(lambdas_); }
  double Error(const std::vector<double>& lambdas) {
    double worst = 0;
    for (size_t k = 0; k < count_; ++k) {
      const double unit = norm_ * lengths_[k];
      if (unit <= 0) continue;
      const double left = Left(k, lambdas) / unit;
      worst = std::max(worst, lambdas[k] > 0 ? std::abs(left) : left);
    }
    return worst;
  }

  void Ascend(size_t k) {
    if (Gram(k, k) <= 0) return;
    lambdas_[k] = std::max(0.0, lambdas_[k] + Left(k, lambdas_) / Gram(k, k));
  }

  // Solves the constraints that are active now as equations (Cholesky); takes the solution where
  // it is optimal. False where it is not, or where active gradients depend on each other.
  bool Polish() {
    std::vector<size_t> active;
    for (size_t k = 0; k < count_; ++k) {
      if (lambdas_[k] > 0) active.push_back(k);
    }
    const size_t size = active.size();
    if (size == 0) return false;
    std::vector<double> lower(size * size, 0.0);
    std::vector<double> solution(size);
    for (size_t a = 0; a < size; ++a) {
      for (size_t b = 0; b <= a; ++b) {
        double value = Gram(active[a], active[b]);
        for (size_t c = 0; c < b; ++c) value -= lower[a * size + c] * lower[b * size + c];
        if (a != b) {
          lower[a * size + b] = value / lower[b * size + b];
        } else if (value <= kPivotMin * Gram(active[a], active[a])) {
          return false;
        } else {
          lower[a * size + a] = std::sqrt(value);
        }
      }
      double value = excess_[active[a]];
      for (size_t c = 0; c < a; ++c) value -= lower[a * size + c] * solution[c];
      solution[a] = value / lower[a * size + a];
    }
    operations_ += static_cast<int64_t>(size * size * size);
    for (size_t a = size; a-- > 0;) {
      for (size_t c = a + 1; c < size; ++c) solution[a] -= lower[c * size + a] * solution[c];
      solution[a] /= lower[a * size + a];
    }
    std::vector<double> candidate(count_, 0.0);
    for (size_t a = 0; a < size; ++a) {
      if (!(solution[a] >= 0)) return false;
      candidate[active[a]] = solution[a];
    }
    if (Error(candidate) > kToleranceRelative) return false;
    lambdas_ = std::move(candidate);
    return true;
  }

  size_t count_;
  double norm_;
  absl::Span<const double> gram_;
  std::vector<double> lambdas_;
  std::vector<double> lengths_;
  std::vector<double> excess_;
  int64_t operations_ = 0;
};

absl::Status Validate(double norm, absl::Span<const DirectionConstraint> constraints,
                      absl::Span<const double> gram) {
  const size_t count = constraints.size();
  if (count > kDirectionConstraintsMax || gram.size() != count * count) {
    return absl::InvalidArgumentError("the Gram matrix does not fit the constraints");
  }
  bool valid = std::isfinite(norm) && norm >= 0;
  for (size_t k = 0; k < count; ++k) {
    if (constraints[k].eps_micro < 0 || constraints[k].eps_micro > 1'000'000) {
      return absl::InvalidArgumentError("eps must lie between 0 and 1");
    }
    valid = valid && std::isfinite(constraints[k].dot) && gram[k * count + k] >= 0;
  }
  for (const double value : gram) valid = valid && std::isfinite(value);
  if (!valid) return Error("TENSOR_NOT_FINITE", "a direction rule has an invalid number");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Projection> Project(double norm, absl::Span<const DirectionConstraint> constraints,
                                   absl::Span<const double> gram) {
  RETURN_IF_ERROR(Validate(norm, constraints, gram));
  Projection projection;
  projection.lambdas.assign(constraints.size(), 0.0);
  if (norm == 0 || constraints.empty()) return projection;
  Dual dual(norm, constraints, gram);
  RETURN_IF_ERROR(dual.Solve());
  projection.lambdas = dual.lambdas();
  projection.operations = dual.operations();
  // |x|^2 = |d|^2 - 2 l'<d,g> + l'Ml.
  double square = norm * norm;
  for (size_t a = 0; a < constraints.size(); ++a) {
    const double lambda = projection.lambdas[a];
    if (lambda == 0) continue;
    projection.changed = true;
    double row = 0;
    for (size_t b = 0; b < constraints.size(); ++b) {
      row += gram[a * constraints.size() + b] * projection.lambdas[b];
    }
    square += lambda * (row - 2 * constraints[a].dot);
  }
  if (projection.changed) projection.kept = std::sqrt(std::max(0.0, square)) / norm;
  return projection;
}

absl::Status ApplyProjection(absl::Span<const float> delta, double scale,
                             absl::Span<const double> lambdas,
                             absl::Span<const absl::Span<const float>> gradients,
                             absl::Span<int32_t> effective) {
  if (gradients.size() != lambdas.size() || effective.size() != delta.size()) {
    return absl::InvalidArgumentError("gradients, lambdas and update do not fit");
  }
  std::vector<size_t> used;
  for (size_t k = 0; k < lambdas.size(); ++k) {
    if (lambdas[k] > 0) used.push_back(k);
    if (gradients[k].size() != delta.size()) {
      return absl::InvalidArgumentError("a gradient has another length than the update");
    }
  }
  for (size_t e = 0; e < delta.size(); ++e) {
    double value = scale * static_cast<double>(delta[e]);
    for (const size_t k : used) value -= lambdas[k] * static_cast<double>(gradients[k][e]);
    effective[e] = tensor::RoundToGrid(value);
  }
  return absl::OkStatus();
}

int64_t DirectionMicro(double dot, double update_norm, double gradient_norm) {
  if (update_norm <= 0 || gradient_norm <= 0) return 0;
  const double ratio = dot / update_norm / gradient_norm * 1e6;
  return static_cast<int64_t>(std::ceil(std::clamp(ratio, -1e15, 1e15)));
}

double DirectionSlack(double update_norm, double gradient_norm, uint64_t elements) {
  const double rounding = std::sqrt(static_cast<double>(elements)) / (1 << 21);
  return gradient_norm * (rounding + kToleranceRelative * update_norm);
}

}  // namespace rochdale::filter
