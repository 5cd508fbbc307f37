#include "libs/rpc/access.h"

#include <google/protobuf/descriptor.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "rochdale/common/v1/access.pb.h"

namespace rochdale::rpc {
namespace {

namespace v1 = common::v1;

constexpr RoleSet Bit(v1::Role role) { return RoleSet{1} << role; }

constexpr RoleSet kOffices = Bit(v1::ROLE_FOUNDER) | Bit(v1::ROLE_GOVERNOR) |
                             Bit(v1::ROLE_GUARDIAN) | Bit(v1::ROLE_WEIGHT_KEEPER) |
                             Bit(v1::ROLE_AUDITOR) | Bit(v1::ROLE_VERIFIER);

RoleSet OfService(absl::string_view name) {
  if (name == "filter") return Bit(v1::ROLE_SERVICE_FILTER);
  if (name == "attribution") return Bit(v1::ROLE_SERVICE_ATTRIBUTION);
  if (name == "ledger") return Bit(v1::ROLE_SERVICE_LEDGER);
  if (name == "payout") return Bit(v1::ROLE_SERVICE_PAYOUT);
  if (name == "governance") return Bit(v1::ROLE_SERVICE_GOVERNANCE);
  if (name == "operator") return Bit(v1::ROLE_OPERATOR);
  if (name == "witness") return Bit(v1::ROLE_WITNESS);
  return 0;
}

}  // namespace

absl::string_view MethodTypeName(MethodType type) {
  switch (type) {
    case MethodType::kUnary: return "unary";
    case MethodType::kClientStream: return "client_stream";
    case MethodType::kServerStream: return "server_stream";
    case MethodType::kBidiStream: return "bidi_stream";
  }
  return "";
}

MethodInfo Describe(const google::protobuf::MethodDescriptor& method) {
  MethodInfo info;
  info.service = method.service()->full_name();
  info.method = method.name();
  info.type = method.client_streaming()
                  ? (method.server_streaming() ? MethodType::kBidiStream
                                               : MethodType::kClientStream)
                  : (method.server_streaming() ? MethodType::kServerStream : MethodType::kUnary);
  for (const int role : method.options().GetExtension(v1::access).roles()) {
    // An unknown or unspecified role admits nobody.
    if (role > v1::ROLE_UNSPECIFIED && v1::Role_IsValid(role)) info.roles |= RoleSet{1} << role;
  }
  return info;
}

std::optional<MethodInfo> FindMethod(absl::string_view path) {
  if (!absl::ConsumePrefix(&path, "/")) return std::nullopt;
  const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
      absl::StrReplaceAll(path, {{"/", "."}}));
  if (method == nullptr) return std::nullopt;
  return Describe(*method);
}

bool IsServiceName(absl::string_view name) { return OfService(name) != 0; }

RoleSet RolesOf(const Identity& identity) {
  const RoleSet everyone = Bit(v1::ROLE_ANONYMOUS);
  switch (identity.kind) {
    case IdentityKind::kAnonymous: return everyone;
    case IdentityKind::kPrincipal:
      return everyone | Bit(v1::ROLE_PRINCIPAL) | Bit(v1::ROLE_MEMBER) | kOffices;
    case IdentityKind::kAgent: return everyone | Bit(v1::ROLE_AGENT) | Bit(v1::ROLE_MEMBER);
    case IdentityKind::kService: return everyone | OfService(identity.service);
    case IdentityKind::kWorker: return everyone | Bit(v1::ROLE_WORKER);
  }
  return 0;
}

std::string RoleName(int role) {
  return std::string(absl::StripPrefix(v1::Role_Name(static_cast<v1::Role>(role)), "ROLE_"));
}

int RoleCount() { return v1::Role_ARRAYSIZE; }

std::string AccessDocument(
    const std::vector<const google::protobuf::ServiceDescriptor*>& services) {
  std::string text =
      "# Who may call what\n\n"
      "Made by `scripts/generate-docs` from the option `(rochdale.common.v1.access)` of every rpc\n"
      "in `protos/`; `libs/rpc` enforces the same option. Do not edit.\n\n"
      "Every call shows its caller by a token or, where services are known by mutual TLS, by the\n"
      "certificate of its connection; a row lists the roles of which the caller needs one.\n"
      "ANONYMOUS is everyone. MEMBER admits any registered principal or agent, and FOUNDER,\n"
      "GOVERNOR, GUARDIAN, WEIGHT_KEEPER, AUDITOR and VERIFIER any registered principal: the\n"
      "service then checks through governance that the caller holds that office in the\n"
      "cooperative of the request. OPERATOR and WITNESS are keys of the configuration, or\n"
      "certificates of that name.\n";
  for (const auto* service : services) {
    absl::StrAppend(&text, "\n## ", service->full_name(),
                    "\n\n| rpc | kind | roles |\n|---|---|---|\n");
    for (int i = 0; i < service->method_count(); ++i) {
      const MethodInfo info = Describe(*service->method(i));
      std::vector<std::string> roles;
      for (int role = 1; role < RoleCount(); ++role) {
        if (info.roles >> role & 1) roles.push_back(RoleName(role));
      }
      absl::StrAppend(&text, "| ", info.method, " | ", MethodTypeName(info.type), " | ",
                      roles.empty() ? "nobody" : absl::StrJoin(roles, ", "), " |\n");
    }
  }
  return text;
}

}  // namespace rochdale::rpc
