// How services write entries:
//   ASSIGN_OR_RETURN(const Entry entry,
//                    EntryBuilder(kind::kDecisionMade, event_id, now)
//                        .Cooperative(cooperative).Subject(update).AuthorisedBy(commitment_event)
//                        .Id(tag::kRound, round).U64(tag::kVerdict, verdict)
//                        .Digest(tag::kDecisionDigest, digest).Build());
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/base/ids.h"
#include "libs/crypto/commitment.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/signed_document.h"

namespace rochdale::crypto {

// Service and link come from the kind. Fields may be set in any order, each at most once. Every
// mistake is reported by Build, none earlier.
class EntryBuilder {
 public:
  EntryBuilder(uint16_t kind, EventId event_id, absl::Time now);

  EntryBuilder& Cooperative(CooperativeId id);
  EntryBuilder& AuthorisedBy(EventId id);
  EntryBuilder& Subject(const Uuid& id);
  template <typename Tag>
  EntryBuilder& Subject(const rochdale::Id<Tag>& id) {
    return Subject(id.value);
  }

  EntryBuilder& U64(uint16_t tag, uint64_t value);
  EntryBuilder& I64(uint16_t tag, int64_t value);
  EntryBuilder& Text(uint16_t tag, absl::string_view value);
  EntryBuilder& Bytes(uint16_t tag, absl::string_view value);
  EntryBuilder& Digest(uint16_t tag, const crypto::Digest& value);
  EntryBuilder& Id(uint16_t tag, const Uuid& value);
  template <typename Tag>
  EntryBuilder& Id(uint16_t tag, const rochdale::Id<Tag>& value) {
    return Id(tag, value.value);
  }
  // The document that was signed: type, digest, key and signature.
  EntryBuilder& Document(const SignedDocument& document);
  // The same for a document that nobody else may guess: type, key and PrivateDocumentCommitment.
  EntryBuilder& PrivateDocument(const SignedDocument& document, const Salt& salt);

  // ENTRY_INVALID where the fields are not those of the kind (CheckKind) or the entry cannot be
  // encoded (EncodeEntry). May be called once.
  absl::StatusOr<Entry> Build();
  // The same without trying to encode it: for who does so next.
  absl::StatusOr<Entry> BuildUnencoded();
  // The canonical bytes of Build().
  absl::StatusOr<std::string> BuildBytes();

 private:
  Entry entry_;
};

// Commitment(salt, DocumentDigest | signature).
Digest PrivateDocumentCommitment(const SignedDocument& document, const Salt& salt);

}  // namespace rochdale::crypto
