// Signed documents at the wire: conversion, verification, and parsing into the typed message.
//
//   ASSIGN_OR_RETURN(const auto doc, rpc::FromProto(request->document()));
//   ASSIGN_OR_RETURN(const v1::Mandate mandate, rpc::ParseDocument<v1::Mandate>(doc));
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "libs/crypto/signed_document.h"

namespace google::protobuf {
class Message;
}
namespace rochdale::common::v1 {
class SignedDocument;
}

namespace rochdale::rpc {

// DOCUMENT_INVALID where a part has the wrong length or the body is over 256 KiB. Nothing is
// verified here.
absl::StatusOr<crypto::SignedDocument> FromProto(const common::v1::SignedDocument& document);
void ToProto(const crypto::SignedDocument& document, common::v1::SignedDocument& out);

// Verifies the signature and reads the body into `out`, whose full name must be the document's
// type. SIGNATURE_INVALID; DOCUMENT_INVALID: another type, not UTF-8 JSON in the proto3 mapping,
// unknown fields, a field that stands twice, null, or a value of another JSON type than the mapping
// writes (what was signed must mean the same to every reader).
absl::Status ParseDocumentInto(const crypto::SignedDocument& document,
                               google::protobuf::Message& out);

template <typename T>
absl::StatusOr<T> ParseDocument(const crypto::SignedDocument& document) {
  T message;
  if (absl::Status status = ParseDocumentInto(document, message); !status.ok()) return status;
  return message;
}

}  // namespace rochdale::rpc
