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

bool Call::Ended() const {
  if (draining != nullptr && draining->load()) return true;
  if (absl::Now() >= deadline) return true;
  return context != nullptr && context->IsCancelled();
}

}  // namespace rochdale::rpc
