#include "libs/tensor/screen.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "libs/base/status_macros.h"
#include "libs/tensor/grid.h"
#include "libs/tensor/screen_kernel.h"

namespace rochdale::tensor {
namespace {

constexpr size_t kLanes = 16;
constexpr size_t kChunk = kScreenBlock * kScreenChunkBlocks;
constexpr int kThreadsMax = 256;

size_t ChunksIn(size_t elements) { return (elements + kChunk - 1) / kChunk; }

// Calls work(chunk) for every chunk, on `threads` threads; which thread takes which is open.
void ForEachChunk(size_t chunks, int threads, const std::function<void(size_t)>& work) {
  std::atomic<size_t> next{0};
  auto take = [&] {
    for (size_t chunk; (chunk = next.fetch_add(1)) < chunks;) work(chunk);
  };
  std::vector<std::jthread> helpers;
  const size_t wanted = std::min<size_t>(std::clamp(threads, 1, kThreadsMax), chunks);
  for (size_t i = 1; i < wanted; ++i) helpers.emplace_back(take);
  take();
}

// A block whose length is no multiple of 16, filled up with zeros (which change no sum).
struct PaddedBlock {
  float values[kScreenBlock];
  const float* Fill(const float* from, size_t count, size_t padded) {
    std::memcpy(values, from, count * sizeof(float));
    std::fill(values + count, values + padded, 0.0f);
    return values;
  }
};

size_t RoundUpToLanes(size_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

uint32_t MagnitudeBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffff;
}

void Merge(ExactNorm& into, const ExactNorm& part) {
  into.sum_squares += part.sum_squares;
  into.max_abs = std::max(into.max_abs, part.max_abs);
}

// Element by element: for blocks that cross slices or leave the grid.
ExactNorm SlowNorm(absl::Span<const float> values, uint64_t& beyond_grid) {
  ExactNorm norm;
  uint64_t sum = 0;  // at most kScreenBlock squares of at most 2^46
  for (float value : values) {
    const int64_t units = RoundToGrid(double{value});
    sum += static_cast<uint64_t>(units * units);
    norm.max_abs = std::max(norm.max_abs, std::abs(value));
    if (MagnitudeBits(value) >= kBeyondGridBits) ++beyond_grid;
  }
  norm.sum_squares = sum;
  return norm;
}

// One pass over one vector; the parts of the result that all threads share are behind the mutex,
// except for the dots, which have one row per chunk.
class Screening {
 public:
  Screening(absl::Span<const float> delta, absl::Span<const absl::Span<const float>> probes,
            absl::Span<const FlatSlice> slices)
      : kernel_(SupportedKernels().front()), delta_(delta), probes_(probes), slices_(slices),
        chunk_dots_(ChunksIn(delta.size()) * probes.size(), 0.0) {
    result_.slices.resize(slices.size());
  }

  void RunChunk(size_t chunk) {
    Local local;
    local.slice = SliceAt(chunk * kChunk);
    local.first_slice = local.slice;
    double* dots = chunk_dots_.data() + chunk * probes_.size();
    const size_t end = std::min(delta_.size(), (chunk + 1) * kChunk);
    for (size_t begin = chunk * kChunk; begin < end && local.finite; begin += kScreenBlock) {
      RunBlock(begin, std::min(kScreenBlock, end - begin), local, dots);
    }
    std::lock_guard lock(mutex_);
    result_.finite = result_.finite && local.finite;
    result_.beyond_grid += local.beyond_grid;
    Merge(result_.norm, local.norm);
    for (size_t i = 0; i < local.slices.size(); ++i) {
      Merge(result_.slices[local.first_slice + i], local.slices[i]);
    }
  }

  ScreenResult Finish() {
    const size_t probes = probes_.size();
    result_.dots.assign(probes, 0.0);
    if (!result_.finite) {
      result_.beyond_grid = 0;
      result_.norm = {};
      result_.slices.assign(slices_.size(), {});
      return std::move(result_);
    }
    for (size_t i = 0; i < chunk_dots_.size(); ++i) result_.dots[i % probes] += chunk_dots_[i];
    return std::move(result_);
  }

 private:
  // What one chunk adds; `slices` are the norms of those it touches, from first_slice on.
  struct Local {
    bool finite = true;
    uint64_t beyond_grid = 0;
    ExactNorm norm;
    size_t slice = 0;
    size_t first_slice = 0;
    std::vector<ExactNorm> slices;
    double wide[kScreenBlock];
    PaddedBlock padded;
  };

  size_t SliceAt(size_t element) const {
    const auto after = std::upper_bound(
        slices_.begin(), slices_.end(), element,
        [](size_t wanted, const FlatSlice& slice) { return wanted < slice.offset; });
    return after == slices_.begin() ? 0 : static_cast<size_t>(after - slices_.begin()) - 1;
  }

  void RunBlock(size_t begin, size_t count, Local& local, double* dots) const {
    const size_t padded = RoundUpToLanes(count);
    const float* values = delta_.data() + begin;
    if (padded != count) values = local.padded.Fill(values, count, padded);
    const BlockFront front = kernel_.front(values, padded, local.wide);
    if (front.max_bits >= kInfinityBits) {
      local.finite = false;
      return;
    }
    AddNorms(begin, count, front, local);
    for (size_t k = 0; k < probes_.size(); ++k) {
      const float* probe = probes_[k].data() + begin;
      if (padded != count) probe = local.padded.Fill(probe, count, padded);
      dots[k] += kernel_.dot(local.wide, probe, padded);
    }
  }

