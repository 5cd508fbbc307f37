#include "services/filter/verdict.h"

namespace rochdale::filter {

absl::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAllow: return "ALLOW";
    case Verdict::kProject: return "PROJECT";
    case Verdict::kOblige: return "OBLIGE";
    case Verdict::kReview: return "REVIEW";
    case Verdict::kDeny: return "DENY";
  }
  return "?";
}

absl::string_view ScopeName(Scope scope) {
  switch (scope) {
    case Scope::kFloor: return "FLOOR";
    case Scope::kPack: return "PACK";
    case Scope::kPrincipal: return "PRINCIPAL";
  }
  return "?";
}

}  // namespace rochdale::filter
