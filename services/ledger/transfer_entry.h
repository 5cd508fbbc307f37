// Between a transfer and its TRANSFER_POSTED entry: what stands in the log is the transfer.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/sha256.h"
#include "libs/crypto/signed_document.h"
#include "services/ledger/model.h"

namespace rochdale::ledger {

// The event id of a transfer's entry. It follows from the transfer's id, so that one table of ids
// finds both, and it is another one, since clients choose the ids of transfers: nobody can take the
// event id of an entry that another service is about to write.
EventId PostedEvent(const TransferId& transfer);
// The same; computed where it is not there yet.
inline EventId EventOf(const Transfer& transfer) {
  return transfer.event_id.IsZero() ? PostedEvent(transfer.id) : transfer.event_id;
}

// The document by which a person or agent asked, as its entries name it.
struct OrderTags {
  explicit OrderTags(const crypto::SignedDocument& order)
      : type(order.type),
        digest(crypto::DocumentDigest(order)),
        public_key(order.public_key),
        signature(order.signature) {}

  std::string type;
  crypto::Digest digest;
  crypto::PublicKey public_key;
  crypto::Signature signature;
};

// The canonical bytes of the entry of a transfer: what EntryBuilder would write, written at once,
// since every transfer costs it. `caller` asked, perhaps by an order (null: none).
std::string EncodeTransferEntry(const PostedTransfer& posted, const Caller& caller,
                                CooperativeId cooperative, const OrderTags* order);

// The inverse, but for what only the caller knew. DATA_LOSS where the leaf is no such entry.
absl::StatusOr<PostedTransfer> ParseTransferEntry(const LogEntry& entry);

}  // namespace rochdale::ledger
