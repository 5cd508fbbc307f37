// Tries every cell of the access table (caller x rpc) on a running server.
//
//   const auto defects = rpc::testing::TryEveryCell(channel, services, callers);
//   CHECK(defects.empty());
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/impl/codegen/rpc_method.h>
#include <grpcpp/support/byte_buffer.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/rpc/access.h"
#include "libs/rpc/status.h"

namespace rochdale::rpc::testing {

struct CellCaller {
  Identity identity;          // as the server will see it: kind and service matter
  std::string authorization;  // its token; empty for the anonymous caller
};

// One call with an empty request.
inline absl::Status CallEmpty(const std::shared_ptr<grpc::Channel>& channel,
                              const std::string& path, const std::string& authorization) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  const grpc::internal::RpcMethod method(path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC,
                                         channel);
  const grpc::Slice nothing("");
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer response;
  return FromGrpc(grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      channel.get(), method, &context, request, &response));
}

// What a cell does wrong, one line each. Where the table refuses, the answer must be
// UNAUTHENTICATED (anonymous) or PERMISSION_DENIED; where it admits, a unary rpc must get past the
// table (to whatever an empty request deserves). Streams are tried only where they are refused.
inline std::vector<std::string> TryEveryCell(
    const std::shared_ptr<grpc::Channel>& channel,
    const std::vector<const google::protobuf::ServiceDescriptor*>& services,
    const std::vector<CellCaller>& callers) {
  std::vector<std::string> defects;
  for (const auto* service : services) {
    for (int i = 0; i < service->method_count(); ++i) {
      const MethodInfo info = Describe(*service->method(i));
      const std::string path = absl::StrCat("/", info.service, "/", info.method);
      for (const CellCaller& caller : callers) {
        const bool admitted = MayCall(caller.identity, info.roles);
        if (admitted && info.type != MethodType::kUnary) continue;
        const absl::Status status = CallEmpty(channel, path, caller.authorization);
        const std::string reason = ReasonOf(status);
        const std::string refusal =
            caller.identity.IsAnonymous() ? "UNAUTHENTICATED" : "PERMISSION_DENIED";
        const bool by_table =
            reason == "UNAUTHENTICATED" ||
            (reason == "PERMISSION_DENIED" && absl::StartsWith(status.message(), "not for "));
        const bool served = status.code() != absl::StatusCode::kUnimplemented;
        if (served && (admitted ? !by_table : reason == refusal && by_table)) continue;
        defects.push_back(absl::StrCat(path, " by ", caller.identity.ToString(), ": ",
                                       admitted ? "admitted" : "refused",
                                       " by the table, answered ", status.ToString()));
      }
    }
  }
  return defects;
}

}  // namespace rochdale::rpc::testing
