// Array parameters in PostgreSQL's binary format: for arrays of thousands of elements, where the
// text form costs both sides too much. See Transaction::ExecArrays.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "libs/pg/value.h"

namespace rochdale::pg {

// Appends the bytes of an integer, the highest first, as all of PostgreSQL's binary formats have
// it.
template <typename Integer>
void AppendBigEndian(std::string& out, Integer value) {
  char bytes[sizeof(Integer)];
  auto rest = static_cast<std::make_unsigned_t<Integer>>(value);
  for (size_t i = sizeof(Integer); i-- > 0; rest = static_cast<decltype(rest)>(rest >> 7 >> 1)) {
    bytes[i] = static_cast<char>(rest & 0xff);
  }
  out.append(bytes, sizeof(Integer));
}

// One dimension, no NULL. uuid[], bytea[], text[] (UTF-8), integer[], bigint[]: the statement must
// declare exactly this type.
class BinaryArray {
 public:
  template <typename T>
  explicit BinaryArray(const std::vector<T>& values) {
    Begin(OidOf(values.data()), values.size());
    for (const T& value : values) Append(value);
  }

  const std::string& bytes() const { return bytes_; }

 private:
  // pg_type.dat of PostgreSQL; these numbers never change.
  static uint32_t OidOf(const Uuid*) { return 2950; }
  template <typename Tag>
  static uint32_t OidOf(const Id<Tag>*) {
    return 2950;
  }
  static uint32_t OidOf(const Bytes*) { return 17; }
  template <ByteValue T>
  static uint32_t OidOf(const T*) {
    return 17;
  }
  static uint32_t OidOf(const std::string*) { return 25; }
  static uint32_t OidOf(const int32_t*) { return 23; }
  static uint32_t OidOf(const int64_t*) { return 20; }

  void Begin(uint32_t oid, size_t count);
  void AppendBytes(absl::string_view bytes);
  void Append(const Uuid& id) { AppendBytes(id.AsBytes()); }
  template <typename Tag>
  void Append(const Id<Tag>& id) {
    AppendBytes(id.value.AsBytes());
  }
  void Append(const Bytes& bytes) { AppendBytes(bytes.data); }
  template <ByteValue T>
  void Append(const T& value) {
    AppendBytes(value.AsBytes());
  }
  void Append(const std::string& text) { AppendBytes(text); }
  void Append(int32_t value);
  void Append(int64_t value);

  std::string bytes_;
};

}  // namespace rochdale::pg
