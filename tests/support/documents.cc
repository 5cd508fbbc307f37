#include "tests/support/documents.h"

#include <stdexcept>

#include "google/protobuf/util/json_util.h"
#include "libs/crypto/signed_document.h"
#include "libs/rpc/document.h"

namespace rochdale::testing {

common::v1::SignedDocument Sign(const crypto::KeyPair& key,
                                const google::protobuf::Message& body) {
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(body, &json).ok()) {
    throw std::runtime_error("not to be written as JSON");
  }
  common::v1::SignedDocument out;
  rpc::ToProto(crypto::SignDocument(key, body.GetDescriptor()->full_name(), json).value(), out);
  return out;
}

std::string DigestOf(const common::v1::SignedDocument& document) {
  return crypto::DocumentDigest(rpc::FromProto(document).value()).ToString();
}

}  // namespace rochdale::testing
