#include "services/ledger/conversion.h"

#include <limits>
#include <optional>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/deterministic_id.h"
#include "services/ledger/account_store.h"

namespace rochdale::ledger {
namespace {

absl::Status CheckOwn(const std::optional<Account>& account, const Conversion& conversion) {
  if (!account.has_value()) return Error("ACCOUNT_NOT_FOUND", "there is no such account");
  if (account->type == AccountType::kSystem ||
      account->owner != conversion.principal.value) {
    return Error("PERMISSION_DENIED", "a conversion is between accounts of the signer");
  }
  return absl::OkStatus();
}

// Services may have opened more than one: the first counts, for ever.
constexpr char kFindExchange[] =
    "SELECT id FROM accounts WHERE owner = $1 AND type = 4 AND asset = $2 AND label = $3 "
    "ORDER BY opened_index LIMIT 1";

absl::StatusOr<AccountId> FindExchange(pg::Transaction& tx, const Authority& authority,
                                       const std::string& asset) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row,
                   tx.ExecOptional(kFindExchange, authority.network, asset,
                                   absl::StrCat(kExchangeLabel, asset)));
  if (!row.has_value()) {
    return Error("NOT_FOUND", absl::StrCat("the network exchanges no ", asset,
                                           ": it has no account ", kExchangeLabel, asset));
  }
  return AccountId{row->Get<Uuid>(0)};
}

}  // namespace

TransferId ConversionLeg(const Conversion& conversion, int leg) {
  return {crypto::DeterministicId("ledger/conversion", conversion.principal, conversion.id, leg)};
}

absl::StatusOr<int64_t> Converted(int64_t amount, int64_t from_price, int64_t to_price) {
  const absl::int128 received = absl::int128(amount) * from_price / to_price;
  FieldErrors errors;
  if (received == 0) errors.Add("order.amount_micro", "is worth less than one micro-unit");
  if (received > std::numeric_limits<int64_t>::max()) {
    errors.Add("order.amount_micro", "is worth more than an amount can say");
  }
  RETURN_IF_ERROR(errors.ToStatus());
  return static_cast<int64_t>(received);
}

absl::StatusOr<int64_t> PriceOf(absl::string_view asset, const Authority& authority) {
  if (asset == "token") return 1'000'000;
  if (asset == "gpu-second") return authority.parameters.Micro("ledger.gpu_second_price_micro");
  return Error("NOT_FOUND", absl::StrCat("no price of ", asset, " is governed"));
}

absl::StatusOr<std::vector<Transfer>> PlanConversion(pg::Transaction& tx,
                                                     const Conversion& conversion) {
  ASSIGN_OR_RETURN(const std::optional<Account> from, FindAccount(tx, conversion.from));
  RETURN_IF_ERROR(CheckOwn(from, conversion));
  ASSIGN_OR_RETURN(const std::optional<Account> to, FindAccount(tx, conversion.to));
  RETURN_IF_ERROR(CheckOwn(to, conversion));
  if (from->asset == to->asset) {
    FieldErrors errors;
    errors.Add("order.to_account_id", "must be of another asset");
    return errors.ToStatus();
  }
  ASSIGN_OR_RETURN(const Authority authority, FindAuthority(tx, {}, {}));
  Transfer given, received;
  given.id = ConversionLeg(conversion, 1);
  given.debit = conversion.from;
  ASSIGN_OR_RETURN(given.credit, FindExchange(tx, authority, from->asset));
  given.amount = conversion.amount;
  given.linked = true;
  received.id = ConversionLeg(conversion, 2);
  ASSIGN_OR_RETURN(received.debit, FindExchange(tx, authority, to->asset));
  received.credit = conversion.to;
  ASSIGN_OR_RETURN(const std::optional<PostedTransfer> earlier, FindTransfer(tx, received.id));
  if (earlier.has_value()) {
    received.amount = earlier->transfer.amount;
  } else {
    ASSIGN_OR_RETURN(const int64_t from_price, PriceOf(from->asset, authority));
    ASSIGN_OR_RETURN(const int64_t to_price, PriceOf(to->asset, authority));
    ASSIGN_OR_RETURN(received.amount, Converted(conversion.amount, from_price, to_price));
    if (received.amount < conversion.receive_min) {
      return Error("RATE_BELOW_MINIMUM",
                   absl::StrCat("at the governed rate it gives ", received.amount));
    }
  }
  return std::vector<Transfer>{given, received};
}

}  // namespace rochdale::ledger
