// The constants and the rounding of exact_math.h, for every place that computes with them. Internal
// to libs/learning.
#pragma once

namespace rochdale::learning::exact {

inline constexpr double kMagic = 0x1.8p+52;
inline constexpr double kLog2E = 0x1.71547652b82fep+0;
inline constexpr double kLn2High = 0x1.62e42fefa38p-1;
inline constexpr double kLn2Low = 0x1.ef35793c7673p-45;
inline constexpr double kExpUnderflow = -700;
inline constexpr double kSqrt2 = 0x1.6a09e667f3bcdp+0;

// 1 / i!: a division of exact integers, so the nearest binary64.
inline constexpr double kExpCoefficients[14] = {
    1.0,           1.0,           1.0 / 2,         1.0 / 6,         1.0 / 24,
    1.0 / 120,     1.0 / 720,     1.0 / 5040,      1.0 / 40320,     1.0 / 362880,
    1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};

// 2 / (2 i + 1), i = 0 .. 10 (the first is not used).
inline constexpr double kLogCoefficients[11] = {2.0,      2.0 / 3,  2.0 / 5,  2.0 / 7,
                                                2.0 / 9,  2.0 / 11, 2.0 / 13, 2.0 / 15,
                                                2.0 / 17, 2.0 / 19, 2.0 / 21};

// Of a normalisation: the binary64 nearest to 1e-5.
inline constexpr double kNormEpsilon = 0x1.4f8b588e368f1p-17;
// Of sums of |a| |b|, a and b on 2^-16.
inline constexpr double kProductsMax = 0x1p+21;

// To a multiple of 2^-16, half to even: what activations are stored in. |value| < 2^34.
[[gnu::always_inline]] inline double RoundActivation(double value) {
  constexpr double kShift = 0x1.8p+36;  // its last bit is 2^-16
  return (value + kShift) - kShift;
}

}  // namespace rochdale::learning::exact
