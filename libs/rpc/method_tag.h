// Tells a handler which method it serves: the synchronous API does not. A server interceptor adds
// the path to the call's metadata, under a key that a client cannot set.
#pragma once

#include <memory>
#include <string>

namespace grpc {
class ServerBuilder;
class ServerContextBase;
}  // namespace grpc

namespace rochdale::rpc {

// Before BuildAndStart.
void AddMethodTag(grpc::ServerBuilder& builder);

// "/package.Service/Method"; empty where the server was built without the tag.
std::string MethodPath(const grpc::ServerContextBase& context);

}  // namespace rochdale::rpc
