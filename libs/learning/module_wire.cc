#include "libs/learning/module_wire.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"

namespace rochdale::learning::wire {
namespace {

constexpr size_t kHeadBytes = 9;
constexpr uint64_t kPieceBytes = uint64_t{1} << 20;  // memory grows with what has come, not before

absl::Status Gone() { return absl::UnavailableError("the other end of the socket has gone"); }

absl::Status Wait(int socket, short events, absl::Time until) {
  while (true) {
    pollfd one{socket, events, 0};
    const int64_t left_ms = std::clamp<int64_t>(
        absl::ToInt64Milliseconds(until - absl::Now()), 0, 3'600'000);
    const int ready = poll(&one, 1, static_cast<int>(left_ms));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return Gone();
    if (absl::Now() >= until) return absl::DeadlineExceededError("no answer in time");
  }
}

absl::Status SendAll(int socket, absl::string_view bytes, absl::Time until) {
  while (!bytes.empty()) {
    RETURN_IF_ERROR(Wait(socket, POLLOUT, until));
    const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EINTR && errno != EAGAIN) return Gone();
    if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return absl::OkStatus();
}

absl::Status ReceiveAll(int socket, char* to, uint64_t size, absl::Time until) {
  while (size > 0) {
    RETURN_IF_ERROR(Wait(socket, POLLIN, until));
    const ssize_t got = recv(socket, to, size, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) return Gone();
    if (got < 0) continue;
    to += got;
    size -= static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

absl::Status Malformed() { return Error("BAD_REQUEST", "a message is not of its form"); }

}  // namespace

absl::Status Send(int socket, uint8_t kind, absl::string_view bytes, absl::Time until) {
  char head[kHeadBytes];
  const uint64_t size = bytes.size();
  head[0] = static_cast<char>(kind);
  std::memcpy(head + 1, &size, sizeof(size));
  RETURN_IF_ERROR(SendAll(socket, {head, kHeadBytes}, until));
  return SendAll(socket, bytes, until);
}

absl::StatusOr<Message> Receive(int socket, uint64_t bytes_max, absl::Time until) {
  char head[kHeadBytes];
  RETURN_IF_ERROR(ReceiveAll(socket, head, kHeadBytes, until));
  Message message;
  message.kind = static_cast<uint8_t>(head[0]);
  uint64_t size = 0;
  std::memcpy(&size, head + 1, sizeof(size));
  if (size > bytes_max) return Malformed();
  while (message.bytes.size() < size) {
    const uint64_t have = message.bytes.size();
    const uint64_t piece = std::min(size - have, std::max(kPieceBytes, have));
    message.bytes.resize(have + piece);
    RETURN_IF_ERROR(ReceiveAll(socket, message.bytes.data() + have, piece, until));
  }
  return message;
}

std::string PackRows(Rows rows) {
  const int64_t count = rows.count(), dimension = rows.dimension;
  std::string bytes;
  bytes.append(reinterpret_cast<const char*>(&count), sizeof(count));
  bytes.append(reinterpret_cast<const char*>(&dimension), sizeof(dimension));
  absl::StrAppend(&bytes, BytesOf(rows.labels), BytesOf(rows.inputs));
  return bytes;
}

absl::StatusOr<Dataset> UnpackRows(absl::string_view bytes) {
  int64_t head[2];
  if (bytes.size() < sizeof(head)) return Malformed();
  std::memcpy(head, bytes.data(), sizeof(head));
  bytes.remove_prefix(sizeof(head));
  const auto [count, dimension] = head;
  if (count < 1 || count > kDatasetRowsMax || dimension < 1 || dimension > kInputsMax ||
      bytes.size() != static_cast<uint64_t>(count) * (4 + static_cast<uint64_t>(dimension))) {
    return Malformed();
  }
  Dataset rows;
  rows.dimension = static_cast<int>(dimension);
  ASSIGN_OR_RETURN(rows.labels, ValuesOf<int32_t>(bytes.substr(0, count * 4)));
  ASSIGN_OR_RETURN(rows.inputs, ValuesOf<uint8_t>(bytes.substr(count * 4)));
  return rows;
}

template <typename T>
absl::StatusOr<std::vector<T>> ValuesOf(absl::string_view bytes) {
  if (bytes.size() % sizeof(T) != 0) return Malformed();
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}
template absl::StatusOr<std::vector<uint8_t>> ValuesOf(absl::string_view);
template absl::StatusOr<std::vector<int32_t>> ValuesOf(absl::string_view);
template absl::StatusOr<std::vector<int64_t>> ValuesOf(absl::string_view);
template absl::StatusOr<std::vector<float>> ValuesOf(absl::string_view);

}  // namespace rochdale::learning::wire
