#include "libs/learning/device_math.h"

#include <cstdint>

#include "libs/learning/exact_constants.h"

namespace rochdale::learning::device {
namespace {

torch::Tensor BitsOf(const torch::Tensor& values) {
  return values.contiguous().view(torch::kInt64);
}
torch::Tensor ValueOf(const torch::Tensor& bits) {
  return bits.contiguous().view(torch::kFloat64);
}

}  // namespace

torch::Tensor Exp(const torch::Tensor& x) {
  const torch::Tensor clamped = x.clamp_min(exact::kExpUnderflow);
  const torch::Tensor shifted = clamped.mul(exact::kLog2E).add_(exact::kMagic);
  const torch::Tensor k = shifted.sub(exact::kMagic);
  const torch::Tensor r = clamped.sub(k.mul(exact::kLn2High)).sub_(k.mul(exact::kLn2Low));
  torch::Tensor p = torch::full_like(r, exact::kExpCoefficients[13]);
  for (int i = 12; i >= 0; --i) p.mul_(r).add_(exact::kExpCoefficients[i]);
  const torch::Tensor scale = BitsOf(shifted).bitwise_left_shift(52).add_(int64_t{1023} << 52);
  p.mul_(ValueOf(scale));
  return p.masked_fill_(x.lt(exact::kExpUnderflow), 0.0);
}

torch::Tensor Log(const torch::Tensor& s) {
  constexpr int64_t kMantissa = (int64_t{1} << 52) - 1;
  const torch::Tensor bits = BitsOf(s);
  const torch::Tensor m = ValueOf(bits.bitwise_and(kMantissa).bitwise_or_(int64_t{1023} << 52));
  const torch::Tensor large = m.ge(exact::kSqrt2);
  const torch::Tensor e = bits.bitwise_right_shift(52)
                              .sub_(int64_t{1023})
                              .add_(large.to(torch::kInt64))
                              .to(torch::kFloat64);
  const torch::Tensor g = torch::where(large, m.mul(0.5), m).sub_(1.0);
  const torch::Tensor f = g.div(g.add(2.0));
  const torch::Tensor w = f.mul(f);
  torch::Tensor q = torch::full_like(w, exact::kLogCoefficients[10]);
  for (int i = 9; i >= 1; --i) q.mul_(w).add_(exact::kLogCoefficients[i]);
  q.mul_(w);
  const torch::Tensor tail = g.sub(f.mul(g.sub(q))).add_(e.mul(exact::kLn2Low));
  return e.mul(exact::kLn2High).add_(tail);
}

torch::Tensor CrossEntropyNanonats(const torch::Tensor& logits, const torch::Tensor& labels) {
  const torch::Tensor d = logits.sub(logits.amax(-1, /*keepdim=*/true));
  const torch::Tensor exponentials = Exp(d);
  torch::Tensor sum = torch::zeros_like(exponentials.select(-1, 0));
  for (int64_t j = 0; j < logits.size(-1); ++j) sum.add_(exponentials.select(-1, j));
  const torch::Tensor own = d.gather(-1, labels.unsqueeze(-1)).squeeze(-1);
  const torch::Tensor loss = Log(sum).sub_(own);
  return loss.mul_(1e9).add_(exact::kMagic).sub_(exact::kMagic).to(torch::kInt64);
}

}  // namespace rochdale::learning::device
