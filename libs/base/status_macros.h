// RETURN_IF_ERROR and ASSIGN_OR_RETURN for absl::Status and absl::StatusOr.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define ROCHDALE_CONCAT_INNER(a, b) a##b
#define ROCHDALE_CONCAT(a, b) ROCHDALE_CONCAT_INNER(a, b)

// Returns from the enclosing function if `expr` (a Status) is not OK.
#define RETURN_IF_ERROR(expr)                                       \
  do {                                                              \
    if (absl::Status rochdale_status = (expr); !rochdale_status.ok()) \
      return rochdale_status;                                       \
  } while (false)

// `lhs` (a declaration or an lvalue) takes the value of `expr` (a StatusOr), or the function
// returns its status.
#define ASSIGN_OR_RETURN(lhs, ...) \
  ROCHDALE_ASSIGN_OR_RETURN(ROCHDALE_CONCAT(rochdale_statusor_, __LINE__), lhs, (__VA_ARGS__))
#define ROCHDALE_ASSIGN_OR_RETURN(tmp, lhs, expr) \
  auto tmp = expr;                                \
  if (!tmp.ok()) return std::move(tmp).status();  \
  lhs = *std::move(tmp)
