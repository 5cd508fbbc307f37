// Payout as a part of a process.
#pragma once

#include <memory>

#include "libs/service/module.h"

namespace rochdale::payout {

class PayoutModule final : public service::Module {
 public:
  static std::unique_ptr<PayoutModule> Make(const service::Environment& env);
  ~PayoutModule() override;

  std::vector<grpc::Service*> grpc_services() override;
  absl::Status Start() override;
  void Stop() override;
  absl::Status Ready() override;

 private:
  explicit PayoutModule(const service::Environment& env);

  struct Parts;
  const service::Environment env_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace rochdale::payout
