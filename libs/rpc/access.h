// The access table: which role may call which rpc, read from the option
// (rochdale.common.v1.access) of the method descriptors.
//
// What a role means here, where only token and certificate are known:
//   ANONYMOUS                  everyone, with or without a token
//   PRINCIPAL, AGENT           a registered principal or agent
//   SERVICE_*                  the service that holds that name's key or certificate
//   OPERATOR, WITNESS          a key configured under the name "operator" or "witness", or a
//                              certificate of that name
//   WORKER                     a caller with a run token
//   MEMBER                     any registered principal or agent
//   FOUNDER, GOVERNOR, GUARDIAN, WEIGHT_KEEPER, AUDITOR, VERIFIER
//                              any registered principal (an agent never holds an office)
// The last two lines are offices within one cooperative, which only the request names: the service
// must check them through governance before it acts.
// A method without a rule may be called by nobody.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "libs/rpc/call.h"

namespace google::protobuf {
class MethodDescriptor;
class ServiceDescriptor;
}  // namespace google::protobuf

namespace rochdale::rpc {

enum class MethodType { kUnary, kClientStream, kServerStream, kBidiStream };
absl::string_view MethodTypeName(MethodType type);  // "unary", "client_stream", ...

struct MethodInfo {
  std::string service;  // "rochdale.ledger.v1.LedgerService"
  std::string method;   // "OpenAccount"
  MethodType type = MethodType::kUnary;
  RoleSet roles = 0;    // empty: nobody
};

MethodInfo Describe(const google::protobuf::MethodDescriptor& method);

// By the path of the wire, "/rochdale.ledger.v1.LedgerService/OpenAccount", among the protos that
// are linked in; nullopt for another.
std::optional<MethodInfo> FindMethod(absl::string_view path);

// Whether it is the name of a service that has a role: the five, "operator" and "witness".
bool IsServiceName(absl::string_view name);

// The roles that an identity holds in the sense of the table above (ANONYMOUS always).
RoleSet RolesOf(const Identity& identity);

inline bool MayCall(const Identity& identity, RoleSet allowed) {
  return (RolesOf(identity) & allowed) != 0;
}

// "MEMBER" for rochdale.common.v1.Role 4. And the number of roles, ROLE_UNSPECIFIED included.
std::string RoleName(int role);
int RoleCount();

// The table as Markdown (docs/access.md): a section per service, a row per rpc.
std::string AccessDocument(const std::vector<const google::protobuf::ServiceDescriptor*>& services);

}  // namespace rochdale::rpc
