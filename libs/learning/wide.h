// An unsigned 256-bit integer with just what exact statistics need. Overflow is the caller's to
// exclude: the bounds in shapley.h and credit_rule.h keep every value below 2^250.
#pragma once

#include <array>
#include <compare>
#include <cstdint>

namespace rochdale::learning {

class Wide {
 public:
  constexpr Wide() = default;
  constexpr Wide(unsigned __int128 value)  // NOLINT: a plain widening
      : limbs_{static_cast<uint64_t>(value), static_cast<uint64_t>(value >> 64), 0, 0} {}

  constexpr Wide& operator+=(const Wide& other) {
    unsigned __int128 carry = 0;
    for (int i = 0; i < 4; ++i) {
      carry += static_cast<unsigned __int128>(limbs_[i]) + other.limbs_[i];
      limbs_[i] = static_cast<uint64_t>(carry);
      carry >>= 64;
    }
    return *this;
  }

  // *this >= other.
  constexpr Wide& operator-=(const Wide& other) {
    uint64_t borrow = 0;
    for (int i = 0; i < 4; ++i) {
      const unsigned __int128 taken = static_cast<unsigned __int128>(other.limbs_[i]) + borrow;
      borrow = limbs_[i] < taken ? 1 : 0;
      limbs_[i] = static_cast<uint64_t>(limbs_[i] - taken);
    }
    return *this;
  }

  constexpr Wide& operator*=(uint64_t factor) {
    unsigned __int128 carry = 0;
    for (int i = 0; i < 4; ++i) {
      carry += static_cast<unsigned __int128>(limbs_[i]) * factor;
      limbs_[i] = static_cast<uint64_t>(carry);
      carry >>= 64;
    }
    return *this;
  }

  friend constexpr Wide operator*(Wide a, uint64_t factor) { return a *= factor; }
  friend constexpr Wide operator-(Wide a, const Wide& b) { return a -= b; }
  friend constexpr Wide operator*(const Wide& a, const Wide& b) {
    Wide product;
    for (int i = 0; i < 4; ++i) {
      Wide part = a * b.limbs_[i];
      for (int shift = 0; shift < i; ++shift) {
        part.limbs_ = {0, part.limbs_[0], part.limbs_[1], part.limbs_[2]};
      }
      product += part;
    }
    return product;
  }

  friend constexpr bool operator==(const Wide&, const Wide&) = default;
  friend constexpr std::strong_ordering operator<=>(const Wide& a, const Wide& b) {
    for (int i = 3; i >= 0; --i) {
      if (a.limbs_[i] != b.limbs_[i]) return a.limbs_[i] <=> b.limbs_[i];
    }
    return std::strong_ordering::equal;
  }

 private:
  std::array<uint64_t, 4> limbs_{};  // least significant first
};

// The smallest x in 0 .. limit for which holds(x); holds is monotone, and true at limit.
template <typename Holds>
uint64_t SmallestWhere(uint64_t limit, Holds holds) {
  uint64_t low = 0;
  while (low < limit) {
    const uint64_t middle = low + (limit - low) / 2;
    if (holds(middle)) {
      limit = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace rochdale::learning
