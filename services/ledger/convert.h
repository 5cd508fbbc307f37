// Between the protos and the ledger's own types: the only code that knows both. Every bad field of
// a request is reported at once (BAD_REQUEST).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/base/errors.h"
#include "libs/crypto/signed_document.h"
#include "libs/rpc/call.h"
#include "libs/rpc/document.h"
#include "rochdale/ledger/v1/ledger.pb.h"
#include "services/ledger/batch.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

Caller CallerOf(const rpc::Identity& identity);

// Fills `id`, or notes what is wrong with the field.
void ParseId(absl::string_view text, absl::string_view field, FieldErrors& errors, Uuid& id);
// The same for a call's only field.
absl::StatusOr<Uuid> ParseOnlyId(absl::string_view text, absl::string_view field);

// Errors of the fields of one item of a list. Names are built for what is wrong only: most items
// are right, and there are thousands.
class ItemErrors {
 public:
  // `list` and `errors` outlive it.
  ItemErrors(absl::string_view list, int index, FieldErrors& errors)
      : list_(list), index_(index), errors_(errors) {}

  void Add(absl::string_view field, absl::string_view description);
  // Of the item as a whole.
  void Add(absl::string_view description);

 private:
  const absl::string_view list_;
  const int index_;
  FieldErrors& errors_;
};
void ParseId(absl::string_view text, absl::string_view field, ItemErrors& errors, Uuid& id);

// SIGNATURE_INVALID where `document` is signed by another key than the call.
absl::Status CheckOwn(const crypto::SignedDocument& document, const rpc::Identity& identity);
// Notes an order that was signed more than 15 minutes before `now` or after it.
void CheckSignedTime(int64_t signed_time_us, absl::Time now, FieldErrors& errors);
// The body of a document that the caller itself signed, just now. DOCUMENT_INVALID,
// SIGNATURE_INVALID.
template <typename Order>
absl::StatusOr<Order> ParseOwnOrder(const crypto::SignedDocument& document,
                                    const rpc::Identity& identity, absl::Time now,
                                    FieldErrors& errors) {
  absl::StatusOr<Order> order = rpc::ParseDocument<Order>(document);
  if (!order.ok()) return order;
  if (absl::Status own = CheckOwn(document, identity); !own.ok()) return own;
  CheckSignedTime(order->signed_time_us(), now, errors);
  return order;
}

absl::StatusOr<OpenAccounts> ParseOpenAccounts(const v1::OpenAccountsRequest& request,
                                               const Caller& caller);
// Of a service: transfers; of a person: an order that it signed itself, not older than 15 minutes.
// DOCUMENT_INVALID, SIGNATURE_INVALID, MANDATE_MISSING.
absl::StatusOr<PostTransfers> ParsePostTransfers(const v1::PostTransfersRequest& request,
                                                 const rpc::Identity& identity, absl::Time now);
// ENTRY_INVALID names the entry. Entries must be those of the calling service.
absl::StatusOr<AppendEntries> ParseAppendEntries(const v1::AppendEntriesRequest& request,
                                                 const Caller& caller);
// The event id follows from the caller and the request's id.
absl::StatusOr<RecordBundle> ParseSignBundle(const v1::SignBundleRequest& request,
                                             const rpc::Identity& identity);

void ToProto(const Account& account, v1::Account& out);
void ToProto(const PostedTransfer& posted, v1::Transfer& out);
void ToProto(const Outcome& outcome, v1::TransferOutcome& out);
void ToProto(const LogEntry& entry, v1::LogEntry& out);
void ToProto(const TreeHead& head, v1::TreeHead& out);

}  // namespace rochdale::ledger
