// Labelled rows: probes and validation pools. On the wire a safetensors file of two tensors:
//   "inputs" U8 [N, D]   pixel p means p / 256; of a character transformer, characters
//   "labels" U8 or I64 [N], 0 <= label < classes
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "libs/learning/model.h"

namespace rochdale::learning {

inline constexpr int64_t kDatasetRowsMax = 1'000'000;
inline constexpr int64_t kDatasetBytesMax = int64_t{1} << 31;  // of inputs

// A view of rows; inputs are row-major [labels.size() x dimension].
struct Rows {
  absl::Span<const uint8_t> inputs;
  absl::Span<const int32_t> labels;
  int dimension = 0;

  int64_t count() const { return static_cast<int64_t>(labels.size()); }
  // Rows first .. first + n - 1.
  Rows Slice(int64_t first, int64_t n) const;
};

struct Dataset {
  std::vector<uint8_t> inputs;
  std::vector<int32_t> labels;
  int dimension = 0;

  operator Rows() const { return {inputs, labels, dimension}; }  // NOLINT: a view of itself
  int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

// PROBE_INVALID where it is no such file, is empty, is over the limits, or does not fit the spec's
// inputs and classes (the message says which).
absl::StatusOr<Dataset> ParseDataset(absl::string_view safetensors, const ModelSpec& spec);
// Labels are written as U8 where all are below 256, else as I64; inputs first.
std::string SerializeDataset(Rows rows);

// PROBE_INVALID unless the rows fit the spec (dimension, labels, characters, at least one row).
absl::Status CheckRows(Rows rows, const ModelSpec& spec);

// The rows at these indices, in this order. Every index is in range.
Dataset TakeRows(Rows rows, absl::Span<const int64_t> indices);

}  // namespace rochdale::learning