  void AddNorms(size_t begin, size_t count, const BlockFront& front, Local& local) const {
    const absl::Span<const float> block = delta_.subspan(begin, count);
    ExactNorm whole;
    whole.sum_squares = front.sum_squares;
    std::memcpy(&whole.max_abs, &front.max_bits, sizeof whole.max_abs);
    const bool within_grid = front.max_bits < kBeyondGridBits;
    if (!within_grid) whole = SlowNorm(block, local.beyond_grid);
    Merge(local.norm, whole);
    if (slices_.empty()) return;

    for (size_t at = begin; at < begin + count;) {
      const FlatSlice& slice = slices_[local.slice];
      const size_t end = std::min<size_t>(begin + count, slice.offset + slice.count);
      local.slices.resize(local.slice - local.first_slice + 1);
      uint64_t counted_already = 0;
      Merge(local.slices.back(), end - at == count
                                     ? whole
                                     : SlowNorm(delta_.subspan(at, end - at), counted_already));
      at = end;
      if (at == slice.offset + slice.count) ++local.slice;
    }
  }

  const ScreenKernel kernel_;
  const absl::Span<const float> delta_;
  const absl::Span<const absl::Span<const float>> probes_;
  const absl::Span<const FlatSlice> slices_;
  std::vector<double> chunk_dots_;  // chunk-major
  std::mutex mutex_;
  ScreenResult result_;
};

// All vectors' blocks side by side, widened; then every pair.
void GramChunk(const ScreenKernel& kernel, absl::Span<const absl::Span<const float>> vectors,
               size_t chunk, double* sums) {
  const size_t n = vectors.size();
  std::vector<double> wide(n * kScreenBlock);
  PaddedBlock padding;
  const size_t size = vectors[0].size();
  const size_t end = std::min(size, (chunk + 1) * kChunk);
  for (size_t begin = chunk * kChunk; begin < end; begin += kScreenBlock) {
    const size_t count = std::min(kScreenBlock, end - begin);
    const size_t padded = RoundUpToLanes(count);
    for (size_t i = 0; i < n; ++i) {
      const float* values = vectors[i].data() + begin;
      if (padded != count) values = padding.Fill(values, count, padded);
      kernel.widen(values, padded, wide.data() + i * kScreenBlock);
    }
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        sums[i * n + j] += kernel.dot_wide(wide.data() + i * kScreenBlock,
                                           wide.data() + j * kScreenBlock, padded);
      }
    }
  }
}

absl::Status CheckSlices(absl::Span<const FlatSlice> slices, size_t elements) {
  if (slices.empty()) return absl::OkStatus();
  uint64_t offset = 0;
  for (const FlatSlice& slice : slices) {
    if (slice.offset != offset || slice.count == 0 || slice.count > elements - offset) {
      return absl::InvalidArgumentError("slices are not contiguous within the vector");
    }
    offset += slice.count;
  }
  if (offset != elements) return absl::InvalidArgumentError("slices do not cover the vector");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ScreenResult> ScreenPass(absl::Span<const float> delta,
                                        absl::Span<const absl::Span<const float>> probes,
                                        absl::Span<const FlatSlice> slices, int threads) {
  for (const absl::Span<const float> probe : probes) {
    if (probe.size() != delta.size()) {
      return absl::InvalidArgumentError("a probe gradient is not as long as the update");
    }
  }
  RETURN_IF_ERROR(CheckSlices(slices, delta.size()));
  Screening screening(delta, probes, slices);
  ForEachChunk(ChunksIn(delta.size()), threads,
               [&](size_t chunk) { screening.RunChunk(chunk); });
  return screening.Finish();
}

absl::StatusOr<double> Dot(absl::Span<const float> a, absl::Span<const float> b) {
  const absl::Span<const float> both[] = {a, b};
  ASSIGN_OR_RETURN(const std::vector<double> gram, Gram(both));
  return gram[1];
}

absl::StatusOr<std::vector<double>> Gram(absl::Span<const absl::Span<const float>> vectors,
                                         int threads) {
  const size_t n = vectors.size();
  std::vector<double> gram(n * n, 0.0);
  if (n == 0) return gram;
  for (const absl::Span<const float> vector : vectors) {
    if (vector.size() != vectors[0].size()) {
      return absl::InvalidArgumentError("vectors are not of one length");
    }
  }
  const ScreenKernel& kernel = SupportedKernels().front();
  const size_t chunks = ChunksIn(vectors[0].size());
  std::vector<double> sums(chunks * n * n, 0.0);
  ForEachChunk(chunks, threads, [&](size_t chunk) {
    GramChunk(kernel, vectors, chunk, sums.data() + chunk * n * n);
  });
  for (size_t i = 0; i < sums.size(); ++i) gram[i % (n * n)] += sums[i];
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < i; ++j) gram[j * n + i] = gram[i * n + j];
  }
  return gram;
}

}  // namespace rochdale::tensor
