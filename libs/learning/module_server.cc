#include "libs/learning/module_server.h"

#include <cstring>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/module_sandbox.h"
#include "libs/learning/module_wire.h"
#include "libs/learning/torchscript_module.h"

namespace rochdale::learning {
namespace {

using wire::Operation;

class Server {
 public:
  absl::StatusOr<std::string> Answer(const wire::Message& request) {
    const auto operation = static_cast<Operation>(request.kind);
    if (operation == Operation::kModule) return Load(request.bytes);
    if (!module_) return Error("BAD_REQUEST", "there is no module yet");
    switch (operation) {
      case Operation::kPerSample: {
        RETURN_IF_ERROR(module_->CheckPerSample());
        return std::string();
      }
      case Operation::kRows: {
        ASSIGN_OR_RETURN(rows_, wire::UnpackRows(request.bytes));
        return std::string();
      }
      case Operation::kLosses: {
        ASSIGN_OR_RETURN(const GridVector parameters, wire::ValuesOf<int32_t>(request.bytes));
        ASSIGN_OR_RETURN(const std::vector<int64_t> losses, module_->Losses(parameters, rows_));
        return std::string(wire::BytesOf(absl::MakeConstSpan(losses)));
      }
      case Operation::kGradient: {
        ASSIGN_OR_RETURN(const GridVector parameters, wire::ValuesOf<int32_t>(request.bytes));
        ASSIGN_OR_RETURN(const std::vector<float> gradient, module_->Gradient(parameters, rows_));
        return std::string(wire::BytesOf(absl::MakeConstSpan(gradient)));
      }
      default: return Error("BAD_REQUEST", "there is no such operation");
    }
  }

 private:
  absl::StatusOr<std::string> Load(absl::string_view bytes) {
    if (module_) return Error("BAD_REQUEST", "there is a module already");
    uint32_t json_size = 0;
    if (bytes.size() < 4) return Error("BAD_REQUEST", "a message is not of its form");
    std::memcpy(&json_size, bytes.data(), 4);
    bytes.remove_prefix(4);
    if (json_size > bytes.size()) return Error("BAD_REQUEST", "a message is not of its form");
    ASSIGN_OR_RETURN(const ModelSpec spec, ParseModelSpec(bytes.substr(0, json_size)));
    ASSIGN_OR_RETURN(TorchScriptModule module,
                     TorchScriptModule::Load(spec, bytes.substr(json_size)));
    ASSIGN_OR_RETURN(const GridVector initial, module.Parameters());
    module_ = std::move(module);
    return std::string(wire::BytesOf(absl::MakeConstSpan(initial)));
  }

  std::optional<TorchScriptModule> module_;
  Dataset rows_;
};

}  // namespace

int ServeModule(int socket, int64_t memory_bytes) {
  PinTorch();
  const absl::Status shut = ShutIn(memory_bytes);
  Server server;
  while (true) {
    const auto request =
        wire::Receive(socket, wire::kMessageBytesMax, absl::InfiniteFuture());
    if (!request.ok()) return 0;  // the other end has gone
    const absl::StatusOr<std::string> answer =
        shut.ok() ? server.Answer(*request) : absl::StatusOr<std::string>(shut);
    const absl::Status sent =
        answer.ok() ? wire::Send(socket, 0, *answer, absl::InfiniteFuture())
                    : wire::Send(socket, 1,
                                 absl::StrCat(ReasonOf(answer.status()), "\n",
                                              answer.status().message()),
                                 absl::InfiniteFuture());
    if (!sent.ok()) return 0;
  }
}

}  // namespace rochdale::learning
