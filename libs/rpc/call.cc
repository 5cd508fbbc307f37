#include "libs/rpc/call.h"

#include <grpcpp/server_context.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace rochdale::rpc {

std::string Identity::ToString() const {
  switch (kind) {
    case IdentityKind::kAnonymous: return "anonymous";
    case IdentityKind::kPrincipal: return absl::StrCat("principal:", principal.ToString());
    case IdentityKind::kAgent: return absl::StrCat("agent:", agent.ToString());
    case IdentityKind::kService: return absl::StrCat("service:", service);
    case IdentityKind::kWorker: return absl::StrCat("worker:", run.ToString());
  }
  return "anonymous";
}

std::string Call::Metadata(const char* key) const {
  const auto& metadata = context->client_metadata();
  const auto range = metadata.equal_range(key);
  if (range.first == range.second) return "";
  if (std::next(range.first) != range.second) return "(repeated)";
  return std::string(range.first->second.data(), range.first->second.size());
}

bool Call::Ended() const {
  if (draining != nullptr && draining->load()) return true;
  if (absl::Now() >= deadline) return true;
  return context != nullptr && context->IsCancelled();
}

}  // namespace rochdale::rpc
