#include "libs/pg/rows.h"

#include <cstdio>
#include <cstdlib>
#include <pqxx/except>
#include <pqxx/result>

#include "absl/strings/numbers.h"
#include "libs/base/clock.h"

namespace rochdale::pg {
namespace {

[[noreturn]] void Stop(const char* what, const std::string& column) {
  std::fprintf(stderr, "broken invariant: %s (column %s)\n", what, column.c_str());
  std::abort();
}

int NibbleOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool Decode(absl::string_view text, int64_t* value) { return absl::SimpleAtoi(text, value); }
bool Decode(absl::string_view text, int32_t* value) { return absl::SimpleAtoi(text, value); }
bool Decode(absl::string_view text, uint64_t* value) { return absl::SimpleAtoi(text, value); }
bool Decode(absl::string_view text, uint32_t* value) { return absl::SimpleAtoi(text, value); }

bool Decode(absl::string_view text, bool* value) {
  *value = text == "t";
  return text == "t" || text == "f";
}

bool Decode(absl::string_view text, double* value) { return absl::SimpleAtod(text, value); }

bool Decode(absl::string_view text, std::string* value) {
  value->assign(text.data(), text.size());
  return true;
}

bool Decode(absl::string_view text, absl::Time* value) {
  int64_t micros = 0;
  if (!absl::SimpleAtoi(text, &micros)) return false;
  *value = absl::FromUnixMicros(micros);
  return true;
}

bool Decode(absl::string_view text, Uuid* value) {
  absl::StatusOr<Uuid> parsed = Uuid::Parse(text);
  if (!parsed.ok()) return false;
  *value = *parsed;
  return true;
}

bool DecodeBytes(absl::string_view text, std::string* value) {
  if (text.size() < 2 || text.size() % 2 != 0 || text[0] != '\\' || text[1] != 'x') return false;
  value->resize(text.size() / 2 - 1);
  for (size_t i = 0; i < value->size(); ++i) {
    const int high = NibbleOf(text[2 * i + 2]);
    const int low = NibbleOf(text[2 * i + 3]);
    if (high < 0 || low < 0) return false;
    (*value)[i] = static_cast<char>(high << 4 | low);
  }
  return true;
}

bool SplitArray(absl::string_view text, std::vector<std::string>* elements) {
  elements->clear();
  if (text.size() < 2 || text.front() != '{' || text.back() != '}') return false;
  absl::string_view rest = text.substr(1, text.size() - 2);
  if (rest.empty()) return true;
  size_t i = 0;
  while (true) {
    std::string element;
    if (i < rest.size() && rest[i] == '"') {
      for (++i; i < rest.size() && rest[i] != '"'; ++i) {
        if (rest[i] == '\\' && ++i == rest.size()) return false;
        element += rest[i];
      }
      if (i++ >= rest.size()) return false;  // no closing quote
    } else {
      while (i < rest.size() && rest[i] != ',') {
        if (rest[i] == '{' || rest[i] == '"') return false;  // more than one dimension
        element += rest[i++];
      }
      if (element.empty() || element == "NULL") return false;
    }
    elements->push_back(std::move(element));
    if (i == rest.size()) return true;
    if (rest[i++] != ',') return false;
  }
}

int Row::PositionOf(Column column) const {
  int position = column.position();
  if (column.name() != nullptr) {
    try {
      position = static_cast<int>(result_->column_number(column.name()));
    } catch (const std::exception&) {
      Stop("the statement has no such column", column.name());
    }
  }
  if (position < 0 || position >= static_cast<int>(result_->columns())) {
    Stop("the statement has fewer columns", std::to_string(position));
  }
  return position;
}

bool Row::IsNull(Column column) const { return (*result_)[row_][PositionOf(column)].is_null(); }

absl::string_view Row::Raw(Column column) const {
  const int position = PositionOf(column);
  const pqxx::field field = (*result_)[row_][position];
  if (field.is_null()) Stop("NULL is read as a value", result_->column_name(position));
  return {field.c_str(), field.size()};
}

void Row::Mistyped(Column column) const {
  Stop("the column is not of the type it is read as", result_->column_name(PositionOf(column)));
}

std::string Row::GetBytes(Column column) const {
  std::string value;
  if (!DecodeBytes(Raw(column), &value)) Mistyped(column);
  return value;
}

std::optional<std::string> Row::GetOptionalBytes(Column column) const {
  if (IsNull(column)) return std::nullopt;
  return GetBytes(column);
}

std::vector<std::string> Row::GetBytesArray(Column column) const {
  std::vector<std::string> elements;
  if (!SplitArray(Raw(column), &elements)) Mistyped(column);
  for (std::string& element : elements) {
    std::string decoded;
    if (!DecodeBytes(element, &decoded)) Mistyped(column);
    element = std::move(decoded);
  }
  return elements;
}

Rows::Rows(std::shared_ptr<const pqxx::result> result)
    : result_(std::move(result)),
      size_(static_cast<int>(result_->size())),
      affected_(static_cast<int64_t>(result_->affected_rows())) {}

Row Rows::operator[](int row) const {
  if (row < 0 || row >= size_) Stop("the result has fewer rows", std::to_string(row));
  return Row(result_, row);
}

}  // namespace rochdale::pg
