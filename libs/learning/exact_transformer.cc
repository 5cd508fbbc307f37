// The exact forward pass of a character transformer. Columns are characters: row r, position t is
// column r * T + t. R is rounding to a multiple of 2^-16, half to even.
#include <cblas.h>

#include <algorithm>
#include <cmath>

#include "libs/learning/exact_constants.h"
#include "libs/learning/exact_kernels.h"
#include "libs/learning/exact_math.h"
#include "libs/learning/exact_network.h"
#include "libs/learning/transformer.h"
#include "libs/learning/vector_clones.h"

namespace rochdale::learning {
namespace {

using exact::RoundActivation;

ROCHDALE_VECTOR_CLONES
void RoundAll(int64_t n, double* values) {
  for (int64_t i = 0; i < n; ++i) values[i] = RoundActivation(values[i]);
}

ROCHDALE_VECTOR_CLONES
void AddRounded(const double* z, int64_t n, double* x) {
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] + RoundActivation(z[i]);
}

ROCHDALE_VECTOR_CLONES
double LargestMagnitude(const double* values, int64_t n) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double value = values[i] < 0 ? -values[i] : values[i];
    largest = value > largest ? value : largest;
  }
  return largest;
}

// Of every column: sum += x.
ROCHDALE_VECTOR_CLONES
void AddTo(const double* x, int64_t n, double* sum) {
  for (int64_t i = 0; i < n; ++i) sum[i] += x[i];
}

ROCHDALE_VECTOR_CLONES
void Centre(const double* x, const double* mean, int64_t n, double* centred, double* squares) {
  for (int64_t i = 0; i < n; ++i) {
    const double c = x[i] - mean[i];
    centred[i] = c;
    squares[i] += c * c;
  }
}

ROCHDALE_VECTOR_CLONES
void Normalise(const double* deviation, double gain, double bias, int64_t n, double* values) {
  for (int64_t i = 0; i < n; ++i) {
    values[i] = RoundActivation(gain * RoundActivation(values[i] / deviation[i]) + bias);
  }
}

int64_t Units(double rounded) { return static_cast<int64_t>(rounded * (1 << kActivationBits)); }

class ExactTransformer final : public ExactNetwork {
 public:
  explicit ExactTransformer(const ModelSpec& spec)
      : spec_(spec.transformer), layout_(LayoutOfTransformer(spec_)), tensors_(Stages()),
        x_(Stages()) {
    const std::vector<ParameterTensor> tensors = TransformerTensors(spec_);
    for (const char* name : {"token", "position"}) AppendTensorsOf(tensors, name, tensors_[0]);
    for (size_t b = 0; b < layout_.blocks.size(); ++b) {
      const TransformerBlock& block = layout_.blocks[b];
      for (const std::string& name :
           {block.norm1.name, block.attention_in.name, block.attention_out.name, block.norm2.name,
            block.mlp_in.name, block.mlp_out.name}) {
        AppendTensorsOf(tensors, name, tensors_[b + 1]);
      }
    }
    AppendTensorsOf(tensors, layout_.norm.name, tensors_.back());
    AppendTensorsOf(tensors, layout_.head.name, tensors_.back());
  }

  // The embedding, the blocks, the head.
  int Stages() const override { return spec_.blocks + 2; }
  const std::vector<int>& TensorsOf(int stage) const override { return tensors_[stage]; }
  int ColumnsPerRow() const override { return spec_.context; }
  double* Logits() override { return wide_.data(); }

  int64_t ValuesPerRow() const override {
    const int64_t widest = std::max({3 * spec_.width, spec_.mlp_width, spec_.vocabulary});
    return spec_.context * ((spec_.blocks + 3) * int64_t{spec_.width} + widest);
  }

  void Load(Rows rows) override {
    rows_ = rows;
    columns_ = rows.count() * spec_.context;
  }

  std::optional<LayerViolation> Run(int stage, GridSpan parameters) override {
    checks_.Begin(stage);
    if (stage == 0) {
      Embed(parameters);
    } else if (stage <= spec_.blocks) {
      RunBlock(layout_.blocks[stage - 1], parameters, x_[stage - 1], x_[stage]);
    } else {
      NormaliseTo(layout_.norm, parameters, x_[stage - 1]) &&
          RunLinear(layout_.head, parameters, normal_, wide_);
    }
    return checks_.failed();
  }

 private:
  void Embed(GridSpan parameters) {
    std::vector<double>& x = x_[0];
    x.resize(spec_.width * columns_);
    const int32_t* token = parameters.data() + layout_.token_offset;
    const int32_t* position = parameters.data() + layout_.position_offset;
    for (int64_t n = 0; n < columns_; ++n) {
      const int32_t* of_token = token + int64_t{rows_.inputs[n]} * spec_.width;
      const int32_t* of_position = position + n % spec_.context * spec_.width;
      for (int f = 0; f < spec_.width; ++f) {
        x[f * columns_ + n] = RoundActivation((of_token[f] + of_position[f]) * 0x1p-20);
      }
    }
  }

