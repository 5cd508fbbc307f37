// Evaluates TorchScript modules, which are somebody's programs, in a process of their own; every
// other model as HostEvaluator does. No torch here.
//
// The process is rochdale-module-evaluator (module_server.h). It is started with nothing but the
// settings that the model's spec pins and one socket: no file, no token, no other variable of this
// process's environment; memory and processor time are bounded, and it may not open files or
// sockets or start programs (module_sandbox.h). It ends with this object, or with this process.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/learning/evaluator.h"

namespace rochdale::learning {

struct ModuleProcessOptions {
  std::string program;                         // empty: beside this program
  int64_t memory_bytes = int64_t{4} << 30;     // of the module's process, its library's included
  absl::Duration answer_max = absl::Minutes(10);  // for one candidate on the rows of one call
};

// A module in its process. Not thread-safe.
class ModuleProcess {
 public:
  // Starts the process and hands it the module, whose digest must be the spec's. Errors:
  // MODULE_UNREGISTERED, MODULE_INVALID, DEVICE_UNFIT (the machine does not compute as the spec
  // pins, or there is no such program), DEADLINE_EXCEEDED.
  static absl::StatusOr<std::unique_ptr<ModuleProcess>> Start(const ModelSpec& spec,
                                                              absl::string_view module,
                                                              const ModuleProcessOptions& options);
  ~ModuleProcess();
  ModuleProcess(const ModuleProcess&) = delete;
  ModuleProcess& operator=(const ModuleProcess&) = delete;

  // The parameters that the module's file has, on the grid: what a cooperative starts from.
  const GridVector& initial() const { return initial_; }
  // See TorchScriptModule. DEVICE_UNFIT where the process ended; then nothing else works either.
  absl::Status CheckPerSample();
  absl::Status SetRows(Rows rows);
  absl::StatusOr<std::vector<int64_t>> Losses(GridSpan parameters);  // of the rows that were set
  absl::StatusOr<std::vector<float>> Gradient(GridSpan parameters);

 private:
  ModuleProcess(int socket, int pid, const ModuleProcessOptions& options)
      : socket_(socket), pid_(pid), options_(options) {}
  absl::StatusOr<std::string> Ask(uint8_t operation, absl::string_view bytes);

  const int socket_;
  const int pid_;
  const ModuleProcessOptions options_;
  GridVector initial_;
  int64_t rows_ = 0;
};

class ModuleEvaluator final : public Evaluator {
 public:
  // `others` evaluates every other model; it outlives this.
  ModuleEvaluator(Evaluator& others, ModuleProcessOptions options)
      : others_(others), options_(std::move(options)) {}

  // Errors of `read`, and as ModuleProcess::Start. The same module again costs nothing.
  absl::Status UseModule(const ModelSpec& spec, ModuleBytes read) override;

  // Losses that are not the same integers everywhere (TorchScriptSpec::tolerance_nanonats).
  // EVALUATION_RANGE, with the candidate and the layer "loss", where a loss is not finite or out of
  // range.
  absl::StatusOr<LossMatrix> EvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                                absl::Span<const GridSpan> updates,
                                                absl::Span<const uint64_t> masks, Rows rows,
                                                const EvaluationOptions& options = {}) override;
  absl::StatusOr<LossMatrix> EvaluateCheckpoints(const ModelSpec& spec,
                                                 absl::Span<const GridSpan> candidates, Rows rows,
                                                 const EvaluationOptions& options = {}) override;

 private:
  absl::Status Ready(const ModelSpec& spec, Rows rows);
  absl::Status Evaluate(GridSpan parameters, int64_t candidate, const EvaluationOptions& options,
                        LossMatrix& matrix);

  Evaluator& others_;
  const ModuleProcessOptions options_;
  ModelSpec spec_;
  std::unique_ptr<ModuleProcess> process_;
};

}  // namespace rochdale::learning
