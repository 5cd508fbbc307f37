// The audit of the database: an honest one passes, and a bit that is changed in any column of any
// table of the log is found and its place named.
#include <catch2/catch.hpp>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/entry_kinds.h"
#include "services/ledger/audit.h"
#include "tests/integration/ledger/harness.h"

namespace rochdale::ledger::testing {
namespace {

absl::StatusOr<Audit> AuditNow(pg::Database& db, const std::string& last_checkpoint = "") {
  AuditOptions options;
  options.origin = crypto::NoteKey{"test.rochdale.local/log", crypto::NoteAlgorithm::kEd25519,
                                   LogKey().public_key()};
  options.last_checkpoint = last_checkpoint;
  return db.Transact(
      absl::Seconds(60), [&](pg::Transaction& tx) { return AuditDatabase(tx, options); },
      {.isolation = pg::Isolation::kRepeatableRead});
}

std::string Said(const absl::StatusOr<Audit>& audit) {
  if (!audit.ok()) return absl::StrCat("not read: ", audit.status().ToString());
  return absl::StrJoin(audit->problems, "\n");
}

// A ledger with something in every table, stopped.
struct History {
  TestDatabase database{{Migrations()}};
  TempDir data;

  History() {
    Ledger ledger(database, {.data_dir = data.path()});
    World world(ledger);
    world.Fund(ledger, 1'000'000);
    std::vector<v1::Transfer> transfers;
    for (int i = 0; i < 700; ++i) {
      transfers.push_back(TransferOf(ledger, world.supply, i % 2 ? world.of_ann : world.of_bob,
                                     1 + i));
    }
    const auto posted = Post(world.payout, PostingOf(ledger, transfers));
    // A correction by Ann, an open hold, one that is posted in part and one that is voided.
    Client ann = ledger.As(world.ann);
    v1::Transfer correction = TransferOf(ledger, world.of_ann, world.supply, 5,
                                         v1::TRANSFER_KIND_REFUND);
    correction.set_corrects(transfers[101].transfer_id());
    correction.clear_authorised_by();
    std::vector<v1::Transfer> steps = {correction};
    for (int i = 0; i < 3; ++i) {
      v1::Transfer hold = TransferOf(ledger, world.of_ann, world.of_bob, 1'000,
                                     v1::TRANSFER_KIND_ESCROW);
      hold.set_phase(v1::TRANSFER_PHASE_PENDING);
      hold.set_timeout_s(3'600);
      hold.clear_authorised_by();
      steps.push_back(hold);
    }
    for (int i = 0; i < 2; ++i) {
      v1::Transfer end;
      end.set_transfer_id(ledger.NewId());
      end.set_pending_id(steps[1 + i].transfer_id());
      end.set_phase(i == 0 ? v1::TRANSFER_PHASE_POST : v1::TRANSFER_PHASE_VOID);
      if (i == 0) end.set_amount_micro(400);
      steps.push_back(end);
    }
    Post(ann, OrderOf(ledger, world.ann.key, steps, ledger.clock.Now()));
    Govern(ledger, world);
    // An id that burns.
    v1::Transfer poor = TransferOf(ledger, world.of_bob, world.of_ann, int64_t{1} << 60,
                                   v1::TRANSFER_KIND_TRADE);
    poor.clear_authorised_by();
    ledger.As(world.bob).Ok(&Stub::PostTransfers,
                            OrderOf(ledger, world.bob.key, {poor}, ledger.clock.Now()));
    // Two heads at least.
    absl::SleepFor(absl::Milliseconds(300));
    ledger.Stop();
  }

  // A cooperative, which is the network; a mandate that ended and one that stands, an agent that
  // is paused, a member that left, a parameter.
  static void Govern(Ledger& ledger, const World& world) {
    namespace kind = crypto::kind;
    namespace tag = crypto::tag;
    const CooperativeId cooperative{ledger.ids.New(ledger.clock.Now())};
    const Agent agent = ledger.NewAgent(world.ann);
    std::vector<std::string> entries;
    const auto add = [&](uint16_t kind, const Uuid& subject, const auto& fill) {
      crypto::EntryBuilder entry(kind, {ledger.ids.New(ledger.clock.Now())}, ledger.clock.Now());
      entry.Subject(subject).Cooperative(cooperative);
      if (kind != kind::kAgentPaused) {
        entry.Document(crypto::SignDocument(world.ann.key, "test", "{}").value());
      }
      fill(entry);
      entries.push_back(entry.BuildBytes().value());
    };
    add(kind::kCooperativeFounded, cooperative.value,
        [](auto& entry) { entry.U64(tag::kRulesVersion, 1); });
    for (int i = 0; i < 2; ++i) {
      add(kind::kMandateGranted, ledger.ids.New(ledger.clock.Now()), [&](auto& entry) {
        entry.Id(tag::kPrincipal, world.ann.id).Id(tag::kAgent, agent.id)
            .I64(tag::kNotBeforeUs, 1'000)
            .I64(tag::kExpiresUs, int64_t{1} << 52).U64(tag::kActions, 6)
            .U64(tag::kBudgetPerDay, 1'000).U64(tag::kBudgetTotal, 9'000)
            .Bytes(tag::kCounterparties, world.ann.id.value.AsBytes());
      });
    }
    add(kind::kAgentPaused, agent.id.value,
        [](auto& entry) { entry.Text(tag::kReason, "TRIED"); });
    add(kind::kMembershipLeft, world.bob.id.value, [](auto&) {});
    add(kind::kParameterChanged, cooperative.value, [](auto& entry) {
      entry.U64(tag::kVersion, 1).Text(tag::kParameter, "ledger.kyc_l1_daily_micro")
          .Text(tag::kValue, "70000000");
    });
    ledger.Governance(entries);
  }

  static v1::PostTransfersResponse Post(Client& client, const v1::PostTransfersRequest& request) {
    auto response = client.Ok(&Stub::PostTransfers, request);
    for (const v1::TransferOutcome& outcome : response.outcomes()) {
      INFO(outcome.message());
      REQUIRE(outcome.result() == v1::TRANSFER_RESULT_POSTED);
    }
    return response;
  }
  std::string LastCheckpoint() const {
    std::ifstream in(data.path() + "/last-checkpoint", std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  pg::Database& db() { return database.ForService("ledger"); }
  // As the superuser, past the triggers.
  void Force(const std::string& table, const std::string& sql) {
    REQUIRE(database.Admin().Transact(absl::Seconds(10), [&](pg::Transaction& tx) {
      return tx.ExecScript(absl::StrCat("SET LOCAL search_path = ledger; ALTER TABLE ", table,
                                        " DISABLE TRIGGER USER; ", sql, "; ALTER TABLE ", table,
                                        " ENABLE TRIGGER USER"));
    }).ok());
  }
};

TEST_CASE("the audit of an honest database finds nothing", "[ledger][audit]") {
  History history;
  const auto audit = AuditNow(history.db(), history.LastCheckpoint());
  INFO(Said(audit));
  REQUIRE(audit.ok());
  CHECK(audit->problem_count == 0);
  CHECK(audit->entries > 700);
  CHECK(audit->transfers > 700);
  CHECK(audit->heads > 0);
  CHECK(audit->rows > 10);
}

TEST_CASE("a leaf that was changed is located", "[ledger][audit]") {
  History history;
  const uint64_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937_64 engine(seed);
  const auto size = AuditNow(history.db())->entries;
  for (int round = 0; round < 24; ++round) {
    // In the last rounds one of the newest entries, whose hashes no tile has yet.
    const int64_t tail = size % 256;
    REQUIRE(tail > 0);
    const auto index = static_cast<int64_t>(
        round < 12 ? engine() % static_cast<uint64_t>(size)
                   : static_cast<uint64_t>(size - 1) - engine() % static_cast<uint64_t>(tail));
    // Where in its chunk the leaf is.
    int64_t first = 0, offset = 0, length = 0;
    REQUIRE(history.db().Transact(absl::Seconds(10), [&](pg::Transaction& tx) -> absl::Status {
      const auto row = tx.ExecOne(
          "SELECT first_index, leaves FROM leaf_chunks WHERE first_index <= $1 "
          "ORDER BY first_index DESC LIMIT 1", index);
      if (!row.ok()) return row.status();
      first = row->Get<int64_t>(0);
      const std::string leaves = row->GetBytes(1);
      for (int64_t i = first;; ++i) {
        length = static_cast<uint8_t>(leaves[offset]) * 256 +
                 static_cast<uint8_t>(leaves[offset + 1]);
        if (i == index) break;
        offset += 2 + length;
      }
      return absl::OkStatus();
    }).ok());
    const int64_t at = offset + 2 + static_cast<int64_t>(engine() % length);
    const std::string flip = absl::StrCat(
        "UPDATE leaf_chunks SET leaves = set_byte(leaves, ", at, ", get_byte(leaves, ", at,
        ") # ", 1 << engine() % 8, ") WHERE first_index = ", first);
    history.Force("leaf_chunks", flip);
    const auto audit = AuditNow(history.db(), history.LastCheckpoint());
    const std::string said = Said(audit);
    INFO("entry " << index << " of " << size << "\n" << said);
    CHECK(absl::StrContains(said, absl::StrCat("leaf_chunks: entry ", index, " is not the one")));
    // No other entry, and no tree head, is accused of it.
    CHECK_FALSE(absl::StrContains(said, absl::StrCat("entry ", index + 1, " is not the one")));
    CHECK_FALSE(absl::StrContains(said, "tree_heads"));
    history.Force("leaf_chunks", flip);
  }
  CHECK(AuditNow(history.db(), history.LastCheckpoint())->problem_count == 0);
}

TEST_CASE("a bit that was changed in any column is found", "[ledger][audit]") {
  History history;
  const uint64_t seed = std::random_device()();
  INFO("seed " << seed);
  std::mt19937_64 engine(seed);
  // Labels are not in the log; when a head was signed, who led, how often the writer wrote and
  // until when governance said to have said everything, no leaf says.
  const std::set<std::string> unsaid = {"accounts.label", "tree_heads.signed_us",
                                        "tree_state.epoch", "tree_state.batch", "tree_state.id",
                                        "authority_state.id", "authority_state.complete_until_us"};
  struct Column {
    std::string table, name, type;
  };
  std::vector<Column> columns;
  REQUIRE(history.database.Admin().Transact(absl::Seconds(10), [&](pg::Transaction& tx)
                                                                   -> absl::Status {
    const auto rows = tx.Exec(
        "SELECT table_name, column_name, udt_name FROM information_schema.columns "
        "WHERE table_schema = 'ledger' AND table_name IN ('accounts', 'account_history', "
        "'event_ids', 'entry_subjects', 'leaf_chunks', 'tiles', 'tree_state', 'tree_heads', "
        "'documents', 'holds', 'corrections', 'spent', 'authority_state', 'authority_principals', "
        "'authority_paused_agents', 'authority_mandates', 'authority_left', "
        "'authority_parameters') ORDER BY 1, 2");
    if (!rows.ok()) return rows.status();
    for (const pg::Row& row : *rows) {
      columns.push_back({row.Get<std::string>(0), row.Get<std::string>(1),
                         row.Get<std::string>(2)});
    }
    return absl::OkStatus();
  }).ok());
  CHECK(columns.size() > 75);
  int changed = 0;
  std::set<std::string> tables;
  for (const Column& column : columns) {
    if (unsaid.contains(absl::StrCat(column.table, ".", column.name))) continue;
    const std::string& c = column.name;
    const int bit = static_cast<int>(engine() % 6);
    std::string value;
    if (column.type == "bytea") {
      value = absl::StrCat("set_byte(", c, ", octet_length(", c, ") / 2, get_byte(", c,
                           ", octet_length(", c, ") / 2) # ", 1 << bit, ")");
    } else if (column.type == "uuid") {
      value = absl::StrCat("encode(set_byte(uuid_send(", c, "), 9, get_byte(uuid_send(", c,
                           "), 9) # ", 1 << bit, "), 'hex')::uuid");
    } else if (column.type == "text") {
      value = absl::StrCat("overlay(", c, " placing chr(ascii(substr(", c, ", 3, 1)) # 1) from 3)");
    } else {
      value = absl::StrCat("(", c, " # (1 << ", bit % 2, ")::", column.type, ")");
    }
    // Burned ids stand for what is in no leaf.
    // The time of a chunk without the ledger's own entries is in no leaf, either.
    const std::string where = column.table == "event_ids" ? " AND log_index >= 0"
                              : c == "posted_us"          ? " AND count > 100"
                                                          : "";
    const absl::Status forced = history.database.Admin().Transact(
        absl::Seconds(10), [&](pg::Transaction& tx) {
          return tx.ExecScript(absl::StrCat(
              "SET LOCAL search_path = ledger; CREATE TABLE kept AS SELECT * FROM ", column.table,
              "; ALTER TABLE ", column.table, " DISABLE TRIGGER USER; UPDATE ", column.table,
              " SET ", c, " = ", value, " WHERE ctid = (SELECT ctid FROM ", column.table,
              " WHERE ", c, " IS NOT NULL", where, " ORDER BY md5(ctid::text || '", seed,
              "') LIMIT 1)"));
        });
    INFO(column.table << "." << c << ": " << value);
    if (!forced.ok()) continue;  // a constraint of the table refuses it
    ++changed;
    tables.insert(column.table);
    const auto audit = AuditNow(history.db(), history.LastCheckpoint());
    const std::string said = Said(audit);
    INFO(said);
    if (audit.ok()) {
      CHECK(audit->problem_count > 0);
      CHECK(absl::StrContains(said, column.table));
    }
    REQUIRE(history.database.Admin().Transact(absl::Seconds(10), [&](pg::Transaction& tx) {
      return tx.ExecScript(absl::StrCat("SET LOCAL search_path = ledger; DELETE FROM ",
                                        column.table, "; INSERT INTO ", column.table,
                                        " SELECT * FROM kept; DROP TABLE kept; ALTER TABLE ",
                                        column.table, " ENABLE TRIGGER USER"));
    }).ok());
  }
  CHECK(changed > 55);
  CHECK(tables.size() == 18);  // at least once each
  const auto audit = AuditNow(history.db(), history.LastCheckpoint());
  INFO(Said(audit));
  CHECK(audit->problem_count == 0);
}

TEST_CASE("a database behind a signed checkpoint is named", "[ledger][audit]") {
  History history;
  History other;
  const std::string said = Said(AuditNow(history.db(), other.LastCheckpoint()));
  CHECK(absl::StrContains(said, "last-checkpoint"));
}

}  // namespace
}  // namespace rochdale::ledger::testing
