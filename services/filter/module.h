// The filter as a part of a process.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "libs/service/module.h"

namespace rochdale::filter {

class FilterModule final : public service::Module {
 public:
  // Opens the blob store in the environment's data directory; its errors.
  static absl::StatusOr<std::unique_ptr<FilterModule>> Make(const service::Environment& env);
  ~FilterModule() override;

  std::vector<grpc::Service*> grpc_services() override;
  absl::Status Start() override;
  void Stop() override;
  absl::Status Ready() override;

 private:
  struct Parts;
  explicit FilterModule(const service::Environment& env);
  const service::Environment env_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace rochdale::filter
