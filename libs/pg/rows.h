// Results of SQL statements. Rows and Row share the result, so they may outlive the transaction.
//
// Reading a column as a type that it does not have, a NULL as a value, or a column that the
// statement did not ask for is a broken invariant: the process stops with the column's name.
//   ASSIGN_OR_RETURN(const Rows rows, tx.Exec(kFindAccounts, owner));
//   for (const Row& row : rows) {
//     const auto [id, balance] = row.As<AccountId, int64_t>();
//     const std::string leaf = row.GetBytes("leaf");
//   }
// Thread-compatible: two threads must not use copies of one result at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/ids.h"

namespace pqxx {
class result;
}

namespace rochdale::pg {

// A column by its position in the select list (from 0) or by its name.
class Column {
 public:
  Column(int position) : position_(position) {}  // NOLINT: implicit
  Column(const char* name) : name_(name) {}      // NOLINT: implicit

  int position() const { return position_; }
  const char* name() const { return name_; }

 private:
  int position_ = 0;
  const char* name_ = nullptr;
};

// Text form -> value; false where the text is not of that type. Arrays hold no NULLs.
bool Decode(absl::string_view text, int64_t* value);
bool Decode(absl::string_view text, int32_t* value);
bool Decode(absl::string_view text, uint64_t* value);  // from bigint or numeric
bool Decode(absl::string_view text, uint32_t* value);
bool Decode(absl::string_view text, bool* value);
bool Decode(absl::string_view text, double* value);
bool Decode(absl::string_view text, std::string* value);
bool Decode(absl::string_view text, absl::Time* value);  // from bigint unix microseconds
bool Decode(absl::string_view text, Uuid* value);
bool DecodeBytes(absl::string_view text, std::string* value);  // bytea, "\x..."
// The elements of a one-dimensional array without NULLs, unquoted.
bool SplitArray(absl::string_view text, std::vector<std::string>* elements);

template <typename Tag>
bool Decode(absl::string_view text, Id<Tag>* value) {
  return Decode(text, &value->value);
}
// Digests and the like: types with a static FromBytes, stored as bytea.
template <typename T>
  requires requires(absl::string_view raw) { T::FromBytes(raw).ok(); }
bool Decode(absl::string_view text, T* value) {
  std::string raw;
  if (!DecodeBytes(text, &raw)) return false;
  auto parsed = T::FromBytes(raw);
  if (!parsed.ok()) return false;
  *value = *std::move(parsed);
  return true;
}
template <typename T>
bool Decode(absl::string_view text, std::vector<T>* value) {
  std::vector<std::string> elements;
  if (!SplitArray(text, &elements)) return false;
  value->clear();
  value->reserve(elements.size());
  for (const std::string& element : elements) {
    T decoded{};
    if (!Decode(element, &decoded)) return false;
    value->push_back(std::move(decoded));
  }
  return true;
}

class Row {
 public:
  Row(std::shared_ptr<const pqxx::result> result, int row)
      : result_(std::move(result)), row_(row) {}

  bool IsNull(Column column) const;

  // int64_t, int32_t, uint64_t, uint32_t, bool, double, std::string (text), Uuid, Id<>,
  // absl::Time, digests, std::vector of these (arrays), std::optional of these (NULL).
  template <typename T>
  T Get(Column column) const {
    T value{};
    if constexpr (requires { typename T::value_type; value.has_value(); }) {
      if (!IsNull(column)) value = Get<typename T::value_type>(column);
    } else {
      if (!Decode(Raw(column), &value)) Mistyped(column);
    }
    return value;
  }

  // bytea.
  std::string GetBytes(Column column) const;
  std::optional<std::string> GetOptionalBytes(Column column) const;
  // bytea[].
  std::vector<std::string> GetBytesArray(Column column) const;

  // The first columns, in order.
  template <typename... T>
  std::tuple<T...> As() const {
    return AsAt<T...>(std::index_sequence_for<T...>());
  }

 private:
  template <typename... T, size_t... I>
  std::tuple<T...> AsAt(std::index_sequence<I...>) const {
    return std::tuple<T...>{Get<T>(Column(static_cast<int>(I)))...};
  }
  // The text form; not for NULL. Valid as long as the result.
  absl::string_view Raw(Column column) const;
  int PositionOf(Column column) const;
  [[noreturn]] void Mistyped(Column column) const;

  std::shared_ptr<const pqxx::result> result_;
  int row_;
};

class Rows {
 public:
  explicit Rows(std::shared_ptr<const pqxx::result> result);

  int size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Row operator[](int row) const;
  // Rows that an INSERT, UPDATE or DELETE touched; else 0.
  int64_t affected() const { return affected_; }

  class Iterator {
   public:
    Iterator(const Rows* rows, int row) : rows_(rows), row_(row) {}
    Row operator*() const { return (*rows_)[row_]; }
    Iterator& operator++() {
      ++row_;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return row_ != other.row_; }

   private:
    const Rows* rows_;
    int row_;
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, size_}; }

 private:
  std::shared_ptr<const pqxx::result> result_;
  int size_;
  int64_t affected_;
};

}  // namespace rochdale::pg
