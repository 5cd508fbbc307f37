// What staged_evaluation.h runs: a model as a chain of stages over a block of rows, for models
// whose layers are more than linear maps and ReLU. Internal to libs/learning.
//
// Activations are feature-major: feature f of column n is at [f * columns + n]. A column is a row,
// or a character of a row (row r, position t: column r * T + t).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/learning/dataset.h"
#include "libs/learning/exact_forward.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

// The first check that failed on any row of the block, in the order of the forward pass.
struct LayerViolation {
  int ordinal = 0;    // of the check
  std::string layer;  // its name
};

// The checks of a stage, in their order.
class LayerChecks {
 public:
  void Begin(int stage) {
    failed_.reset();
    ordinal_ = kChecksPerStage * stage;
  }
  // Notes a check and its outcome.
  bool Pass(bool fits, const std::string& layer) {
    if (!fits) failed_ = LayerViolation{ordinal_, layer};
    ++ordinal_;
    return fits;
  }
  const std::optional<LayerViolation>& failed() const { return failed_; }

 private:
  static constexpr int kChecksPerStage = 16;
  int ordinal_ = 0;
  std::optional<LayerViolation> failed_;
};

class ExactNetwork {
 public:
  virtual ~ExactNetwork() = default;

  // How many doubles the network keeps for a row: what the size of a block is chosen by.
  virtual int64_t ValuesPerRow() const = 0;
  // Rows of the stages to come, which outlive them.
  virtual void Load(Rows rows) = 0;
  virtual int Stages() const = 0;
  // The tensors that stage s reads, as indices in ParameterTensors.
  virtual const std::vector<int>& TensorsOf(int stage) const = 0;
  // From what the stage before left to what the next one takes; does not change the former.
  virtual std::optional<LayerViolation> Run(int stage, GridSpan parameters) = 0;
  // What the last stage left: class-major, Columns() for each class. May be overwritten.
  virtual double* Logits() = 0;
  virtual int ColumnsPerRow() const = 0;
};

// Of a convnet or a character transformer.
std::unique_ptr<ExactNetwork> MakeExactNetwork(const ModelSpec& spec);
std::unique_ptr<ExactNetwork> MakeExactConvnet(const ModelSpec& spec);
std::unique_ptr<ExactNetwork> MakeExactTransformer(const ModelSpec& spec);

// z[out * columns + n] = sum_in W[out][in] h[in * columns + n] + b[out], exact; false, and z is not
// written, where  max_j |W_j|_1 max|h| + max_j |b_j| < 2^17  fails. Keeps a buffer.
class ExactLinear {
 public:
  bool Run(const LinearLayer& layer, GridSpan parameters, const Activations& input, int64_t columns,
           std::vector<double>& z);
  // The parts of it, for a convolution: the check, the weights as reals.
  static bool Fits(const LinearLayer& layer, GridSpan parameters, const Activations& input);
  const double* Weights(const LinearLayer& layer, GridSpan parameters);

 private:
  std::vector<double> weight_;
};

// The indices in `tensors` of "<name>.weight" and "<name>.bias", as far as they are there.
void AppendTensorsOf(const std::vector<ParameterTensor>& tensors, const std::string& name,
                     std::vector<int>& indices);

}  // namespace rochdale::learning
