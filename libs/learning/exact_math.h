// exp, log and cross-entropy of the exact evaluator: plain IEEE-754 binary64 additions,
// subtractions, multiplications and divisions in a fixed order, round to nearest even, no fused
// multiply-add (-ffp-contract=off), no C library. Relative error of both below 2.3e-16.
//
// Every operation below is one rounding to binary64, in the order of the brackets. Constants are
// given as hexadecimal floating literals, so that no decimal conversion is involved.
//
//   MAGIC   = 0x1.8p+52                     (t + MAGIC) - MAGIC rounds |t| < 2^51 to an integer,
//                                           half to even
//   LOG2E   = 0x1.71547652b82fep+0
//   LN2_HI  = 0x1.62e42fefa38p-1            (42 significant bits: k * LN2_HI is exact, |k| < 2^11)
//   LN2_LO  = 0x1.ef35793c7673p-45          (ln 2 - LN2_HI, rounded)
//
// exp(x), -2^23 < x <= 0:
//   if x < -700: the result is 0.
//   k = (x * LOG2E + MAGIC) - MAGIC
//   r = (x - k * LN2_HI) - k * LN2_LO
//   p = E13;  for i = 12, 11, ..., 0:  p = p * r + Ei      (a multiplication, then an addition)
//   result = p * 2^k                                        (2^k is exact; the result is normal)
//   Ei = the binary64 nearest to 1 / i!   (kExpCoefficients)
//
// log(s), 1 <= s < 2^32:
//   s = m * 2^e exactly with 1 <= m < 2; if m >= 0x1.6a09e667f3bcdp+0: m = m / 2, e = e + 1
//   g = m - 1
//   f = g / (g + 2)
//   w = f * f
//   q = L10; for i = 9, 8, ..., 1: q = q * w + Li           Li = binary64 nearest to 2 / (2 i + 1)
//   q = q * w
//   result = e * LN2_HI + ((g - f * (g - q)) + e * LN2_LO)
//   (log m = 2 atanh f = 2 f + f q with q = 2 (f^2/3 + f^4/5 + ...), and 2 f = g - f g.)
//
// loss of a row with logits z[0 .. classes-1] and label y, in nano-nats:
//   top = max_j z[j]
//   d[j] = z[j] - top
//   s = 0; for j = 0, 1, ..., classes-1: s = s + exp(d[j])
//   loss = log(s) - d[y]
//   nano = (loss * 1e9 + MAGIC) - MAGIC                      as int64
//
// attention weights of a head from its scores s[u][t] = k_u . q_t, u <= t, with scale = 1 / sqrt of
// the head's width in binary64; R rounds to a multiple of 2^-16, half to even:
//   a[u] = s[u][t] * scale
//   top = max_u a[u]
//   e[u] = exp(a[u] - top)
//   sum = 0; for u = 0, 1, ..., t: sum = sum + e[u]
//   p[u][t] = R(e[u] / sum);  0 for u > t
#pragma once

#include <cstdint>

namespace rochdale::learning {

double ExactExp(double x);  // -2^23 < x <= 0
double ExactLog(double s);  // 1 <= s < 2^32

// For `rows` rows at once: logit of class j of row r is logits[j * stride + r] (class-major);
// labels[r] in 0 .. classes-1; loss_nanonats[r] is written. Logits are overwritten.
// |logit| < 2^17; stride >= rows.
void CrossEntropyNanonats(double* logits, int64_t stride, int classes, const int32_t* labels,
                          int64_t rows, int64_t* loss_nanonats);

// scores[u * n + t], u, t = 0 .. n-1, become attention weights. |score| < 2^21.
void CausalSoftmax(double* scores, int n, double scale);

}  // namespace rochdale::learning
