// What goes to and fro between a process that wants a TorchScript module evaluated and the process
// that runs it: messages over one stream socket. Internal to libs/learning.
//
//   request   u8 operation | u64 length | bytes
//   answer    u8 0 | u64 length | bytes             it worked
//             u8 1 | u64 length | reason \n message   it did not; reason is one of docs/errors.md
// Integers are those of the machine: both ends are on one.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "libs/learning/dataset.h"

namespace rochdale::learning::wire {

enum class Operation : uint8_t {
  kModule = 1,    // u32 length of the spec's JSON | JSON | module  ->  int32 parameters
  kPerSample,     // nothing  ->  nothing
  kRows,          // rows  ->  nothing
  kLosses,        // int32 parameters  ->  int64 losses of the rows
  kGradient,      // int32 parameters  ->  f32 gradient of the mean loss over the rows
};

inline constexpr uint64_t kMessageBytesMax = uint64_t{3} << 30;

struct Message {
  uint8_t kind = 0;  // of a request the operation, of an answer 0 or 1
  std::string bytes;
};

// UNAVAILABLE where the other end has gone; DEADLINE_EXCEEDED where it takes longer.
absl::Status Send(int socket, uint8_t kind, absl::string_view bytes, absl::Time until);
absl::StatusOr<Message> Receive(int socket, uint64_t bytes_max, absl::Time until);

std::string PackRows(Rows rows);
// BAD_REQUEST where the bytes are no rows.
absl::StatusOr<Dataset> UnpackRows(absl::string_view bytes);

template <typename T>
absl::string_view BytesOf(absl::Span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}
// BAD_REQUEST where the bytes are no whole number of values.
template <typename T>
absl::StatusOr<std::vector<T>> ValuesOf(absl::string_view bytes);

}  // namespace rochdale::learning::wire
