#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/tile.h"
#include "libs/crypto/tlog_proof.h"
#include "services/ledger/log_http.h"
#include "tests/integration/ledger/log_reader.h"

namespace rochdale::ledger::testing {
namespace {

TEST_CASE("the log is served as C2SP tiles", "[ledger][http]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database, Silent());
  Reader reader(ledger);
  for (const int more : {1, 254, 1, 300, 700}) {
    Append(ledger, more);
    const int64_t size = Sign(ledger);
    CAPTURE(size);
    const crypto::Checkpoint checkpoint = reader.Checkpoint();
    REQUIRE(checkpoint.size == static_cast<uint64_t>(size));
    crypto::TileReader tiles = reader.Tiles(checkpoint.size);
    CHECK(crypto::TreeRoot(checkpoint.size, tiles.Nodes()).value() == checkpoint.root);
    // Every file of the tree is there, in exactly its width, and its bytes follow from the entries.
    crypto::Frontier tree;
    for (const crypto::Tile& tile : crypto::TilesOf(checkpoint.size)) {
      CAPTURE(tile.Path());
      const http::Reply reply = reader.Get("/" + tile.Path());
      REQUIRE(reply.code == 200);
      CHECK(reply.type == http::kBytesType);
      if (!tile.entries) {
        CHECK(reply.body == crypto::HashTileBytes(tile, tiles.Nodes()).value());
        continue;
      }
      const auto entries = crypto::ParseEntryBundle(tile, reply.body);
      REQUIRE(entries.ok());
      for (const std::string& entry : *entries) tree.Append(crypto::LeafHash(entry));
    }
    CHECK(tree.Root() == checkpoint.root);
  }
  CHECK(reader.Checkpoint().size > 1'024);  // so that full, partial and upper tiles were seen
}

TEST_CASE("only what is signed is shown over HTTP", "[ledger][http]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database, Silent());
  Reader reader(ledger);
  Append(ledger, 299);
  const int64_t size = Sign(ledger);
  REQUIRE(size == 300);
  const std::vector<std::string> later = Append(ledger, 300);
  CHECK(reader.Checkpoint().size == 300);
  struct Case {
    const char* path;
    int code;
  };
  const std::vector<Case> cases = {
      {"/tile/0/000", 200},        {"/tile/0/000.p/1", 200},   {"/tile/0/000.p/255", 200},
      {"/tile/0/001.p/44", 200},   {"/tile/0/001.p/43", 200},  {"/tile/0/001.p/45", 404},
      {"/tile/0/001", 404},        {"/tile/0/002.p/1", 404},   {"/tile/1/000.p/1", 200},
      {"/tile/1/000.p/2", 404},    {"/tile/2/000.p/1", 404},   {"/tile/7/000.p/1", 404},
      {"/tile/entries/000", 200},  {"/tile/entries/000.p/7", 200},
      {"/tile/entries/001.p/44", 200}, {"/tile/entries/001.p/45", 404},
      {"/tile/entries/001", 404},  {"/tile/entries/x999/x999/x999/999", 404},
      {"/receipt/299", 200},       {"/receipt/300", 404},      {"/receipt/599", 404},
      {"/receipt/600", 404}};
  for (const Case& c : cases) {
    CAPTURE(c.path);
    CHECK(reader.Get(c.path).code == c.code);
  }
  CHECK(reader.Get("/receipt/" + later[0]).code == 404);
  v1::GetReceiptRequest wanted;
  wanted.set_event_id(later[0]);
  Client nobody = ledger.Anonymous();
  CHECK(nobody.Reason(&Stub::GetReceipt, wanted) == "LOG_SIZE_UNKNOWN");
  Sign(ledger);
  CHECK(reader.Get("/receipt/" + later[0]).code == 200);
  CHECK(reader.Get("/tile/0/001").code == 200);
  CHECK(nobody.Reason(&Stub::GetReceipt, wanted) == "OK");
}

TEST_CASE("a receipt is checked with the key alone", "[ledger][http]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database, Silent());
  Reader reader(ledger);
  const std::vector<std::string> events = Append(ledger, 520);
  const auto size = static_cast<uint64_t>(Sign(ledger));
  Client nobody = ledger.Anonymous();
  for (const int i : {0, 254, 255, 256, 519}) {
    CAPTURE(i);
    const int64_t index = i + 1;  // after LOG_STARTED
    const http::Reply by_event = reader.Get("/receipt/" + events[i]);
    REQUIRE(by_event.code == 200);
    CHECK(by_event.type == http::kTextType);
    CHECK(reader.Get(absl::StrCat("/receipt/", index)).body == by_event.body);
    v1::GetReceiptRequest wanted;
    wanted.set_log_index(index);
    const v1::GetReceiptResponse by_rpc = nobody.Ok(&Stub::GetReceipt, wanted);
    CHECK(by_rpc.receipt() == by_event.body);
    CHECK(by_rpc.log_index() == index);
    crypto::TlogProof proof = crypto::TlogProof::Parse(by_event.body).value();
    CHECK(proof.index == static_cast<uint64_t>(index));
    CHECK(crypto::VerifyTlogProof(proof, proof.extra, Reader::Key())->size == size);
    const crypto::Entry entry = crypto::DecodeEntry(proof.extra).value();
    CHECK(entry.event_id.value.ToString() == events[i]);
    proof.index ^= 1;
    CHECK_FALSE(crypto::VerifyTlogProof(proof, proof.extra, Reader::Key()).ok());
  }
  v1::GetReceiptRequest wanted;
  wanted.set_event_id(ledger.NewId());
  CHECK(nobody.Reason(&Stub::GetReceipt, wanted) == "NOT_FOUND");
  wanted.set_event_id("nonsense");
  CHECK(nobody.Reason(&Stub::GetReceipt, wanted) == "BAD_REQUEST");
  wanted.clear_event_id();
  wanted.set_log_index(-1);
  CHECK(nobody.Reason(&Stub::GetReceipt, wanted) == "NOT_FOUND");
}

TEST_CASE("hostile paths of the log get 400 or 404", "[ledger][http]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database, Silent());
  Reader reader(ledger);
  Append(ledger, 10);
  Sign(ledger);
  struct Case {
    std::string path;
    int code;
  };
  const std::vector<Case> cases = {
      {"/", 404},
      {"/checkpoint/", 404},
      {"//checkpoint", 404},
      {"/%63heckpoint", 404},
      {"/../checkpoint", 404},
      {"/tile", 404},
      {"/tile/", 400},
      {"/tile/0", 400},
      {"/tile/0/", 400},
      {"/tile/0/0", 400},
      {"/tile/00/000.p/1", 400},
      {"/tile/0/000.p/0", 400},
      {"/tile/0/000.p/01", 400},
      {"/tile/0/000.p/256", 400},
      {"/tile/0/000.p/-1", 400},
      {"/tile/0/000.p/4294967297", 400},
      {"/tile/0/x000/000.p/1", 400},
      {"/tile/8/000.p/1", 400},
      {"/tile/64/000.p/1", 400},
      {"/tile/-1/000.p/1", 400},
      {"/tile/0/000.p/1/", 400},
      {"/tile/0/000%2ep/1", 400},
      {"/tile/entries/%30%30%30.p/1", 400},
      {"/tile/entries/../0/000.p/1", 400},
      {"/tile/0/x999/x999/x999/x999/x999/x999/999", 400},
      {"/tile/0/" + std::string(5'000, '0'), 400},
      {"/tile/data/000", 400},
      {"/receipt/", 400},
      {"/receipt/-1", 400},
      {"/receipt/01", 400},
      {"/receipt/1e3", 400},
      {"/receipt/9223372036854775808", 400},
      {"/receipt/9223372036854775807", 404},
      {"/receipt/99999999999999999999999999", 400},
      {"/receipt/00000000-0000-0000-0000-000000000000", 400},
      {"/receipt/" + ledger.NewId(), 404},
      {"/receipt/1/../2", 400},
      {"/receipt/1'%20OR%201=1", 400}};
  for (const Case& c : cases) {
    CAPTURE(c.path);
    CHECK(reader.Get(c.path).code == c.code);
  }
  CHECK(reader.Checkpoint().size == 11);
  const obs::CounterFamily requests =
      ledger.metrics.Counters("rochdale_ledger_log_http_requests_total", "", {"what", "code"});
  CHECK(requests.With({"tile", "400"}).Value() > 10);
  CHECK(requests.With({"checkpoint", "200"}).Value() == 1);
}

TEST_CASE("what may be kept is said, and nothing is shown before the first signature",
          "[ledger][http]") {
  TestDatabase database({Migrations()});
  LedgerSetup setup = Silent();
  setup.log_http = false;
  Ledger ledger(database, setup);
  CHECK(ledger.module->log_http_port() == 0);
  Append(ledger, 3);
  Sign(ledger);
  const PublishedLog log(ledger.db());
  CHECK(AnswerLogRequest(log, "/checkpoint").cache == http::kAskAgain);
  CHECK(AnswerLogRequest(log, "/receipt/1").cache == http::kAskAgain);
  CHECK(AnswerLogRequest(log, "/tile/0/000.p/4").cache == http::kForEver);
  CHECK(AnswerLogRequest(log, "/tile/entries/000.p/4").cache == http::kForEver);
  CHECK(AnswerLogRequest(log, "/tile/0/000.p/5").cache == http::kNeverKeep);
  TestDatabase empty({Migrations()});
  pg::Database nothing(empty.Options("ledger"));
  const PublishedLog none(nothing);
  CHECK(AnswerLogRequest(none, "/checkpoint").code == 404);
  CHECK(AnswerLogRequest(none, "/tile/0/000.p/1").code == 404);
  CHECK(AnswerLogRequest(none, "/receipt/0").code == 404);
}

}  // namespace
}  // namespace rochdale::ledger::testing
