#include "services/filter/direction.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/tensor/grid.h"

namespace rochdale::filter {
namespace {

constexpr double kToleranceRelative = 1e-9;  // of |d||g|: what a solution must meet
constexpr double kSoughtRelative = 1e-12;     // what ends the search early
// Added to the diagonal of the unit Gram matrix. Gradients of similar probes are nearly parallel,
// and this keeps every equation solvable; repeated steps from the last solution take its effect
// out again (the proximal point method).
constexpr double kProximal = 1e-10;

// minimise 1/2 l'Ml - l'v over l >= 0, where v = <d,g> - b: the dual of the projection, for
// gradients scaled to length one and |d| = 1.
class Dual {
 public:
  Dual(std::vector<double> gram, std::vector<double> excess)
      : count_(excess.size()), gram_(std::move(gram)), excess_(std::move(excess)),
        lambdas_(count_, 0.0) {}

  absl::Status Solve() {
    for (int step = 0; step < kDirectionStepsMax && Breach() > kSoughtRelative; ++step) {
      if (!Step()) break;
    }
    if (Breach() <= kToleranceRelative) return absl::OkStatus();
    return Error("RULE_ERROR", "the projection did not converge");
  }

  const std::vector<double>& lambdas() const { return lambdas_; }
  int64_t operations() const { return operations_; }

 private:
  // The largest breach of the optimality conditions: a violated constraint, or a slack one that
  // is still pushed.
  double Breach() {
    double worst = 0;
    for (size_t k = 0; k < count_; ++k) {
      const double left = excess_[k] - Row(k, lambdas_);
      worst = std::max(worst, lambdas_[k] > 0 ? std::abs(left) : left);
    }
    return worst;
  }

  double Row(size_t k, const std::vector<double>& lambdas) {
    double sum = 0;
    for (size_t j = 0; j < count_; ++j) sum += gram_[k * count_ + j] * lambdas[j];
    operations_ += static_cast<int64_t>(count_);
    return sum;
  }

  // One proximal step: solves the dual with kProximal/2 |l - l_before|^2 added, by the active set
  // method of Lawson and Hanson. False where that exceeds its bound.
  bool Step() {
    std::vector<double> target = excess_;
    for (size_t k = 0; k < count_; ++k) target[k] += kProximal * lambdas_[k];
    std::vector<bool> active(count_);
    for (size_t k = 0; k < count_; ++k) active[k] = lambdas_[k] > 0;
    const int turns_max = 10 * static_cast<int>(count_) + 100;
    for (int turn = 0; turn < turns_max; ++turn) {
      if (!MoveTo(Equations(active, target), active)) continue;
      // The most violated inactive constraint joins (ties: the lower index).
      size_t joins = count_;
      double worst = kSoughtRelative / 4;
      for (size_t k = 0; k < count_; ++k) {
        if (active[k]) continue;
        const double left = target[k] - Row(k, lambdas_);
        if (left > worst) {
          worst = left;
          joins = k;
        }
      }
      if (joins == count_) return true;
      active[joins] = true;
    }
    return false;
  }

  // Takes the solution where no active lambda is negative. Otherwise goes as far towards it as
  // none becomes negative, drops those that become zero, and says false.
  bool MoveTo(const std::vector<double>& solution, std::vector<bool>& active) {
    double share = 1;
    size_t blocking = count_;
    for (size_t k = 0; k < count_; ++k) {
      if (!active[k] || solution[k] > 0) continue;
      const double distance = lambdas_[k] - solution[k];
      const double reach = distance > 0 ? lambdas_[k] / distance : 0.0;
      if (blocking == count_ || reach < share) {
        share = reach;
        blocking = k;
      }
    }
    for (size_t k = 0; k < count_; ++k) {
      if (!active[k]) continue;
      lambdas_[k] = blocking == count_ ? solution[k]
                                       : lambdas_[k] + share * (solution[k] - lambdas_[k]);
      if (k == blocking || (blocking != count_ && !(lambdas_[k] > 0) && solution[k] <= 0)) {
        lambdas_[k] = 0;
        active[k] = false;
      }
    }
    return blocking == count_;
  }

  // The active constraints as equations, by Cholesky; zero for the others.
  std::vector<double> Equations(const std::vector<bool>& active,
                                const std::vector<double>& target) {
    std::vector<size_t> rows;
    for (size_t k = 0; k < count_; ++k) {
      if (active[k]) rows.push_back(k);
    }
    const size_t size = rows.size();
    std::vector<double> lower(size * size, 0.0);
    std::vector<double> solution(size);
    for (size_t a = 0; a < size; ++a) {
      for (size_t b = 0; b <= a; ++b) {
        double value = gram_[rows[a] * count_ + rows[b]] + (a == b ? kProximal : 0.0);
        for (size_t c = 0; c < b; ++c) value -= lower[a * size + c] * lower[b * size + c];
        lower[a * size + b] = a == b ? std::sqrt(std::max(value, kProximal / 16))
                                     : value / lower[b * size + b];
      }
      double value = target[rows[a]];
      for (size_t c = 0; c < a; ++c) value -= lower[a * size + c] * solution[c];
      solution[a] = value / lower[a * size + a];
    }
    for (size_t a = size; a-- > 0;) {
      for (size_t c = a + 1; c < size; ++c) solution[a] -= lower[c * size + a] * solution[c];
      solution[a] /= lower[a * size + a];
    }
    operations_ += static_cast<int64_t>(size * size * size);
    std::vector<double> result(count_, 0.0);
    for (size_t a = 0; a < size; ++a) result[rows[a]] = solution[a];
    return result;
  }

  size_t count_;
  std::vector<double> gram_;
  std::vector<double> excess_;
  std::vector<double> lambdas_;
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
  const size_t count = constraints.size();
  // In units of |g| and |d|; zero gradients stay zero and constrain nothing.
  std::vector<double> lengths, unit_gram(gram.begin(), gram.end()), excess;
  for (size_t k = 0; k < count; ++k) lengths.push_back(std::sqrt(gram[k * count + k]));
  for (size_t a = 0; a < count; ++a) {
    for (size_t b = 0; b < count; ++b) {
      const double scale = lengths[a] * lengths[b];
      unit_gram[a * count + b] = scale > 0 ? gram[a * count + b] / scale : 0.0;
    }
    const double eps = static_cast<double>(constraints[a].eps_micro) / 1e6;
    const double scale = norm * lengths[a];
    excess.push_back(scale > 0 ? constraints[a].dot / scale - eps : 0.0);
  }
  Dual dual(std::move(unit_gram), std::move(excess));
  RETURN_IF_ERROR(dual.Solve());
  for (size_t k = 0; k < count; ++k) {
    if (dual.lambdas()[k] > 0) projection.lambdas[k] = dual.lambdas()[k] * norm / lengths[k];
  }
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
