#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/config/parameters.h"

namespace rochdale::config {
namespace {

std::string TextOf(const ParameterInfo& info, int64_t number) {
  if (info.type == ParameterType::kBool) return number != 0 ? "true" : "false";
  if (info.type == ParameterType::kText) return info.choices[static_cast<size_t>(number)];
  return absl::StrCat(number);
}

const ParameterInfo& Require(absl::string_view name) {
  const ParameterInfo* info = FindParameter(name);
  if (info == nullptr) {
    std::fprintf(stderr, "no governed parameter is named %s\n", std::string(name).c_str());
    std::abort();
  }
  return *info;
}

}  // namespace

std::string DefaultText(const ParameterInfo& info) { return TextOf(info, info.default_number); }

absl::Status ParameterSet::Set(absl::string_view name, absl::string_view text) {
  ASSIGN_OR_RETURN(const int64_t number, ParseParameter(name, text));
  if (number == Require(name).default_number) {
    values_.erase(std::string(name));
  } else {
    values_[std::string(name)] = number;
  }
  return absl::OkStatus();
}

absl::StatusOr<ParameterSet> ParameterSet::FromTexts(
    const std::map<std::string, std::string>& texts) {
  ParameterSet set;
  std::string problems, reason;
  for (const auto& [name, text] : texts) {
    const absl::Status status = set.Set(name, text);
    if (status.ok()) continue;
    if (reason.empty()) reason = ReasonOf(status);
    absl::StrAppend(&problems, problems.empty() ? "" : "; ", status.message());
  }
  if (!problems.empty()) return Error(reason, problems);
  return set;
}

int64_t ParameterSet::Number(absl::string_view name, ParameterType type) const {
  const ParameterInfo& info = Require(name);
  if (info.type != type) {
    std::fprintf(stderr, "parameter %s is not of type %s\n", info.name.c_str(),
                 std::string(ParameterTypeName(type)).c_str());
    std::abort();
  }
  const auto at = values_.find(name);
  return at == values_.end() ? info.default_number : at->second;
}

int64_t ParameterSet::Int(absl::string_view name) const {
  return Number(name, ParameterType::kInt);
}
int64_t ParameterSet::BasisPoints(absl::string_view name) const {
  return Number(name, ParameterType::kBasisPoints);
}
int64_t ParameterSet::Micro(absl::string_view name) const {
  return Number(name, ParameterType::kMicro);
}
absl::Duration ParameterSet::Duration(absl::string_view name) const {
  return absl::Milliseconds(Number(name, ParameterType::kDurationMs));
}
bool ParameterSet::Bool(absl::string_view name) const {
  return Number(name, ParameterType::kBool) != 0;
}
const std::string& ParameterSet::Text(absl::string_view name) const {
  return Require(name).choices[static_cast<size_t>(Number(name, ParameterType::kText))];
}

std::string ParameterSet::AsText(absl::string_view name) const {
  const ParameterInfo& info = Require(name);
  return TextOf(info, Number(name, info.type));
}

absl::Status ValidateTogether(const ParameterSet& /*set*/) { return absl::OkStatus(); }

}  // namespace rochdale::config
