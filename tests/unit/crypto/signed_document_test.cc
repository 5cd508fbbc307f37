#include "libs/crypto/signed_document.h"

#include <catch2/catch.hpp>
#include <string>

#include "libs/base/errors.h"

namespace rochdale::crypto {
namespace {

const KeyPair kKey = KeyPair::FromSeed({1, 2, 3});
constexpr char kType[] = "rochdale.governance.v1.Mandate";

TEST_CASE("The bytes that are signed are those of the specification") {
  CHECK(Pae("t", "{}") == "ROCHDALEv1 1 t 2 {}");
  CHECK(Pae("", "") == "ROCHDALEv1 0  0 ");
  CHECK(Pae("a.B", "x\ny") == "ROCHDALEv1 3 a.B 3 x\ny");
  const SignedDocument document = *SignDocument(kKey, "t", "{}");
  CHECK(DocumentDigest(document) == Sha256("ROCHDALEv1 1 t 2 {}"));
  CHECK(Verify(kKey.public_key(), "ROCHDALEv1 1 t 2 {}", document.signature));
}

TEST_CASE("No two documents have the same bytes") {
  CHECK(Pae("a", "b 1 c") != Pae("a 1 b", "c"));
  CHECK(Pae("a", "") != Pae("", "a"));
  CHECK(Pae("ab", "c") != Pae("a", "bc"));
}

TEST_CASE("A changed document does not verify") {
  const SignedDocument document = *SignDocument(kKey, kType, R"({"agent":"a"})");
  REQUIRE(VerifyDocument(document).ok());
  SignedDocument changed = document;
  changed.body += " ";
  CHECK(ReasonOf(VerifyDocument(changed)) == "SIGNATURE_INVALID");
  changed = document;
  changed.type = "rochdale.governance.v1.Mandates";
  CHECK(ReasonOf(VerifyDocument(changed)) == "SIGNATURE_INVALID");
  changed = document;
  changed.public_key = KeyPair::FromSeed({9}).public_key();
  CHECK(ReasonOf(VerifyDocument(changed)) == "SIGNATURE_INVALID");
  changed = document;
  changed.signature.bytes[5] ^= 1;
  CHECK(ReasonOf(VerifyDocument(changed)) == "SIGNATURE_INVALID");
  changed.signature = Signature{};
  CHECK(ReasonOf(VerifyDocument(changed)) == "SIGNATURE_INVALID");
  CHECK(DocumentDigest(changed) == DocumentDigest(document));  // the content, not who signed
}

TEST_CASE("Documents are bounded") {
  const auto reason = [](absl::string_view type, absl::string_view body) {
    return ReasonOf(SignDocument(kKey, type, body).status());
  };
  CHECK(reason(std::string(128, 'a'), "") == "");
  CHECK(reason(std::string(129, 'a'), "") == "DOCUMENT_INVALID");
  CHECK(reason("", "{}") == "DOCUMENT_INVALID");
  CHECK(reason("a b", "{}") == "DOCUMENT_INVALID");
  CHECK(reason("a\xc3\xa9", "{}") == "DOCUMENT_INVALID");
  CHECK(reason("a", std::string(kDocumentBodyMaxBytes, 'x')) == "");
  CHECK(reason("a", std::string(kDocumentBodyMaxBytes + 1, 'x')) == "DOCUMENT_INVALID");
  CHECK(reason("a", "\xff") == "DOCUMENT_INVALID");

  // The bound holds for verification too, whatever the signature says.
  SignedDocument document{"a", std::string(kDocumentBodyMaxBytes + 1, 'x'), kKey.public_key(), {}};
  document.signature = kKey.Sign(Pae(document.type, document.body));
  CHECK(ReasonOf(VerifyDocument(document)) == "DOCUMENT_INVALID");
}

TEST_CASE("A document is made from the fields of a message") {
  const SignedDocument document = *SignDocument(kKey, kType, "{}");
  const auto made = MakeSignedDocument(kType, "{}", document.public_key.AsBytes(),
                                       document.signature.AsBytes());
  REQUIRE(made.ok());
  CHECK(*made == document);
  CHECK(ReasonOf(MakeSignedDocument(kType, "{}", "short", document.signature.AsBytes()).status()) ==
        "DOCUMENT_INVALID");
  CHECK(ReasonOf(MakeSignedDocument(kType, "{}", document.public_key.AsBytes(), "").status()) ==
        "DOCUMENT_INVALID");
}

}  // namespace
}  // namespace rochdale::crypto
