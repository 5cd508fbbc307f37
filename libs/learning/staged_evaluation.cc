#include "libs/learning/staged_evaluation.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/learning/exact_kernels.h"
#include "libs/learning/exact_math.h"
#include "libs/learning/exact_network.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kBlockValues = 1 << 19;  // four megabytes of activations
constexpr int kRowBlockMin = 4;
constexpr int kRowBlockMax = 256;

// The logits of a candidate on rows first .. first + rows - 1, class-major; may be overwritten.
using StagedSink =
    absl::FunctionRef<void(int64_t candidate, int64_t first, int rows, double* logits)>;

class StagedEvaluation {
 public:
  StagedEvaluation(const ModelSpec& spec, Rows rows, const EvaluationOptions& options)
      : tensors_(ParameterTensors(spec)), rows_(rows), options_(options),
        network_(MakeExactNetwork(spec)) {}

  absl::Status Run(absl::Span<const int64_t> order,
                   absl::FunctionRef<GridVector(int64_t)> parameters, StagedSink sink) {
    const int block = RowBlock();
    for (int64_t first = 0; first < rows_.count(); first += block) {
      const int rows = static_cast<int>(std::min<int64_t>(block, rows_.count() - first));
      network_->Load(rows_.Slice(first, rows));
      done_ = 0;
      for (const int64_t c : order) {
        if (violation_ && c > violation_->candidate) continue;
        GridVector next = parameters(c);
        if (RunCandidate(c, std::move(next))) sink(c, first, rows, network_->Logits());
      }
    }
    return Result();
  }

 private:
  int RowBlock() const {
    const int64_t wanted =
        options_.row_block > 0
            ? options_.row_block
            : std::clamp<int64_t>(kBlockValues / network_->ValuesPerRow(), kRowBlockMin,
                                  kRowBlockMax);
    return static_cast<int>(std::min(wanted, rows_.count()));
  }

  bool Differs(int stage, GridSpan next) const {
    for (const int index : network_->TensorsOf(stage)) {
      const ParameterTensor& tensor = tensors_[index];
      const auto begin = current_.begin() + tensor.offset;
      if (!std::equal(begin, begin + tensor.size, next.begin() + tensor.offset)) return true;
    }
    return false;
  }

  // False where it leaves the range.
  bool RunCandidate(int64_t candidate, GridVector next) {
    // The logits of the candidate before may have been overwritten.
    int stage = 0;
    const int last = network_->Stages() - 1;
    while (stage < std::min(done_, last) && !Differs(stage, next)) ++stage;
    current_ = std::move(next);
    for (done_ = stage; done_ <= last; ++done_) {
      if (const auto violation = network_->Run(done_, current_)) {
        Violates(candidate, *violation);
        return false;
      }
    }
    return true;
  }

  void Violates(int64_t candidate, const LayerViolation& violation) {
    const bool lower = !violation_ || candidate < violation_->candidate ||
                       (candidate == violation_->candidate && violation.ordinal < ordinal_);
    if (!lower) return;
    violation_ = RangeViolation{candidate, violation.layer};
    ordinal_ = violation.ordinal;
  }

  absl::Status Result() const {
    if (options_.violation != nullptr) *options_.violation = violation_;
    if (!violation_) return absl::OkStatus();
    return Error("EVALUATION_RANGE", absl::StrCat("layer ", violation_->layer, " of candidate ",
                                                  violation_->candidate, " leaves the range"));
  }

  const std::vector<ParameterTensor> tensors_;
  const Rows rows_;
  const EvaluationOptions& options_;
  const std::unique_ptr<ExactNetwork> network_;
  GridVector current_;  // the parameters of the stages below done_
  int done_ = 0;        // stages whose outputs follow from current_
  std::optional<RangeViolation> violation_;
  int ordinal_ = 0;
};

}  // namespace

bool IsStaged(ModelKind kind) {
  return kind == ModelKind::kConvnet || kind == ModelKind::kCharacterTransformer;
}

