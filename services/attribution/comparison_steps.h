// The looks of an A/B test, one idempotent step at a time, as round_steps.h does for rounds: the
// rows of a look are evaluated by workers in a run of its own. Used by the engine's thread.
#pragma once

#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/pg/transaction.h"
#include "services/attribution/launcher.h"
#include "services/attribution/parts.h"
#include "services/attribution/records.h"
#include "services/attribution/run_spec.h"

namespace rochdale::attribution {

class ComparisonSteps {
 public:
  // `launcher` may be null: workers are started by somebody else.
  ComparisonSteps(Parts& parts, WorkerLauncher* launcher, int64_t epoch)
      : parts_(parts), launcher_(launcher), epoch_(epoch) {}

  // Goes on with every test that is running. An error of one does not stop the others; the number
  // that are still running. A test that does not end within a day FAILs with DEADLINE.
  absl::StatusOr<int> AdvanceAll();

 private:
  absl::Status Advance(const ComparisonRecord& comparison);
  // The next `rows` rows in the order of the test, after `begin`.
  absl::StatusOr<RunSpec> SpecOf(const ComparisonRecord& comparison, const PoolRecord& pool,
                                 int64_t begin, int64_t rows);
  absl::StatusOr<std::optional<RunRecord>> FindLook(const ComparisonRecord& comparison, int look);
  // Makes the run where it is not there, and sees to its workers.
  absl::StatusOr<RunRecord> EnsureRun(const ComparisonRecord& comparison, int look,
                                      absl::FunctionRef<absl::StatusOr<RunSpec>()> make);
  // What a run that is DONE found.
  absl::Status Add(const RunRecord& run, ComparisonEvidence& evidence);
  // DONE where there is evidence, else FAILED. No effect on a test that has ended.
  absl::Status End(ComparisonRecord comparison, const ComparisonEvidence* evidence,
                   absl::string_view reason);

  Parts& parts_;
  WorkerLauncher* const launcher_;
  const int64_t epoch_;
};

ComparisonRule ComparisonRuleOf(const config::ParameterSet& parameters);

}  // namespace rochdale::attribution
