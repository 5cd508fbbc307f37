#include "libs/learning/device_evaluator.h"

#include <torch/torch.h>

#include <algorithm>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/candidate_checks.h"
#include "libs/learning/device_math.h"
#include "libs/learning/device_networks.h"
#include "libs/learning/exact_range.h"
#include "libs/learning/staged_evaluation.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kRowBlockMax = 8'192;
constexpr double kParameterUnit = 0x1p-20;
constexpr double kActivationUnit = 0x1p-16;

absl::Status Unfit(absl::string_view why) {
  return Error("DEVICE_UNFIT", absl::StrCat("the device cannot evaluate exactly: ", why));
}

torch::Tensor Host(GridSpan units) {
  return torch::from_blob(const_cast<int32_t*>(units.data()),
                          {static_cast<int64_t>(units.size())}, torch::kInt32);
}

std::vector<int64_t> ToHost(const torch::Tensor& whole_numbers) {
  const torch::Tensor host = whole_numbers.to(torch::kInt64).to(torch::kCPU).contiguous();
  const int64_t* data = host.data_ptr<int64_t>();
  return {data, data + host.numel()};
}

std::vector<double> Elementwise(const torch::Device& device, absl::Span<const double> values,
                                torch::Tensor (*function)(const torch::Tensor&)) {
  const torch::Tensor in = torch::from_blob(const_cast<double*>(values.data()),
                                            {static_cast<int64_t>(values.size())}, torch::kFloat64);
  const torch::Tensor out = function(in.to(device)).to(torch::kCPU).contiguous();
  return {out.data_ptr<double>(), out.data_ptr<double>() + out.numel()};
}

}  // namespace

struct DeviceEvaluator::Device {
  torch::Device torch;
  int64_t memory_bytes;
};

// One evaluation. Candidates are evaluated a few at a time, in blocks of rows.
class DeviceEvaluator::Run {
 public:
  Run(const Device& device, const ModelSpec& spec, Rows rows, const EvaluationOptions& options)
      : device_(device),
        spec_(spec),
        layers_(LinearLayers(spec)),
        rows_(rows),
        options_(options),
        real_(torch::TensorOptions().dtype(torch::kFloat64).device(device.torch)) {}

  absl::StatusOr<LossMatrix> Coalitions(GridSpan base, absl::Span<const GridSpan> updates,
                                        absl::Span<const uint64_t> masks) {
    if (IsStaged(spec_.kind)) {
      return Staged(static_cast<int64_t>(masks.size()),
                    [&](int64_t c) { return ApplyUpdates(base, updates, masks[c]); });
    }
    const int64_t parameters = ParameterCount(spec_);
    const int64_t kept = (1 + static_cast<int64_t>(updates.size())) * parameters * 8;
    const torch::Tensor base_units = Host(base).to(real_);
    torch::Tensor update_units =
        torch::zeros({static_cast<int64_t>(updates.size()), parameters}, real_);
    for (size_t i = 0; i < updates.size(); ++i) {
      update_units[static_cast<int64_t>(i)].copy_(Host(updates[i]));
    }
    return All(static_cast<int64_t>(masks.size()), kept, [&](int64_t begin, int64_t end) {
      torch::Tensor members =
          torch::zeros({end - begin, static_cast<int64_t>(updates.size())}, torch::kFloat64);
      auto is_member = members.accessor<double, 2>();
      for (int64_t c = begin; c < end; ++c) {
        for (size_t i = 0; i < updates.size(); ++i) {
          is_member[c - begin][static_cast<int64_t>(i)] = static_cast<double>(masks[c] >> i & 1);
        }
      }
      // Sums of 64 whole numbers below 2^23: exact in any order.
      return members.to(real_)
          .matmul(update_units)
          .add_(base_units)
          .clamp_(-static_cast<double>(kGridMax), static_cast<double>(kGridMax));
    });
  }

  absl::StatusOr<LossMatrix> Checkpoints(absl::Span<const GridSpan> candidates) {
    if (IsStaged(spec_.kind)) {
      return Staged(static_cast<int64_t>(candidates.size()), [&](int64_t c) {
        return GridVector(candidates[c].begin(), candidates[c].end());
      });
    }
    return All(static_cast<int64_t>(candidates.size()), 0, [&](int64_t begin, int64_t end) {
      torch::Tensor units = torch::empty({end - begin, ParameterCount(spec_)}, real_);
      for (int64_t c = begin; c < end; ++c) units[c - begin].copy_(Host(candidates[c]));
      return units;
    });
  }

