#include "libs/rpc/method_tag.h"

#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_interceptor.h>

#include <vector>

namespace rochdale::rpc {
namespace {

namespace experimental = grpc::experimental;

constexpr char kKey[] = "rochdale-method";

class TagInterceptor final : public experimental::Interceptor {
 public:
  // `method` lives as long as the server.
  explicit TagInterceptor(const char* method) : method_(method) {}

  void Intercept(experimental::InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(
            experimental::InterceptionHookPoints::POST_RECV_INITIAL_METADATA)) {
      auto* metadata = batch->GetRecvInitialMetadata();
      metadata->erase(kKey);  // whatever the client sent under this key
      metadata->emplace(kKey, method_);
    }
    batch->Proceed();
  }

 private:
  const char* const method_;
};

class TagFactory final : public experimental::ServerInterceptorFactoryInterface {
 public:
  experimental::Interceptor* CreateServerInterceptor(experimental::ServerRpcInfo* info) override {
    return new TagInterceptor(info->method());
  }
};

}  // namespace

void AddMethodTag(grpc::ServerBuilder& builder) {
  std::vector<std::unique_ptr<experimental::ServerInterceptorFactoryInterface>> creators;
  creators.push_back(std::make_unique<TagFactory>());
  builder.experimental().SetInterceptorCreators(std::move(creators));
}

std::string MethodPath(const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto at = metadata.find(kKey);
  if (at == metadata.end()) return "";
  return std::string(at->second.data(), at->second.size());
}

}  // namespace rochdale::rpc
