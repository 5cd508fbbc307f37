#include "libs/pg/binary_array.h"

namespace rochdale::pg {

// array_recv of PostgreSQL: dimensions, whether there are NULLs, type of the elements, then length
// and lower bound of each dimension. An empty array has no dimension.
void BinaryArray::Begin(uint32_t oid, size_t count) {
  AppendBigEndian(bytes_, int32_t{count > 0 ? 1 : 0});
  AppendBigEndian(bytes_, int32_t{0});
  AppendBigEndian(bytes_, oid);
  if (count == 0) return;
  AppendBigEndian(bytes_, static_cast<int32_t>(count));
  AppendBigEndian(bytes_, int32_t{1});
}

void BinaryArray::AppendBytes(absl::string_view bytes) {
  AppendBigEndian(bytes_, static_cast<int32_t>(bytes.size()));
  bytes_.append(bytes.data(), bytes.size());
}

void BinaryArray::Append(int32_t value) {
  AppendBigEndian(bytes_, int32_t{4});
  AppendBigEndian(bytes_, value);
}

void BinaryArray::Append(int64_t value) {
  AppendBigEndian(bytes_, int32_t{8});
  AppendBigEndian(bytes_, value);
}

}  // namespace rochdale::pg
