#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/note.h"
#include "libs/rpc/ledger_client.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

using crypto::Digest;

std::vector<Digest> HashesOf(const google::protobuf::RepeatedPtrField<std::string>& hashes) {
  std::vector<Digest> digests;
  for (const std::string& hash : hashes) digests.push_back(Digest::FromBytes(hash).value());
  return digests;
}

// Every entry of the log, in order.
std::vector<std::string> ReadLog(Client& client, int page_size = 1'000) {
  std::vector<std::string> leaves;
  v1::ListEntriesRequest list;
  list.set_page_size(page_size);
  do {
    const auto page = client.Ok(&Stub::ListEntries, list);
    for (const v1::LogEntry& entry : page.entries()) {
      REQUIRE(entry.log_index() == static_cast<int64_t>(leaves.size()));
      leaves.push_back(entry.entry());
    }
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  return leaves;
}

v1::AppendEntriesRequest AppendingOf(Ledger& ledger, const std::vector<std::string>& leaves) {
  v1::AppendEntriesRequest request;
  request.set_request_id(ledger.NewId());
  for (const std::string& leaf : leaves) request.add_entries(leaf);
  return request;
}

Uuid NewUuid(Ledger& ledger) { return Uuid::Parse(ledger.NewId()).value(); }

TEST_CASE("entries are appended once, in order, and only by their service", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Client filter = ledger.As("filter");
  const Uuid event = NewUuid(ledger), subject = NewUuid(ledger);
  const std::string one = EntryOf(ledger, crypto::kind::kDecisionMade, event, subject);
  const std::string two =
      EntryOf(ledger, crypto::kind::kUpdateExpired, NewUuid(ledger), subject);
  const auto first = filter.Ok(&Stub::AppendEntries, AppendingOf(ledger, {one, two, one}));
  CHECK(first.log_indexes(0) == 1);  // 0 is LOG_STARTED
  CHECK(first.log_indexes(1) == 2);
  CHECK(first.log_indexes(2) == 1);
  const auto again = filter.Ok(&Stub::AppendEntries, AppendingOf(ledger, {two, one}));
  CHECK(again.log_indexes(0) == 2);
  CHECK(again.log_indexes(1) == 1);

  // The same event with other content; and nothing of such a call is appended.
  const std::string other =
      EntryOf(ledger, crypto::kind::kDecisionMade, event, NewUuid(ledger));
  const std::string fresh =
      EntryOf(ledger, crypto::kind::kUpdateExpired, NewUuid(ledger), subject);
  CHECK(filter.Reason(&Stub::AppendEntries, AppendingOf(ledger, {fresh, other})) ==
        "REQUEST_ID_REUSED");
  // Malformed, cut off, padded, another service's, a kind without its fields.
  CHECK(filter.Reason(&Stub::AppendEntries, AppendingOf(ledger, {fresh, "x"})) == "ENTRY_INVALID");
  CHECK(filter.Reason(&Stub::AppendEntries,
                      AppendingOf(ledger, {fresh.substr(0, fresh.size() - 1)})) == "ENTRY_INVALID");
  CHECK(filter.Reason(&Stub::AppendEntries, AppendingOf(ledger, {fresh + '\0'})) ==
        "ENTRY_INVALID");
  CHECK(ledger.As("payout").Reason(&Stub::AppendEntries, AppendingOf(ledger, {fresh})) ==
        "ENTRY_INVALID");
  CHECK(filter.Reason(&Stub::AppendEntries,
                      AppendingOf(ledger, {EntryOf(ledger, crypto::kind::kTransferPosted,
                                                   NewUuid(ledger), subject)})) ==
        "ENTRY_INVALID");
  CHECK(filter.Reason(&Stub::AppendEntries, AppendingOf(ledger, {})) == "BAD_REQUEST");
  CHECK(ledger.As(ledger.NewPerson(/*logged=*/false))
            .Reason(&Stub::AppendEntries, AppendingOf(ledger, {fresh})) ==
        "PERMISSION_DENIED");
  CHECK(ReadLog(filter).size() == 3);

  v1::GetEntryRequest get;
  get.set_event_id(event.ToString());
  Client nobody = ledger.Anonymous();
  CHECK(nobody.Ok(&Stub::GetEntry, get).entry().log_index() == 1);
  get.set_event_id(ledger.NewId());
  CHECK(nobody.Reason(&Stub::GetEntry, get) == "NOT_FOUND");
  get.clear_event_id();
  get.set_log_index(3);
  CHECK(nobody.Reason(&Stub::GetEntry, get) == "LOG_SIZE_UNKNOWN");
  get.set_log_index(-1);
  CHECK(nobody.Reason(&Stub::GetEntry, get) == "LOG_SIZE_UNKNOWN");

  v1::ListEntriesRequest about;
  about.set_subject_id(subject.ToString());
  CHECK(nobody.Ok(&Stub::ListEntries, about).entries_size() == 2);
  about.set_from_index(2);
  CHECK(nobody.Ok(&Stub::ListEntries, about).entries_size() == 1);
}

TEST_CASE("inclusion and consistency are proved for every size", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  Client filter = ledger.As("filter");
  const Uuid subject = NewUuid(ledger);
  while (ReadLog(filter).size() < 800) {
    std::vector<std::string> leaves;
    for (int i = 0; i < 267; ++i) {
      leaves.push_back(
          EntryOf(ledger, crypto::kind::kUpdateExpired, NewUuid(ledger), subject));
    }
    filter.Ok(&Stub::AppendEntries, AppendingOf(ledger, leaves));
  }
  const std::vector<std::string> log = ReadLog(filter, 77);
  crypto::Frontier frontier;
  std::vector<Digest> roots{frontier.Root()};
  for (const std::string& leaf : log) {
    frontier.Append(crypto::LeafHash(leaf));
    roots.push_back(frontier.Root());
  }
  Client nobody = ledger.Anonymous();
  const std::vector<int64_t> sizes = {1,   2,   3,   7,   8,   129, 255, 256,
                                      257, 258, 383, 511, 512, 513, 767, 769, 802};
  REQUIRE(log.size() == 802);
  for (const int64_t size : sizes) {
    CAPTURE(size);
    for (int64_t index = 0; index < size; index = index * 2 + (index % 3) + 1) {
      v1::GetInclusionProofRequest request;
      request.set_tree_size(size);
      request.set_log_index(index);
      const auto proof = nobody.Ok(&Stub::GetInclusionProof, request);
      REQUIRE(proof.entry() == log[index]);
      REQUIRE(proof.tree_head().root() == roots[size].AsBytes());
      REQUIRE(crypto::VerifyInclusion(index, size, crypto::LeafHash(log[index]),
                                      HashesOf(proof.hashes()), roots[size]).ok());
    }
    for (const int64_t first : sizes) {
      v1::GetConsistencyProofRequest request;
      request.set_first_size(first);
      request.set_second_size(size);
      if (first > size) {
        REQUIRE(nobody.Reason(&Stub::GetConsistencyProof, request) == "LOG_SIZE_UNKNOWN");
        continue;
      }
      const auto proof = nobody.Ok(&Stub::GetConsistencyProof, request);
      REQUIRE(crypto::VerifyConsistency(first, size, roots[first], roots[size],
                                        HashesOf(proof.hashes())).ok());
    }
  }
  v1::GetInclusionProofRequest beyond;
  beyond.set_tree_size(803);
  CHECK(nobody.Reason(&Stub::GetInclusionProof, beyond) == "LOG_SIZE_UNKNOWN");
  beyond.set_tree_size(5);
  beyond.set_log_index(5);
  CHECK(nobody.Reason(&Stub::GetInclusionProof, beyond) == "LOG_SIZE_UNKNOWN");
  beyond.set_tree_size(-1);
  CHECK(nobody.Reason(&Stub::GetInclusionProof, beyond) == "LOG_SIZE_UNKNOWN");
  v1::GetConsistencyProofRequest nothing;
  CHECK(nobody.Reason(&Stub::GetConsistencyProof, nothing) == "LOG_SIZE_UNKNOWN");
}

TEST_CASE("proofs reach through tiles of tiles", "[ledger]") {
  TestDatabase database({Migrations()});
  TempDir dir;
  std::optional<Ledger> ledger;
  ledger.emplace(database, LedgerSetup{dir.path(), true});
  World world(*ledger);
  // Beyond 256 * 256 entries, the last tile of each level a partial one.
  constexpr int64_t kSize = 65'536 + 3 * 256 + 5;
  for (int64_t size = 8; size < kSize;) {
    std::vector<v1::Transfer> transfers;
    for (; size < kSize && transfers.size() < 8'190; ++size) {
      transfers.push_back(TransferOf(*ledger, world.supply, world.of_ann, 1));
    }
    REQUIRE(world.payout.Call(&Stub::PostTransfers, PostingOf(*ledger, transfers)).ok());
  }
  ledger.reset();  // what is read now was read back from the tiles
  ledger.emplace(database, LedgerSetup{dir.path(), true});
  Client nobody = ledger->Anonymous();
  std::vector<Digest> leaves;
  v1::ListEntriesRequest list;
  list.set_page_size(1'000);
  do {
    const auto page = nobody.Ok(&Stub::ListEntries, list);
    for (const v1::LogEntry& entry : page.entries()) {
      leaves.push_back(crypto::LeafHash(entry.entry()));
    }
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  REQUIRE(static_cast<int64_t>(leaves.size()) == kSize);
  std::map<int64_t, Digest> roots;
  crypto::Frontier frontier;
  const std::vector<int64_t> sizes = {255, 256, 1'000, 32'768, 65'535, 65'536, 65'537,
                                      65'792, 66'000, 66'303, kSize};
  for (const Digest& leaf : leaves) {
    frontier.Append(leaf);
    const int64_t size = static_cast<int64_t>(frontier.size());
    if (std::find(sizes.begin(), sizes.end(), size) != sizes.end()) roots[size] = frontier.Root();
  }
  for (const int64_t size : sizes) {
    for (const int64_t index : {int64_t{0}, size / 3, size - 1}) {
      CAPTURE(size, index);
      v1::GetInclusionProofRequest request;
      request.set_tree_size(size);
      request.set_log_index(index);
      const auto proof = nobody.Ok(&Stub::GetInclusionProof, request);
      REQUIRE(crypto::VerifyInclusion(index, size, leaves[index], HashesOf(proof.hashes()),
                                      roots[size]).ok());
    }
    for (const int64_t first : sizes) {
      if (first > size) continue;
      CAPTURE(size, first);
      v1::GetConsistencyProofRequest request;
      request.set_first_size(first);
      request.set_second_size(size);
      const auto proof = nobody.Ok(&Stub::GetConsistencyProof, request);
      REQUIRE(crypto::VerifyConsistency(first, size, roots[first], roots[size],
                                        HashesOf(proof.hashes())).ok());
    }
  }
}

TEST_CASE("tree heads are signed checkpoints of committed sizes", "[ledger]") {
  TestDatabase database({Migrations()});
  TempDir dir;
  Ledger ledger(database, {dir.path()});
  Client nobody = ledger.Anonymous();
  Client filter = ledger.As("filter");
  const auto first = nobody.Ok(&Stub::GetTreeHead, {});
  CHECK(first.tree_head().size() >= 1);
  const auto key = crypto::NoteKey::Parse(first.verifier_key()).value();
  CHECK(key.name == "test.rochdale.local/log");
  CHECK(key.key == LogKey().public_key());
  for (int i = 0; i < 3; ++i) {
    filter.Ok(&Stub::AppendEntries,
              AppendingOf(ledger, {EntryOf(ledger, crypto::kind::kUpdateExpired, NewUuid(ledger),
                                           NewUuid(ledger))}));
    absl::SleepFor(absl::Milliseconds(250));
  }
  const auto newest = nobody.Ok(&Stub::GetTreeHead, {}).tree_head();
  CHECK(newest.size() == 4);
  const auto heads = nobody.Ok(&Stub::ListTreeHeads, {});
  REQUIRE(heads.tree_heads_size() >= 3);
  crypto::Frontier frontier;
  std::map<int64_t, Digest> roots;
  for (const std::string& leaf : ReadLog(nobody)) {
    frontier.Append(crypto::LeafHash(leaf));
    roots[static_cast<int64_t>(frontier.size())] = frontier.Root();
  }
  int64_t before = 0;
  for (const v1::TreeHead& head : heads.tree_heads()) {
    const auto checkpoint = crypto::OpenCheckpoint(head.note(), key);
    REQUIRE(checkpoint.ok());
    CHECK(static_cast<int64_t>(checkpoint->size) == head.size());
    CHECK(checkpoint->root == roots[head.size()]);
    CHECK(head.size() > before);
    before = head.size();
  }
  std::ifstream file(dir.path() + "/last-checkpoint");
  std::ostringstream kept;
  kept << file.rdbuf();
  CHECK(kept.str() == newest.note());
}

TEST_CASE("a bundle's manifest is signed once and noted in the log", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  const Person ann = ledger.NewPerson();
  Client as_ann = ledger.As(ann);
  v1::SignBundleRequest request;
  request.set_request_id(ledger.NewId());
  request.set_cooperative_id(ledger.NewId());
  request.set_manifest_sha256(crypto::Sha256("manifest").ToString());
  const std::string note = as_ann.Ok(&Stub::SignBundle, request).note();
  const crypto::Note parsed = crypto::ParseNote(note).value();
  CHECK(parsed.text ==
        "rochdale evidence bundle v1\n" + crypto::Sha256("manifest").ToString() + "\n");
  CHECK(parsed.signatures.size() == 1);
  const auto head = as_ann.Ok(&Stub::GetTreeHead, {});
  const auto key = crypto::NoteKey::Parse(head.verifier_key()).value();
  CHECK(crypto::VerifyNote(parsed, key).ok());
  CHECK_FALSE(crypto::OpenCheckpoint(note, key).ok());

  CHECK(as_ann.Ok(&Stub::SignBundle, request).note() == note);
  v1::SignBundleRequest other = request;
  other.set_manifest_sha256(crypto::Sha256("other").ToString());
  CHECK(as_ann.Reason(&Stub::SignBundle, other) == "REQUEST_ID_REUSED");
  // Another caller with the same request id makes its own.
  CHECK(ledger.As(ledger.NewPerson()).Reason(&Stub::SignBundle, other) == "OK");
  other.set_manifest_sha256("ABC");
  CHECK(as_ann.Reason(&Stub::SignBundle, other) == "BAD_REQUEST");
  CHECK(ledger.Anonymous().Reason(&Stub::SignBundle, request) == "UNAUTHENTICATED");

  v1::ListEntriesRequest about;
  about.set_subject_id(request.cooperative_id());
  const auto logged = as_ann.Ok(&Stub::ListEntries, about);
  REQUIRE(logged.entries_size() == 2);
  const auto entry = crypto::DecodeEntry(logged.entries(0).entry()).value();
  CHECK(entry.kind == crypto::kind::kBundleSigned);
  CHECK(entry.DigestAt(crypto::tag::kManifestDigest).value() == crypto::Sha256("manifest"));
  CHECK(entry.IdAt(crypto::tag::kPrincipal).value() == ann.id.value);
}

TEST_CASE("what a principal does rests on its registration, where the log has it", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  const Person ann = ledger.NewPerson(/*logged=*/false);
  ledger.As("governance")
      .Ok(&Stub::AppendEntries,
          AppendingOf(ledger, {EntryOf(ledger, crypto::kind::kAgentPaused, NewUuid(ledger),
                                       ann.id.value)}));
  v1::OpenAccountsRequest request =
      OpeningOf(ledger, ledger.NewId(), ann.id.ToString(), v1::ACCOUNT_TYPE_PERSON);
  Client as_ann = ledger.As(ann);
  const absl::Status early = as_ann.Call(&Stub::OpenAccounts, request).status();
  CHECK(ReasonOf(early) == "UNAVAILABLE");
  CHECK(RetryAfterOf(early) == absl::Milliseconds(200));
  const Uuid registration = ledger.LogRegistration(ann);
  as_ann.Ok(&Stub::OpenAccounts, request);
  v1::ListEntriesRequest about;
  about.set_subject_id(request.accounts(0).account_id());
  Client nobody = ledger.Anonymous();
  const auto entry =
      crypto::DecodeEntry(nobody.Ok(&Stub::ListEntries, about).entries(0).entry()).value();
  CHECK(entry.kind == crypto::kind::kAccountOpened);
  CHECK(entry.authorised_by.value == registration);
}

TEST_CASE("history cannot be changed, by the service or the owner", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  World world(ledger);
  world.Fund(ledger, 5);
  world.payout.Ok(&Stub::PostTransfers,
                  PostingOf(ledger, {TransferOf(ledger, world.supply, ledger.NewId(), 1)}));
  ledger.As(world.ann).Ok(
      &Stub::PostTransfers,
      OrderOf(ledger, world.ann.key,
              {TransferOf(ledger, world.of_ann, world.of_bob, 1, v1::TRANSFER_KIND_TRADE)},
              ledger.clock.Now()));
  world.payout.Ok(&Stub::GetTreeHead, {});
  pg::Database& admin = database.Admin();
  const auto run = [](pg::Database& db, const std::string& sql) {
    return db.Transact(absl::Seconds(5), [&](pg::Transaction& tx) { return tx.ExecScript(sql); });
  };
  const std::map<std::string, std::string> changes = {
      {"leaf_chunks", "leaves = ''"},   {"event_ids", "result = 2"},
      {"account_history", "held = 1"},  {"entry_subjects", "kind = kind + 1"},
      {"tree_heads", "note = ''"},      {"documents", "type = ''"},
      {"tiles", "hashes = ''"}};
  for (const auto& [table, column] : changes) {
    CAPTURE(table);
    const std::string name = "ledger." + table;
    // Tiles are not full yet here: TRUNCATE shows the trigger where there are no rows.
    CHECK_FALSE(run(ledger.db(), "TRUNCATE " + name).ok());
    CHECK_FALSE(run(admin, "TRUNCATE " + name).ok());
    CHECK_FALSE(run(ledger.db(), "UPDATE " + name + " SET " + column).ok());
    CHECK_FALSE(run(ledger.db(), "DELETE FROM " + name).ok());
    if (table == "tiles") continue;
    CHECK_FALSE(run(admin, "UPDATE " + name + " SET " + column).ok());
    CHECK_FALSE(run(admin, "DELETE FROM " + name).ok());
  }
}

TEST_CASE("the client relays an outbox of any size", "[ledger]") {
  TestDatabase database({Migrations()});
  Ledger ledger(database);
  rpc::LedgerClient client([&](absl::string_view) { return ledger.channel(); },
                           ledger.outgoing("attribution"), ledger.ids, ledger.clock);
  std::vector<std::string> leaves;
  for (int i = 0; i < 2'345; ++i) {
    leaves.push_back(EntryOf(ledger, crypto::kind::kUpdateApplied, NewUuid(ledger),
                             NewUuid(ledger)));
  }
  std::vector<absl::string_view> views(leaves.begin(), leaves.end());
  const auto indexes = client.AppendEntries(views);
  REQUIRE(indexes.ok());
  REQUIRE(indexes->size() == leaves.size());
  for (size_t i = 0; i < indexes->size(); ++i) {
    REQUIRE((*indexes)[i] == static_cast<int64_t>(i) + 1);
  }
  CHECK(*client.AppendEntries(views) == *indexes);
  struct Row {
    std::string leaf;
  };
  CHECK(client.OutboxSend()(std::vector<Row>{{leaves[5]}}).value() == std::vector<int64_t>{6});
  CHECK(ReasonOf(client.AppendEntries({"x"}).status()) == "ENTRY_INVALID");

  // Only governance says until when the log is complete, with entries or alone.
  const absl::Time now = ledger.clock.Now();
  rpc::LedgerClient governance([&](absl::string_view) { return ledger.channel(); },
                               ledger.outgoing("governance"), ledger.ids, ledger.clock);
  CHECK(governance.AppendEntries({}, {}, now)->empty());
  CHECK(governance.AppendEntries({})->empty());  // says nothing, calls nobody
  CHECK(ReasonOf(client.AppendEntries({}, {}, now).status()) == "BAD_REQUEST");
  CHECK(ReasonOf(client.AppendEntries(views, {}, now).status()) == "BAD_REQUEST");
  CHECK(ReasonOf(governance.AppendEntries({}, {}, absl::FromUnixMicros(-1)).status()) ==
        "BAD_REQUEST");
  rpc::LedgerClient nowhere([](absl::string_view) { return nullptr; },
                            ledger.outgoing("attribution"), ledger.ids, ledger.clock);
  CHECK(ReasonOf(nowhere.AppendEntries(views).status()) == "UNAVAILABLE");
}

}  // namespace
}  // namespace rochdale::ledger::testing
