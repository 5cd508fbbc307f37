// What evaluations of the same base on the same rows take over from one another: the base's
// activations, which every candidate that leaves lower layers alone starts from. A worker that gets
// the candidates of a row block in several shards, or stage by stage, computes them once.
//
// Entries are found by the bytes of base and rows, never by a name that somebody gave them, so that
// no result depends on what was kept. Bounded; not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

// On one block of rows, feature-major.
template <typename Real>
struct BaseActivations {
  size_t layers = 0;                     // from below, whose pre-activations are known
  std::vector<std::vector<Real>> z;      // of each layer, bias included
  std::vector<std::vector<Real>> input;  // of each layer but the first, whose input are the pixels
  std::vector<int64_t> largest;          // input of each layer but the first, in units of 2^-16
};

template <typename Real>
class BaseCache {
 public:
  static constexpr int64_t kBytesMax = int64_t{128} << 20;

  explicit BaseCache(int64_t bytes_max = kBytesMax) : bytes_max_(bytes_max) {}
  BaseCache(const BaseCache&) = delete;
  BaseCache& operator=(const BaseCache&) = delete;

  // What follows is about this base of a model of linear layers; drops what belongs to another.
  void Use(const ModelSpec& spec, GridSpan base);
  // The block of exactly these rows, as it was left, or new; valid until Use is called with another
  // base. Null where it would not fit any more.
  BaseActivations<Real>* Find(Rows rows);

  int64_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::vector<uint8_t> pixels;
    BaseActivations<Real> activations;
  };

  const int64_t bytes_max_;
  ModelSpec spec_;
  GridVector base_;
  int64_t bytes_of_row_ = 0;   // pixels and all that may be kept of it
  int64_t bytes_ = 0;
  std::deque<Entry> entries_;  // in place: they are pointed to
};

}  // namespace rochdale::learning
