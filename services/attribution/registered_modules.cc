#include "services/attribution/registered_modules.h"

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "services/attribution/registry_store.h"

namespace rochdale::attribution {

absl::Status RequireRegistered(pg::Transaction& tx, const CooperativeId& cooperative,
                               const learning::ModelSpec& model) {
  if (model.exact()) return absl::OkStatus();
  const crypto::Digest& module = model.torchscript.module;
  ASSIGN_OR_RETURN(const bool registered, IsRegistered(tx, cooperative, module));
  if (registered) return absl::OkStatus();
  return Error("MODULE_UNREGISTERED",
               absl::StrCat("the cooperative's founders have no module ", module.ToString(),
                            " registered"));
}

absl::StatusOr<std::unique_ptr<learning::ModuleProcess>> StartModule(
    Parts& parts, const learning::ModelSpec& model) {
  ASSIGN_OR_RETURN(blob::BlobStore * blobs, parts.blobs());
  ASSIGN_OR_RETURN(const blob::MappedBlob bytes, blobs->Get(model.torchscript.module));
  return learning::ModuleProcess::Start(model, bytes.text(),
                                        {.program = parts.options.module_program});
}

}  // namespace rochdale::attribution