 private:
  // f64 of one candidate's parameters and what is computed from them, and of one row of it.
  int64_t BytesOfCandidate() const { return 3 * 8 * ParameterCount(spec_); }
  int64_t BytesOfRow() const {
    int64_t widest = 0;
    for (const LinearLayer& layer : layers_) widest = std::max<int64_t>(widest, layer.outputs);
    return 8 * (4 * widest + 8 * int64_t{spec_.classes()});
  }

  // `units_of(begin, end)`: parameters of these candidates in units, [end - begin, parameters].
  template <typename UnitsOf>
  absl::StatusOr<LossMatrix> All(int64_t candidates, int64_t kept, const UnitsOf& units_of) {
    const int64_t row_count = rows_.count();
    const int64_t pixel_bytes = 8 * rows_.dimension;
    const int64_t left = device_.memory_bytes - kept - BytesOfCandidate();
    row_block_ = std::min({row_count, kRowBlockMax, left / (BytesOfRow() + pixel_bytes)});
    if (row_block_ < 1) {
      return Unfit(absl::StrCat("it needs ", kept + BytesOfCandidate() + BytesOfRow() + pixel_bytes,
                                " bytes for one candidate and one row"));
    }
    const int64_t each = BytesOfCandidate() + row_block_ * BytesOfRow();
    const int64_t block =
        std::max<int64_t>(1, (device_.memory_bytes - kept - row_block_ * pixel_bytes) / each);
    LossMatrix matrix = LossMatrix::OfZeros(candidates, row_count);
    for (int64_t begin = 0; begin < candidates; begin += block) {
      const int64_t end = std::min(candidates, begin + block);
      Some(begin, units_of(begin, end), matrix);
      if (violation_.has_value()) break;  // no later candidate can be the lowest
    }
    return Result(std::move(matrix));
  }

  absl::StatusOr<LossMatrix> Result(LossMatrix matrix) const {
    if (!violation_.has_value()) return matrix;
    if (options_.violation != nullptr) *options_.violation = violation_;
    return Error("EVALUATION_RANGE", absl::StrCat("layer ", violation_->layer, " of candidate ",
                                                  violation_->candidate, " leaves the range"));
  }

  // Models that are no chain of linear layers: one candidate after the other.
  template <typename ParametersOf>
  absl::StatusOr<LossMatrix> Staged(int64_t candidates, const ParametersOf& parameters_of) {
    const std::unique_ptr<DeviceNetwork> network = MakeDeviceNetwork(spec_, device_.torch);
    const int64_t of_candidate = 2 * 8 * ParameterCount(spec_);
    row_block_ = std::min({rows_.count(), kRowBlockMax,
                           (device_.memory_bytes - of_candidate) / network->BytesOfRow()});
    if (row_block_ < 1) {
      return Unfit(absl::StrCat("it needs ", of_candidate + network->BytesOfRow(),
                                " bytes for one candidate and one row"));
    }
    LossMatrix matrix = LossMatrix::OfZeros(candidates, rows_.count());
    for (int64_t c = 0; c < candidates && !violation_.has_value(); ++c) {
      const GridVector units = parameters_of(c);
      const torch::Tensor parameters = Host(units).to(real_);
      int lowest = 0;
      for (int64_t first = 0; first < rows_.count(); first += row_block_) {
        const Rows rows = rows_.Slice(first, std::min(row_block_, rows_.count() - first));
        torch::Tensor logits;
        const auto failed = network->Run(units, parameters, rows, logits);
        if (failed && (!violation_ || failed->ordinal < lowest)) {
          violation_ = RangeViolation{c, failed->layer};
          lowest = failed->ordinal;
        }
        if (violation_) continue;  // another block may fail in a lower layer
        std::vector<int32_t> targets = TargetsOf(spec_, rows);
        const torch::Tensor labels = Host(targets).to(device_.torch).to(torch::kInt64);
        const std::vector<int64_t> columns = ToHost(device::CrossEntropyNanonats(logits, labels));
        MeansOfColumns(columns, {matrix.losses.data() + c * matrix.rows + first,
                                 static_cast<size_t>(rows.count())});
      }
    }
    return Result(std::move(matrix));
  }

