// Signed documents for tests, as a client makes them.
#pragma once

#include <string>

#include "libs/crypto/ed25519.h"
#include "rochdale/common/v1/common.pb.h"

namespace google::protobuf {
class Message;
}

namespace rochdale::testing {

// `body` in the proto3 JSON mapping, signed.
common::v1::SignedDocument Sign(const crypto::KeyPair& key, const google::protobuf::Message& body);
// The digest by which the log names it.
std::string DigestOf(const common::v1::SignedDocument& document);

}  // namespace rochdale::testing
