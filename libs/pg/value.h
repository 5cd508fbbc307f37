// Parameters of SQL statements, as libpq's text format. Everything that may stand behind a $n:
//   integers, bool, double, text, Uuid and Id<> (uuid), Bytes and digests (bytea), absl::Time
//   (bigint, unix microseconds), std::optional of these (NULL), and vectors of these (arrays).
// Plain strings are text and must hold no NUL byte (the statement then fails with INVALID_ARGUMENT
// and nothing is sent); wrap binary data as Bytes{data}.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "libs/base/ids.h"

namespace rochdale::pg {

// Binary data (bytea); does not own it.
struct Bytes {
  absl::string_view data;
};

// Digests and other fixed-size byte values: sent as bytea.
template <typename T>
concept ByteValue = requires(const T& value) {
  { value.AsBytes() } -> std::convertible_to<absl::string_view>;
};

// One parameter, owned. Cheap to move.
class Value {
 public:
  Value(std::nullopt_t) : null_(true) {}  // NOLINT: implicit, so that Exec(sql, a, b) reads well
  Value(bool value) : text_(value ? "t" : "f") {}
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  Value(T value) : text_(std::to_string(value)) {}
  Value(double value);
  Value(absl::string_view text) : text_(text) {}
  Value(const std::string& text) : text_(text) {}
  Value(std::string&& text) : text_(std::move(text)) {}
  Value(const char* text) : text_(text) {}
  Value(absl::Time time);
  Value(const Uuid& id) : text_(id.ToString()) {}
  template <typename Tag>
  Value(const Id<Tag>& id) : text_(id.ToString()) {}
  Value(Bytes bytes);
  template <ByteValue T>
  Value(const T& bytes) : Value(Bytes{bytes.AsBytes()}) {}
  template <size_t N>
  Value(const std::array<uint8_t, N>& bytes)
      : Value(Bytes{{reinterpret_cast<const char*>(bytes.data()), N}}) {}
  template <typename T>
  Value(const std::optional<T>& value) : Value(std::nullopt) {
    if (value.has_value()) *this = Value(*value);
  }
  // An array; an element may be NULL (optional). Arrays of one dimension only.
  template <typename T>
  Value(const std::vector<T>& values) : text_("{") {
    for (size_t i = 0; i < values.size(); ++i) AppendElement(i, Value(static_cast<T>(values[i])));
    text_ += '}';
  }
  template <typename T>
  Value(absl::Span<const T> values) : text_("{") {
    for (size_t i = 0; i < values.size(); ++i) AppendElement(i, Value(values[i]));
    text_ += '}';
  }

  bool is_null() const { return null_; }
  // The text form; meaningless where null. Valid as long as the value.
  const std::string& text() const { return text_; }

 private:
  void AppendElement(size_t index, const Value& element);

  std::string text_;
  bool null_ = false;
};

}  // namespace rochdale::pg