  void Some(int64_t begin, const torch::Tensor& units, LossMatrix& matrix) {
    const int64_t count = units.size(0);
    const size_t layers = layers_.size();
    std::vector<torch::Tensor> weights, biases;      // [count, in, out], [count, 1, out]
    std::vector<std::vector<int64_t>> row_sums, bias_max;  // per layer and candidate
    for (const LinearLayer& layer : layers_) {
      const int64_t size = int64_t{layer.inputs} * layer.outputs;
      const torch::Tensor weight =
          units.narrow(1, layer.weight_offset, size).view({count, layer.outputs, layer.inputs});
      const torch::Tensor bias = units.narrow(1, layer.bias_offset, layer.outputs);
      row_sums.push_back(ToHost(weight.abs().sum(-1).amax(-1)));
      bias_max.push_back(ToHost(bias.abs().amax(-1)));
      weights.push_back(weight.mul(kParameterUnit).transpose(1, 2));
      biases.push_back(bias.mul(kParameterUnit).unsqueeze(1));
    }
    std::vector<size_t> failed(static_cast<size_t>(count), layers);  // the lowest layer
    for (int64_t first = 0; first < rows_.count(); first += row_block_) {
      const Rows rows = rows_.Slice(first, std::min(row_block_, rows_.count() - first));
      std::vector<std::vector<int64_t>> largest;  // input of each layer, per candidate, in units
      const torch::Tensor losses = Block(rows, weights, biases, count, largest);
      for (int64_t c = 0; c < count; ++c) {
        for (size_t l = 0; l < failed[c]; ++l) {
          const LayerNorms norms{row_sums[l][c], bias_max[l][c]};
          if (!InRange(norms, largest[l][c], l == 0 ? kInputBits : kActivationBits)) failed[c] = l;
        }
      }
      const torch::Tensor host = losses.to(torch::kCPU).contiguous();
      const int64_t* data = host.data_ptr<int64_t>();
      for (int64_t c = 0; c < count; ++c) {
        std::copy_n(data + c * rows.count(), rows.count(),
                    matrix.losses.begin() + (begin + c) * matrix.rows + first);
      }
    }
    for (int64_t c = 0; c < count && !violation_.has_value(); ++c) {
      if (failed[c] < layers) violation_ = RangeViolation{begin + c, layers_[failed[c]].name};
    }
  }

  // Losses [count, rows] of a block. What is out of range is some number or another.
  torch::Tensor Block(Rows rows, const std::vector<torch::Tensor>& weights,
                      const std::vector<torch::Tensor>& biases, int64_t count,
                      std::vector<std::vector<int64_t>>& largest) {
    const torch::Tensor pixels =
        torch::from_blob(const_cast<uint8_t*>(rows.inputs.data()),
                         {rows.count(), rows.dimension}, torch::kUInt8)
            .to(device_.torch);
    const torch::Tensor labels = torch::from_blob(const_cast<int32_t*>(rows.labels.data()),
                                                  {rows.count()}, torch::kInt32)
                                     .to(device_.torch)
                                     .to(torch::kInt64)
                                     .unsqueeze(0)
                                     .expand({count, rows.count()});
    largest.emplace_back(static_cast<size_t>(count), ToHost(pixels.max())[0]);
    torch::Tensor h =
        pixels.to(torch::kFloat64).div_(256).unsqueeze(0).expand({count, -1, -1});
    for (size_t l = 0; l < weights.size(); ++l) {
      torch::Tensor z = h.matmul(weights[l]).add_(biases[l]);
      if (l + 1 == weights.size()) return device::CrossEntropyNanonats(z, labels);
      const torch::Tensor steps = z.relu_().div_(kActivationUnit).round_();
      largest.push_back(ToHost(steps.amax({1, 2}).clamp_max(0x1p62)));
      h = z.mul_(kActivationUnit);
    }
    return {};  // cannot be: a model has a layer
  }

  const Device& device_;
  const ModelSpec& spec_;
  const std::vector<LinearLayer> layers_;
  const Rows rows_;
  const EvaluationOptions& options_;
  const torch::TensorOptions real_;
  int64_t row_block_ = 1;
  std::optional<RangeViolation> violation_;
};

DeviceEvaluator::DeviceEvaluator(std::unique_ptr<Device> device) : device_(std::move(device)) {}
DeviceEvaluator::DeviceEvaluator(DeviceEvaluator&&) noexcept = default;
DeviceEvaluator& DeviceEvaluator::operator=(DeviceEvaluator&&) noexcept = default;
DeviceEvaluator::~DeviceEvaluator() = default;

absl::StatusOr<DeviceEvaluator> DeviceEvaluator::Open(absl::string_view device,
                                                      int64_t memory_bytes) {
  if (memory_bytes < kDeviceMemoryMin) {
    return Error("BAD_REQUEST", absl::StrCat("the memory must be at least ", kDeviceMemoryMin));
  }
  try {
    const torch::Device wanted((std::string(device)));
    if (!wanted.is_cpu() && !wanted.is_cuda()) return Unfit("it is neither cpu nor cuda");
    if (wanted.is_cuda() && !torch::cuda::is_available()) return Unfit("torch finds no CUDA here");
    if (wanted.is_cuda() && wanted.has_index() &&
        wanted.index() >= static_cast<int64_t>(torch::cuda::device_count())) {
      return Unfit(absl::StrCat("there is no ", device));
    }
    DeviceEvaluator evaluator(
        std::make_unique<Device>(Device{wanted, memory_bytes}));
    RETURN_IF_ERROR(evaluator.Check());
    return evaluator;
  } catch (const std::exception&) {
    return Unfit(absl::StrCat("torch cannot use ", device.substr(0, 64)));
  }
}

