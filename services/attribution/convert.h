// Wire <-> records: the only code that knows both. Every bad field is reported at once.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/base/errors.h"
#include "libs/crypto/signed_document.h"
#include "rochdale/attribution/v1/attribution.pb.h"
#include "services/attribution/records.h"
#include "services/attribution/run_engine.h"

namespace rochdale::attribution {

namespace v1 = ::rochdale::attribution::v1;

// BAD_REQUEST that names the field.
template <typename T>
absl::StatusOr<T> ParseField(absl::string_view text, absl::string_view field) {
  auto parsed = T::Parse(text);
  if (parsed.ok()) return *parsed;
  FieldErrors errors;
  errors.Add(field, "is malformed");
  return errors.ToStatus();
}
// Empty: nothing.
template <typename T>
absl::StatusOr<std::optional<T>> ParseOptional(absl::string_view text, absl::string_view field) {
  if (text.empty()) return std::nullopt;
  auto parsed = ParseField<T>(text, field);
  if (!parsed.ok()) return parsed.status();
  return *parsed;
}

struct WantedModel {
  CooperativeId cooperative;
  learning::ModelSpec spec;
  int64_t init_seed = 0;
  crypto::SignedDocument document;
};
absl::StatusOr<WantedModel> ParseModelRegistration(const common::v1::SignedDocument& document);

struct WantedModule {
  CooperativeId cooperative;
  crypto::Digest module;
  bool withdraws = false;
  crypto::SignedDocument document;
};
absl::StatusOr<WantedModule> ParseModuleRegistration(const common::v1::SignedDocument& document);

struct WantedPool {
  CooperativeId cooperative;
  crypto::Digest data;
  crypto::SignedDocument document;
};
absl::StatusOr<WantedPool> ParsePoolSealing(const common::v1::SignedDocument& document);

struct WantedPlan {
  CooperativeId cooperative;
  int64_t rounds = 0;
  std::string scenario;
  crypto::SignedDocument document;
};
absl::StatusOr<WantedPlan> ParseTrainingPlan(const common::v1::SignedDocument& document);

struct WantedRollback {
  CooperativeId cooperative;
  crypto::Digest checkpoint;
  crypto::Digest newest;
  crypto::SignedDocument document;
};
absl::StatusOr<WantedRollback> ParseRollback(const common::v1::SignedDocument& document);

struct WantedComparison {
  CooperativeId cooperative;
  crypto::Digest a, b;
  crypto::SignedDocument document;
};
absl::StatusOr<WantedComparison> ParseComparison(const common::v1::SignedDocument& document);

void ToProto(const ModelRecord& model, v1::Model& out);
// `seed` is shown once the test has ended.
void ToProto(const ComparisonRecord& comparison, const std::optional<crypto::Digest>& seed,
             v1::Comparison& out);
void ToProto(const CheckpointRecord& checkpoint, v1::Checkpoint& out);
// What is released of a round at `now_us`.
void ToProto(const RoundRecord& round, int64_t now_us, v1::Round& out);
void ToProto(const CreditRecord& credit, v1::Credit& out);
void ToProto(const RunRecord& run, v1::Run& out);
void ToProto(const Shard& shard, v1::Shard& out);

}  // namespace rochdale::attribution