  // normal_ from x. The squares are exact where they sum up to less than 2^21: no partial sum of
  // theirs is larger, and where one is, so is the sum.
  bool NormaliseTo(const Normalisation& norm, GridSpan parameters, const std::vector<double>& x) {
    normal_.resize(x.size());
    mean_.assign(columns_, 0.0);
    deviation_.assign(columns_, 0.0);
    for (int f = 0; f < spec_.width; ++f) AddTo(&x[f * columns_], columns_, mean_.data());
    for (double& mean : mean_) mean = RoundActivation(mean / spec_.width);
    for (int f = 0; f < spec_.width; ++f) {
      Centre(&x[f * columns_], mean_.data(), columns_, &normal_[f * columns_], deviation_.data());
    }
    const double largest = LargestMagnitude(deviation_.data(), columns_);
    if (!checks_.Pass(largest < exact::kProductsMax, norm.name)) {
      return false;
    }
    for (double& value : deviation_) value = std::sqrt(value / spec_.width + exact::kNormEpsilon);
    for (int f = 0; f < spec_.width; ++f) {
      Normalise(deviation_.data(), parameters[norm.gain_offset + f] * 0x1p-20,
                parameters[norm.bias_offset + f] * 0x1p-20, columns_, &normal_[f * columns_]);
    }
    return true;
  }

  // z from values on 2^-16.
  bool RunLinear(const LinearLayer& layer, GridSpan parameters, const std::vector<double>& input,
                 std::vector<double>& z) {
    const Activations activations{
        input.data(), Units(LargestMagnitude(input.data(), layer.inputs * columns_)),
        kActivationBits};
    return checks_.Pass(linear_.Run(layer, parameters, activations, columns_, z), layer.name);
  }

  // Whether every sum of products of two activations in an attention is exact, row by row, so that
  // the answer does not depend on the block:
  //   (d / heads) max|q| max|k| < 2^21 and T max|v| < 2^21
  bool AttentionFits() const {
    for (int64_t row = 0; row < rows_.count(); ++row) {
      int64_t largest[3] = {};
      for (int part = 0; part < 3; ++part) {
        for (int f = 0; f < spec_.width; ++f) {
          const double* values =
              &wide_[(part * spec_.width + f) * columns_ + row * spec_.context];
          largest[part] =
              std::max(largest[part], Units(LargestMagnitude(values, spec_.context)));
        }
      }
      const __int128 limit = __int128{1} << (21 + 2 * kActivationBits);
      const int64_t head_width = spec_.width / spec_.heads;
      if (__int128{head_width} * largest[0] * largest[1] >= limit) return false;
      if ((__int128{spec_.context} * largest[2] << kActivationBits) >= limit) return false;
    }
    return true;
  }

  // normal_ from the q, k, v in wide_.
  bool Attend(const TransformerBlock& block) {
    RoundAll(3 * spec_.width * columns_, wide_.data());
    if (!checks_.Pass(AttentionFits(), block.attention)) return false;
    const int context = spec_.context, head_width = spec_.width / spec_.heads;
    const double scale = 1.0 / std::sqrt(static_cast<double>(head_width));
    weights_.resize(int64_t{context} * context);
    for (int64_t row = 0; row < rows_.count(); ++row) {
      for (int head = 0; head < spec_.heads; ++head) {
        const double* q = &wide_[int64_t{head} * head_width * columns_ + row * context];
        const double* k = q + spec_.width * columns_;
        const double* v = k + spec_.width * columns_;
        // weights_[u][t] = k_u . q_t
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, context, context, head_width, 1.0, k,
                    columns_, q, columns_, 0.0, weights_.data(), context);
        CausalSoftmax(weights_.data(), context, scale);
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, head_width, context, context, 1.0,
                    v, columns_, weights_.data(), context, 0.0,
                    &normal_[int64_t{head} * head_width * columns_ + row * context], columns_);
      }
    }
    RoundAll(spec_.width * columns_, normal_.data());
    return true;
  }

  void RunBlock(const TransformerBlock& block, GridSpan parameters, const std::vector<double>& from,
                std::vector<double>& x) {
    const int64_t size = spec_.width * columns_;
    if (!NormaliseTo(block.norm1, parameters, from)) return;
    if (!RunLinear(block.attention_in, parameters, normal_, wide_)) return;
    if (!Attend(block)) return;
    if (!RunLinear(block.attention_out, parameters, normal_, wide_)) return;
    x.assign(from.begin(), from.end());
    AddRounded(wide_.data(), size, x.data());
    if (!NormaliseTo(block.norm2, parameters, x)) return;
    if (!RunLinear(block.mlp_in, parameters, normal_, wide_)) return;
    kernels::Activate(wide_.data(), nullptr, 1, wide_.size(), wide_.data());
    if (!RunLinear(block.mlp_out, parameters, wide_, normal_)) return;
    AddRounded(normal_.data(), size, x.data());
  }

  const TransformerSpec spec_;
  const TransformerLayout layout_;
  std::vector<std::vector<int>> tensors_;  // by stage
  std::vector<std::vector<double>> x_;     // [s]: the residual stream behind stage s
  std::vector<double> normal_, wide_;      // normalised or attended; pre-activations
  std::vector<double> mean_, deviation_, weights_;
  ExactLinear linear_;
  Rows rows_;
  int64_t columns_ = 0;
  LayerChecks checks_;
};

}  // namespace

std::unique_ptr<ExactNetwork> MakeExactTransformer(const ModelSpec& spec) {
  return std::make_unique<ExactTransformer>(spec);
}

}  // namespace rochdale::learning