std::vector<std::string> DeviceEvaluator::Devices() {
  std::vector<std::string> devices = {"cpu"};
  const int64_t count = torch::cuda::is_available() ? torch::cuda::device_count() : 0;
  for (int64_t i = 0; i < count; ++i) devices.push_back(absl::StrCat("cuda:", i));
  return devices;
}

std::vector<double> DeviceEvaluator::Exp(absl::Span<const double> x) const {
  return Elementwise(device_->torch, x, device::Exp);
}

std::vector<double> DeviceEvaluator::Log(absl::Span<const double> s) const {
  return Elementwise(device_->torch, s, device::Log);
}

absl::StatusOr<LossMatrix> DeviceEvaluator::EvaluateCoalitions(const ModelSpec& spec, GridSpan base,
                                                               absl::Span<const GridSpan> updates,
                                                               absl::Span<const uint64_t> masks,
                                                               Rows rows,
                                                               const EvaluationOptions& options) {
  RETURN_IF_ERROR(CheckExact(spec, rows));
  RETURN_IF_ERROR(CheckCoalitions(spec, base, updates, masks));
  try {
    const torch::NoGradGuard no_gradients;
    return Run(*device_, spec, rows, options).Coalitions(base, updates, masks);
  } catch (const std::exception&) {
    return Unfit("an operation failed");
  }
}

absl::StatusOr<LossMatrix> DeviceEvaluator::EvaluateCheckpoints(
    const ModelSpec& spec, absl::Span<const GridSpan> candidates, Rows rows,
    const EvaluationOptions& options) {
  RETURN_IF_ERROR(CheckExact(spec, rows));
  RETURN_IF_ERROR(CheckCheckpoints(spec, candidates));
  try {
    const torch::NoGradGuard no_gradients;
    return Run(*device_, spec, rows, options).Checkpoints(candidates);
  } catch (const std::exception&) {
    return Unfit("an operation failed");
  }
}

// A game whose weights reach to the border of the range, so that its sums need all the bits that
// f64 has, and whose logits lie far apart: TF32, emulated f64 and fused operations are found. And
// small ones of the other models.
absl::Status DeviceEvaluator::Check() {
  RETURN_IF_ERROR(CheckModel({ModelKind::kMlp, {61, 53, 47, 11}}, 301, kGridMax / 4));
  RETURN_IF_ERROR(
      CheckModel({ModelKind::kConvnet, {13, 7}, {2, 9, 7}, {5, 6}}, 33, kGridMax / 16));
  const TransformerSpec transformer{
      .context = 9, .vocabulary = 17, .width = 12, .heads = 3, .blocks = 2, .mlp_width = 20};
  return CheckModel({ModelKind::kCharacterTransformer, {}, {}, {}, transformer}, 17, kGridMax / 8);
}

absl::Status DeviceEvaluator::CheckModel(const ModelSpec& spec, int rows, int32_t reach) {
  std::mt19937_64 random(20'260'101);
  const auto draw = [&](int64_t within) {
    return static_cast<int32_t>(static_cast<int64_t>(random() % (2 * within + 1)) - within);
  };
  const int64_t size = ParameterCount(spec);
  std::vector<GridVector> vectors(4, GridVector(static_cast<size_t>(size)));
  for (int32_t& value : vectors[0]) value = draw(reach);
  for (size_t i = 1; i < vectors.size(); ++i) {
    for (int32_t& value : vectors[i]) value = draw(reach / 2);
  }
  const int values = spec.kind == ModelKind::kCharacterTransformer ? spec.classes() : 256;
  Dataset data;
  data.dimension = spec.inputs();
  for (int i = 0; i < rows * spec.inputs(); ++i) {
    data.inputs.push_back(static_cast<uint8_t>(random() % values));
  }
  for (int i = 0; i < rows; ++i) {
    data.labels.push_back(static_cast<int32_t>(random() % spec.classes()));
  }
  const std::vector<GridSpan> updates(vectors.begin() + 1, vectors.end());
  const std::vector<uint64_t> masks = {0, 1, 2, 4, 3, 5, 6, 7};
  ASSIGN_OR_RETURN(const LossMatrix expected,
                   learning::EvaluateCoalitions(spec, vectors[0], updates, masks, data));
  ASSIGN_OR_RETURN(const LossMatrix found,
                   EvaluateCoalitions(spec, vectors[0], updates, masks, data));
  if (found.losses == expected.losses) return absl::OkStatus();
  return Unfit("it does not give the integers that every other machine gives");
}

}  // namespace rochdale::learning
