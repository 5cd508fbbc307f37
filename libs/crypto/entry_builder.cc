#include "libs/crypto/entry_builder.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/base/clock.h"
#include "libs/base/status_macros.h"

namespace rochdale::crypto {

EntryBuilder::EntryBuilder(uint16_t kind, EventId event_id, absl::Time now) {
  entry_.event_id = event_id;
  entry_.time_us = absl::ToUnixMicros(now);
  entry_.kind = kind;
  if (const KindInfo* info = FindKind(kind)) {
    entry_.service = info->service;
    entry_.link = info->link;
    entry_.fields.reserve(12);
  }
}

EntryBuilder& EntryBuilder::Cooperative(CooperativeId id) {
  entry_.cooperative = id;
  return *this;
}

EntryBuilder& EntryBuilder::AuthorisedBy(EventId id) {
  entry_.authorised_by = id;
  return *this;
}

EntryBuilder& EntryBuilder::Subject(const Uuid& id) {
  entry_.subject = id;
  return *this;
}

EntryBuilder& EntryBuilder::U64(uint16_t tag, uint64_t value) {
  entry_.fields.push_back(Field::U64(tag, value));
  return *this;
}

EntryBuilder& EntryBuilder::I64(uint16_t tag, int64_t value) {
  entry_.fields.push_back(Field::I64(tag, value));
  return *this;
}

EntryBuilder& EntryBuilder::Text(uint16_t tag, absl::string_view value) {
  entry_.fields.push_back(Field::Text(tag, value));
  return *this;
}

EntryBuilder& EntryBuilder::Bytes(uint16_t tag, absl::string_view value) {
  entry_.fields.push_back(Field::Bytes(tag, value));
  return *this;
}

EntryBuilder& EntryBuilder::Digest(uint16_t tag, const crypto::Digest& value) {
  return Bytes(tag, value.AsBytes());
}

EntryBuilder& EntryBuilder::Id(uint16_t tag, const Uuid& value) {
  return Bytes(tag, value.AsBytes());
}

EntryBuilder& EntryBuilder::Document(const SignedDocument& document) {
  return Text(tag::kDocumentType, document.type)
      .Digest(tag::kDocumentDigest, DocumentDigest(document))
      .Bytes(tag::kPublicKey, document.public_key.AsBytes())
      .Bytes(tag::kSignature, document.signature.AsBytes());
}

EntryBuilder& EntryBuilder::PrivateDocument(const SignedDocument& document, const Salt& salt) {
  return Text(tag::kDocumentType, document.type)
      .Bytes(tag::kPublicKey, document.public_key.AsBytes())
      .Digest(tag::kDocumentCommitment, PrivateDocumentCommitment(document, salt));
}

absl::StatusOr<Entry> EntryBuilder::BuildUnencoded() {
  std::sort(entry_.fields.begin(), entry_.fields.end(),
            [](const Field& a, const Field& b) { return a.tag < b.tag; });
  RETURN_IF_ERROR(CheckKind(entry_));
  return std::move(entry_);
}

absl::StatusOr<Entry> EntryBuilder::Build() {
  ASSIGN_OR_RETURN(Entry entry, BuildUnencoded());
  // Encoding finds what is left: doubled tags, zero ids, text that is not UTF-8, size.
  RETURN_IF_ERROR(EncodeEntry(entry).status());
  return entry;
}

absl::StatusOr<std::string> EntryBuilder::BuildBytes() {
  ASSIGN_OR_RETURN(const Entry entry, BuildUnencoded());
  return EncodeEntry(entry);
}

crypto::Digest PrivateDocumentCommitment(const SignedDocument& document, const Salt& salt) {
  return Commitment(salt, absl::StrCat(DocumentDigest(document).AsBytes(),
                                       document.signature.AsBytes()));
}

}  // namespace rochdale::crypto
