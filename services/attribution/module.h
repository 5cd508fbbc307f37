// Attribution as a part of a process: its rpcs, the round engine, the launcher of workers.
#pragma once

#include <memory>

#include "libs/rpc/auth.h"
#include "libs/service/module.h"
#include "services/attribution/config.h"

namespace rochdale::attribution {

class AttributionModule final : public service::Module {
 public:
  static std::unique_ptr<AttributionModule> Make(const AttributionOptions& options,
                                                 const service::Environment& env);
  ~AttributionModule() override;

  std::vector<grpc::Service*> grpc_services() override;
  absl::Status Start() override;
  void Stop() override;
  absl::Status Ready() override;

  // Of the tokens of its workers, for the authenticator of the server.
  rpc::RunTokenVerifier& run_tokens();
  // True where a test's fault ended the round engine.
  bool engine_crashed() const;

 private:
  AttributionModule(const AttributionOptions& options, const service::Environment& env);

  struct State;
  const service::Environment env_;
  std::unique_ptr<State> state_;
};

}  // namespace rochdale::attribution
