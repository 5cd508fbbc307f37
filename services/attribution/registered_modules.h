// TorchScript modules that founders registered.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/learning/module_evaluator.h"
#include "libs/pg/transaction.h"
#include "services/attribution/parts.h"

namespace rochdale::attribution {

// MODULE_UNREGISTERED where the model is a module whose digest the cooperative's founders have not
// registered, or have withdrawn. OK for every other model.
absl::Status RequireRegistered(pg::Transaction& tx, const CooperativeId& cooperative,
                               const learning::ModelSpec& model);

// The module of the blob store, in a process of its own. Errors as ModuleProcess::Start.
absl::StatusOr<std::unique_ptr<learning::ModuleProcess>> StartModule(
    Parts& parts, const learning::ModelSpec& model);

}  // namespace rochdale::attribution