std::vector<int32_t> TargetsOf(const ModelSpec& spec, Rows rows) {
  if (spec.kind != ModelKind::kCharacterTransformer) {
    return {rows.labels.begin(), rows.labels.end()};
  }
  std::vector<int32_t> targets;
  targets.reserve(rows.inputs.size());
  for (int64_t r = 0; r < rows.count(); ++r) {
    const auto characters = rows.inputs.subspan(r * rows.dimension, rows.dimension);
    targets.insert(targets.end(), characters.begin() + 1, characters.end());
    targets.push_back(rows.labels[r]);
  }
  return targets;
}

void MeansOfColumns(absl::Span<const int64_t> columns, absl::Span<int64_t> rows) {
  const size_t positions = columns.size() / rows.size();
  for (size_t r = 0; r < rows.size(); ++r) {
    int64_t sum = 0;
    for (size_t t = 0; t < positions; ++t) sum += columns[r * positions + t];
    rows[r] = DivideHalfEven(sum, static_cast<int64_t>(positions));
  }
}

std::vector<int64_t> StagedOrder(const ModelSpec& spec, absl::Span<const GridSpan> updates,
                                 absl::Span<const uint64_t> masks) {
  const auto network = MakeExactNetwork(spec);
  const std::vector<ParameterTensor> tensors = ParameterTensors(spec);
  std::vector<uint64_t> changes(network->Stages());  // which updates change the stage
  for (int stage = 0; stage < network->Stages(); ++stage) {
    for (const int index : network->TensorsOf(stage)) {
      for (size_t i = 0; i < updates.size(); ++i) {
        const int32_t* tensor = updates[i].data() + tensors[index].offset;
        if (kernels::CountNonZero(tensor, tensors[index].size) > 0) {
          changes[stage] |= uint64_t{1} << i;
        }
      }
    }
  }
  std::vector<int64_t> order(masks.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    for (const uint64_t members : changes) {
      if ((masks[a] & members) != (masks[b] & members)) {
        return (masks[a] & members) < (masks[b] & members);
      }
    }
    return false;
  });
  return order;
}

absl::Status StagedLosses(const ModelSpec& spec, Rows rows, const EvaluationOptions& options,
                          absl::Span<const int64_t> order,
                          absl::FunctionRef<GridVector(int64_t)> parameters, int64_t* losses) {
  StagedEvaluation evaluation(spec, rows, options);
  std::vector<int64_t> of_columns;
  auto sink = [&](int64_t candidate, int64_t first, int n, double* logits) {
    const std::vector<int32_t> targets = TargetsOf(spec, rows.Slice(first, n));
    const int64_t columns = static_cast<int64_t>(targets.size());
    of_columns.resize(columns);
    CrossEntropyNanonats(logits, columns, spec.classes(), targets.data(), columns,
                         of_columns.data());
    MeansOfColumns(of_columns, {losses + candidate * rows.count() + first, static_cast<size_t>(n)});
  };
  return evaluation.Run(order, parameters, sink);
}

absl::Status StagedCorrect(const ModelSpec& spec, Rows rows, const EvaluationOptions& options,
                           GridSpan parameters, int64_t* correct) {
  StagedEvaluation evaluation(spec, rows, options);
  const int64_t positions = spec.kind == ModelKind::kCharacterTransformer ? rows.dimension : 1;
  auto sink = [&](int64_t, int64_t first, int n, const double* logits) {
    const int64_t columns = n * positions;
    for (int r = 0; r < n; ++r) {
      const double* z = logits + (r + 1) * positions - 1;
      int best = 0;
      for (int j = 1; j < spec.classes(); ++j) {
        if (z[j * columns] > z[best * columns]) best = j;
      }
      *correct += best == rows.labels[first + r];
    }
  };
  auto self = [&](int64_t) { return GridVector(parameters.begin(), parameters.end()); };
  return evaluation.Run({0}, self, sink);
}

}  // namespace rochdale::learning
