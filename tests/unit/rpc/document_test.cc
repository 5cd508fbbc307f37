#include "libs/rpc/document.h"

#include <catch2/catch.hpp>
#include <random>

#include "libs/base/errors.h"
#include "probe.pb.h"
#include "rochdale/common/v1/common.pb.h"

namespace rochdale::rpc {
namespace {

using rpctest::v1::Note;
constexpr char kType[] = "rochdale.rpctest.v1.Note";

crypto::KeyPair Key() { return crypto::KeyPair::FromSeed({1, 2, 3}); }

crypto::SignedDocument Sign(const std::string& body, const char* type = kType) {
  // By hand, since SignDocument refuses some of what a hostile signer can make.
  return {type, body, Key().public_key(), Key().Sign(crypto::Pae(type, body))};
}

TEST_CASE("a document becomes its message", "[rpc]") {
  const auto note = ParseDocument<Note>(Sign(
      R"({"title":"t","amountMicrotokens":"9007199254740993","inner":{"tags":["a","b"]}})"));
  REQUIRE(note.ok());
  CHECK(note->title() == "t");
  CHECK(note->amount_microtokens() == 9'007'199'254'740'993);
  CHECK(note->inner().tags(1) == "b");
  CHECK(ParseDocument<Note>(Sign(R"({"amount_microtokens": 5})"))->amount_microtokens() == 5);
}

TEST_CASE("what is not exactly a document of the type is refused", "[rpc]") {
  std::string deep = "{}";
  for (int i = 0; i < 40; ++i) deep = R"({"inner":)" + deep + "}";
  for (const std::string& body : std::vector<std::string>{
           "", " ", "null", "[]", "1", "\"x\"", "{", "{}x", "{} {}",
           "{'title':'x'}", "{title:\"x\"}",
           R"({"title":"x",})", R"({"unknown":1})", R"({"inner":{"unknown":1}})",
           R"({"title":1.5})", R"({"title":"a","title":"b"})",
           R"({"amountMicrotokens":1,"amount_microtokens":2})",
           R"({"inner":{"title":"a","title":"b"}})", R"({"amountMicrotokens":"x"})",
           R"({"amountMicrotokens":99999999999999999999})", "{\"title\":\"\xFF\"}",
           R"({"tags":"a"})", R"({"tags":{"a":1}})", R"({"tags":[1]})", R"({"tags":[["a"]]})",
           R"({"title":null})", R"({"title":1})", R"({"title":true})", R"({"inner":[]})",
           R"({"inner":null})", R"({"amountMicrotokens":1.0})", R"({"amountMicrotokens":1e3})",
           R"({"amountMicrotokens":"01"})", R"({"amountMicrotokens":"1.0"})",
           R"({"amountMicrotokens":" 1"})", R"({"amountMicrotokens":true})",
           R"({"amountMicrotokens":"9223372036854775808"})", "// c\n{}",
           R"({"title":NaN})", deep}) {
    INFO(body);
    CHECK(ReasonOf(ParseDocument<Note>(Sign(body)).status()) == "DOCUMENT_INVALID");
  }
}

TEST_CASE("type and signature are checked", "[rpc]") {
  CHECK(ReasonOf(ParseDocument<Note>(Sign("{}", "rochdale.rpctest.v1.ProbeRequest")).status()) ==
        "DOCUMENT_INVALID");
  crypto::SignedDocument changed = Sign(R"({"title":"a"})");
  changed.body = R"({"title":"b"})";
  CHECK(ReasonOf(ParseDocument<Note>(changed).status()) == "SIGNATURE_INVALID");
  crypto::SignedDocument stolen = Sign("{}");
  stolen.public_key = crypto::KeyPair::FromSeed({9}).public_key();
  CHECK(ReasonOf(ParseDocument<Note>(stolen).status()) == "SIGNATURE_INVALID");
}

TEST_CASE("conversion to and from the wire", "[rpc]") {
  const crypto::SignedDocument document = Sign(R"({"title":"a"})");
  common::v1::SignedDocument wire;
  ToProto(document, wire);
  const auto back = FromProto(wire);
  REQUIRE(back.ok());
  CHECK(*back == document);

  const auto refused = [&](auto change) {
    common::v1::SignedDocument bad = wire;
    change(bad);
    return ReasonOf(FromProto(bad).status()) == "DOCUMENT_INVALID";
  };
  CHECK(refused([](auto& d) { d.set_public_key("short"); }));
  CHECK(refused([](auto& d) { d.set_signature(std::string(63, 'x')); }));
  CHECK(refused([](auto& d) { d.set_type(""); }));
  CHECK(refused([](auto& d) { d.set_type("a b"); }));
  CHECK(refused([](auto& d) { d.set_body(std::string((256 << 10) + 1, ' ')); }));
}

TEST_CASE("random changes of a body never crash the reader", "[rpc]") {
  const uint64_t seed = 31;
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const std::string good = R"({"title":"t","inner":{"tags":["a","b"]},"amountMicrotokens":"12"})";
  int accepted = 0;
  for (int i = 0; i < 1'000; ++i) {
    std::string body = good;
    for (uint64_t n = random() % 3; n < 3; ++n) {
      body[random() % body.size()] = static_cast<char>(random());
    }
    const auto note = ParseDocument<Note>(Sign(body));
    accepted += note.ok();
    if (!note.ok()) CHECK(ReasonOf(note.status()) == "DOCUMENT_INVALID");
  }
  CHECK(accepted < 500);
}

}  // namespace
}  // namespace rochdale::rpc
