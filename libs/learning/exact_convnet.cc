// The exact forward pass of a convnet: a convolution is the product of its weights with the patches
// of its input. With features by planes, a patch's values of all rows of a block lie in one piece.
#include <cblas.h>

#include <algorithm>

#include "libs/learning/convnet.h"
#include "libs/learning/exact_kernels.h"
#include "libs/learning/exact_network.h"
#include "libs/learning/vector_clones.h"

namespace rochdale::learning {
namespace {

constexpr int64_t kPatchValues = 256 * 1024;  // of patches at a time, two megabytes

ROCHDALE_VECTOR_CLONES
void LargestOfFour(const double* a, const double* b, const double* c, const double* d, int64_t n,
                   double* out) {
  for (int64_t i = 0; i < n; ++i) {
    const double ab = a[i] > b[i] ? a[i] : b[i];
    const double cd = c[i] > d[i] ? c[i] : d[i];
    out[i] = ab > cd ? ab : cd;
  }
}

class ExactConvnet final : public ExactNetwork {
 public:
  explicit ExactConvnet(const ModelSpec& spec)
      : layout_(LayoutOfConvnet(spec)), tensors_(Stages()), outputs_(Stages() + 1) {
    const std::vector<ParameterTensor> tensors = ConvnetTensors(spec);
    for (int s = 0; s < Stages(); ++s) AppendTensorsOf(tensors, Layer(s).name, tensors_[s]);
    values_.resize(Stages() + 1);
  }

  int Stages() const override {
    return static_cast<int>(layout_.convolutions.size() + layout_.linear.size());
  }
  const std::vector<int>& TensorsOf(int stage) const override { return tensors_[stage]; }
  int ColumnsPerRow() const override { return 1; }
  double* Logits() override { return values_.back().data(); }

  int64_t ValuesPerRow() const override {
    int64_t widest = 0, all = 0;
    for (const Convolution& conv : layout_.convolutions) {
      const int64_t pixels = int64_t{conv.height} * conv.width;
      widest = std::max(widest, pixels * conv.layer.outputs);
      all += pixels * conv.channels + 9 * int64_t{conv.channels} * conv.width;
    }
    for (const LinearLayer& layer : layout_.linear) all += layer.inputs + layer.outputs;
    return widest + all;
  }

  void Load(Rows rows) override {
    rows_ = static_cast<int>(rows.count());
    values_[0].resize(rows.count() * rows.dimension);
    outputs_[0].largest = kernels::PixelsToFeatures(rows.inputs.data(), rows_, rows.dimension,
                                                    values_[0].data());
    outputs_[0].bits = kInputBits;
    outputs_[0].values = values_[0].data();
  }

  std::optional<LayerViolation> Run(int stage, GridSpan parameters) override {
    const size_t convolutions = layout_.convolutions.size();
    const Activations& input = outputs_[stage];
    const LinearLayer& layer = Layer(stage);
    if (!ExactLinear::Fits(layer, parameters, input)) return LayerViolation{stage, layer.name};
    std::vector<double>& out = values_[stage + 1];
    if (stage < static_cast<int>(convolutions)) {
      Convolve(layout_.convolutions[stage], parameters, input.values);
      Pool(layout_.convolutions[stage], parameters, out);
    } else {
      linear_.Run(layer, parameters, input, rows_, out);
    }
    if (stage + 1 == Stages()) return std::nullopt;  // logits are not rounded
    const double largest = kernels::Activate(out.data(), nullptr, 1, out.size(), out.data());
    outputs_[stage + 1] = {out.data(), static_cast<int64_t>(largest * (1 << kActivationBits)),
                           kActivationBits};
    return std::nullopt;
  }

 private:
  const LinearLayer& Layer(int stage) const {
    const size_t convolutions = layout_.convolutions.size();
    return stage < static_cast<int>(convolutions) ? layout_.convolutions[stage].layer
                                                  : layout_.linear[stage - convolutions];
  }

  // patches_[(channel, dy, dx)][pixel of rows y0 .. y1-1][row of the block]
  void GatherPatches(const Convolution& conv, const double* input, int y0, int y1) {
    const int64_t line = int64_t{conv.width} * rows_;
    double* to = patches_.data();
    for (int channel = 0; channel < conv.channels; ++channel) {
      const double* plane = input + channel * conv.height * line;
      for (int dy = -1; dy <= 1; ++dy) {
        for (int dx = -1; dx <= 1; ++dx) {
          for (int y = y0; y < y1; ++y, to += line) {
            const int from = y + dy;
            if (from < 0 || from >= conv.height) {
              std::fill_n(to, line, 0.0);
              continue;
            }
            const double* source = plane + from * line;
            if (dx == 0) {
              std::copy_n(source, line, to);
            } else if (dx < 0) {
              std::fill_n(to, rows_, 0.0);
              std::copy_n(source, line - rows_, to + rows_);
            } else {
              std::copy_n(source + rows_, line - rows_, to);
              std::fill_n(to + line - rows_, rows_, 0.0);
            }
          }
        }
      }
    }
  }

  // convolved_[out channel][pixel][row], without the bias.
  void Convolve(const Convolution& conv, GridSpan parameters, const double* input) {
    const LinearLayer& layer = conv.layer;
    const int64_t line = int64_t{conv.width} * rows_;
    const int64_t plane = conv.height * line;
    const int lines = static_cast<int>(
        std::clamp<int64_t>(kPatchValues / (layer.inputs * line), 1, conv.height));
    patches_.resize(layer.inputs * lines * line);
    convolved_.resize(layer.outputs * plane);
    const double* weights = linear_.Weights(layer, parameters);
    for (int y = 0; y < conv.height; y += lines) {
      const int end = std::min(y + lines, conv.height);
      GatherPatches(conv, input, y, end);
      const int64_t columns = (end - y) * line;
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, layer.outputs, columns, layer.inputs,
                  1.0, weights, layer.inputs, patches_.data(), columns, 0.0,
                  convolved_.data() + y * line, plane);
    }
  }

  // The largest of four, then the bias: the same as the other way round, for all is exact.
  void Pool(const Convolution& conv, GridSpan parameters, std::vector<double>& out) {
    const int64_t line = int64_t{conv.width} * rows_;
    const int height = conv.height / 2, width = conv.width / 2;
    const int64_t pooled = int64_t{height} * width * rows_;
    out.resize(conv.layer.outputs * pooled);
    for (int64_t channel = 0; channel < conv.layer.outputs; ++channel) {
      const double* plane = convolved_.data() + channel * conv.height * line;
      double* to = out.data() + channel * pooled;
      for (int y = 0; y < height; ++y) {
        const double* above = plane + 2 * y * line;
        for (int x = 0; x < width; ++x, above += 2 * rows_, to += rows_) {
          LargestOfFour(above, above + rows_, above + line, above + line + rows_, rows_, to);
        }
      }
      kernels::AddBias(parameters[conv.layer.bias_offset + channel] * 0x1p-20, pooled,
                       to - pooled);
    }
  }

  const ConvnetLayout layout_;
  std::vector<std::vector<int>> tensors_;    // by stage
  std::vector<Activations> outputs_;         // [s]: what stage s takes
  std::vector<std::vector<double>> values_;  // theirs; the last are the logits
  std::vector<double> patches_, convolved_;
  ExactLinear linear_;
  int rows_ = 0;
};

}  // namespace

std::unique_ptr<ExactNetwork> MakeExactConvnet(const ModelSpec& spec) {
  return std::make_unique<ExactConvnet>(spec);
}

}  // namespace rochdale::learning
