// Wire <-> domain, and the validation of requests and documents.
#pragma once

#include "absl/status/statusor.h"
#include "libs/crypto/signed_document.h"
#include "libs/rpc/fields.h"
#include "rochdale/payout/v1/payout.pb.h"
#include "services/payout/domain.h"

namespace rochdale::payout {

namespace v1 = ::rochdale::payout::v1;

struct WantedPool {
  crypto::SignedDocument document;
  PoolId pool;
  CooperativeId cooperative;
};
absl::StatusOr<WantedPool> ParsePoolCreation(const common::v1::SignedDocument& document);

struct WantedEpoch {
  crypto::SignedDocument document;
  EpochId epoch;
  PoolId pool;
  int64_t first_round = 0;
  int64_t last_round = 0;
};
absl::StatusOr<WantedEpoch> ParseEpochClosing(const common::v1::SignedDocument& document);

using rpc::ParseId;

void ToProto(const Pool& pool, v1::Pool& out);
void ToProto(const Epoch& epoch, v1::Epoch& out);
// Without the distribution proof.
void ToProto(const Statement& statement, const Epoch& epoch, v1::Statement& out);

}  // namespace rochdale::payout
