// Exchange of one asset for another of the same owner, at governed prices: which two transfers.
//
// The network's first cooperative owns one exchange account for each asset, with the label
// "exchange.<asset>", which services open. What is given goes to the one, what is received comes
// from the other, linked; what the exchange lacks is not made.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "libs/crypto/signed_document.h"
#include "libs/pg/transaction.h"
#include "services/ledger/authority.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

struct Conversion {
  Uuid id;  // made by the client
  PrincipalId principal;
  AccountId from;
  AccountId to;
  int64_t amount = 0;       // given, micro-units
  int64_t receive_min = 0;  // micro-units
  crypto::SignedDocument order;
};

// Of what is given (leg 1) and of what is received (leg 2).
TransferId ConversionLeg(const Conversion& conversion, int leg);

// Micro-units received for `amount`, at micro-tokens a unit of each: rounded down, in favour of the
// exchange. BAD_REQUEST where that is nothing or does not fit into 64 bits.
absl::StatusOr<int64_t> Converted(int64_t amount, int64_t from_price, int64_t to_price);

// micro-tokens a unit of the asset. NOT_FOUND where none is governed.
absl::StatusOr<int64_t> PriceOf(absl::string_view asset, const Authority& authority);

// Both transfers at the prices that are governed now; a conversion that was made already as it was
// made. Nothing is written.
//   ACCOUNT_NOT_FOUND   an account of the order
//   PERMISSION_DENIED   the accounts are not both the signer's own
//   BAD_REQUEST         they hold one asset
//   NOT_FOUND           an exchange account or a price is missing
//   RATE_BELOW_MINIMUM  less than receive_min would be received
absl::StatusOr<std::vector<Transfer>> PlanConversion(pg::Transaction& tx,
                                                     const Conversion& conversion);

}  // namespace rochdale::ledger
