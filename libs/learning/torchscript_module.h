// A TorchScript module whose loss(inputs, targets) gives a loss for every row. Link
// rochdale_learning_torch, and only where nothing else would suffer from what a module does to its
// process: services evaluate modules in processes of their own (module_evaluator.h).
//
//   inputs   float [rows, spec.inputs]: byte p of a row means p / 256, in spec.precision
//   targets  int64 [rows]: the labels
//   result   float [rows] of spec.precision, finite, 0 to 2^49 nano-nats
//
// A module is a program of its authors'. Refused: operators outside of a list (arithmetic, no
// files, no random numbers, no time, nothing that keeps state: torchscript_operators.h), code that
// runs when it is loaded, parameters other than the spec's.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

inline constexpr int64_t kModuleBytesMax = int64_t{512} << 20;

// One thread, no operator that is not deterministic, no fused kernels: for the whole process,
// before the first module.
void PinTorch();
// DEVICE_UNFIT, naming the first, unless this process computes as the spec says: library, ATen's
// vector width, the kernel of its BLAS, threads.
absl::Status CheckPinned(const TorchScriptSpec& spec);

// Not thread-safe.
class TorchScriptModule {
 public:
  // `bytes` are not looked at before their digest has been found to be the spec's
  // (MODULE_UNREGISTERED otherwise). MODULE_INVALID with what is wrong; DEVICE_UNFIT.
  static absl::StatusOr<TorchScriptModule> Load(const ModelSpec& spec, absl::string_view bytes);
  TorchScriptModule(TorchScriptModule&&) noexcept;
  TorchScriptModule& operator=(TorchScriptModule&&) noexcept;
  ~TorchScriptModule();

  // The parameters in the file, rounded to the grid (and saturating), in canonical order.
  // MODULE_INVALID where one is not finite.
  absl::StatusOr<GridVector> Parameters() const;

  // Nano-nats of every row, rounded half to even. `parameters` are of the spec's size and `rows`
  // fit it. EVALUATION_RANGE where a loss is not finite, negative or above 2^49 nano-nats;
  // MODULE_INVALID where the result is none of the form above, or a row of a block has another loss
  // by itself (one is tried in every block), or the module throws.
  absl::StatusOr<std::vector<int64_t>> Losses(GridSpan parameters, Rows rows);

  // The gradient of the mean loss, as MeanLossGradient gives it for other models.
  absl::StatusOr<std::vector<float>> Gradient(GridSpan parameters, Rows rows);

  // Whether losses are per-sample: at changed parameters and on made-up rows, the loss of a row is
  // the same, within the tolerance, by itself, in small batches, among others and in another order.
  // MODULE_INVALID with the row where it is not.
  absl::Status CheckPerSample();

 private:
  struct Loaded;
  explicit TorchScriptModule(std::unique_ptr<Loaded> loaded);
  std::unique_ptr<Loaded> loaded_;
};

}  // namespace rochdale::learning
