// Who evaluates exactly: the machine's processors (HostEvaluator) or a device of torch's
// (device_evaluator.h). All give the same integers.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "libs/base/errors.h"
#include "libs/learning/exact_evaluator.h"

namespace rochdale::learning {

// The functions of the same names in exact_evaluator.h say what is computed. Not thread-safe.
class Evaluator {
 public:
  virtual ~Evaluator() = default;
  // Before a model that is a TorchScript module is evaluated. DEVICE_UNFIT from evaluators that run
  // none (module_evaluator.h does). `read` gives the module's file, where it is needed.
  using ModuleBytes = absl::FunctionRef<absl::StatusOr<std::string>()>;
  virtual absl::Status UseModule(const ModelSpec&, ModuleBytes /*read*/) {
    return Error("DEVICE_UNFIT", "TorchScript modules are not evaluated here");
  }
  virtual absl::StatusOr<LossMatrix> EvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                                        absl::Span<const GridSpan> updates,
                                                        absl::Span<const uint64_t> masks, Rows rows,
                                                        const EvaluationOptions& options = {}) = 0;
  virtual absl::StatusOr<LossMatrix> EvaluateCheckpoints(const ModelSpec& spec,
                                                         absl::Span<const GridSpan> candidates,
                                                         Rows rows,
                                                         const EvaluationOptions& options = {}) = 0;
};

// Keeps what it found of the last base (base_cache.h).
class HostEvaluator final : public Evaluator {
 public:
  absl::StatusOr<LossMatrix> EvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                                absl::Span<const GridSpan> updates,
                                                absl::Span<const uint64_t> masks, Rows rows,
                                                const EvaluationOptions& options = {}) override {
    EvaluationOptions with_cache = options;
    if (with_cache.cache == nullptr) with_cache.cache = &cache_;
    return learning::EvaluateCoalitions(spec, base, updates, masks, rows, with_cache);
  }
  absl::StatusOr<LossMatrix> EvaluateCheckpoints(const ModelSpec& spec,
                                                 absl::Span<const GridSpan> candidates, Rows rows,
                                                 const EvaluationOptions& options = {}) override {
    return learning::EvaluateCheckpoints(spec, candidates, rows, options);
  }

 private:
  BaseCache<double> cache_;
};

}  // namespace rochdale::learning
