#include "libs/learning/candidate_checks.h"

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/exact_evaluator.h"

namespace rochdale::learning {
namespace {

absl::Status CheckVector(int64_t size, absl::string_view what, GridSpan vector) {
  if (static_cast<int64_t>(vector.size()) != size) {
    return Error("BAD_REQUEST",
                 absl::StrCat(what, " has ", vector.size(), " parameters, not ", size));
  }
  return CheckOnGridBounds(vector);
}

}  // namespace

absl::Status CheckExact(const ModelSpec& spec, Rows rows) {
  RETURN_IF_ERROR(ValidateModelSpec(spec));
  if (!spec.exact()) return Error("BAD_REQUEST", "a module cannot be evaluated exactly");
  return CheckRows(rows, spec);
}

absl::Status CheckCoalitions(const ModelSpec& spec, GridSpan base,
                             absl::Span<const GridSpan> updates,
                             absl::Span<const uint64_t> masks) {
  const int64_t size = ParameterCount(spec);
  RETURN_IF_ERROR(CheckVector(size, "the base", base));
  if (updates.size() > kUpdatesMax) {
    return Error("BAD_REQUEST", absl::StrCat("more than ", kUpdatesMax, " updates"));
  }
  for (size_t i = 0; i < updates.size(); ++i) {
    RETURN_IF_ERROR(CheckVector(size, absl::StrCat("update ", i), updates[i]));
  }
  for (size_t c = 0; c < masks.size(); ++c) {
    if (masks[c] >> updates.size() != 0) {
      return Error("BAD_REQUEST", absl::StrCat("mask ", c, " names an update that is not there"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCheckpoints(const ModelSpec& spec, absl::Span<const GridSpan> candidates) {
  const int64_t size = ParameterCount(spec);
  for (size_t c = 0; c < candidates.size(); ++c) {
    RETURN_IF_ERROR(CheckVector(size, absl::StrCat("candidate ", c), candidates[c]));
  }
  return absl::OkStatus();
}

}  // namespace rochdale::learning
