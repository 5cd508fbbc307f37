// Logs of random ledgers: rebuilt, they have the balances that they were written with; a lie in an
// entry is found there, and a changed bit is found and located.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/crypto/tile.h"
#include "libs/replay/comparison.h"
#include "services/verify/verify.h"
#include "tests/integration/verify/random_ledger.h"

namespace rochdale::verify {
namespace {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/rochdale-ledger-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  void Put(const std::string& name, const std::string& bytes) const {
    const std::filesystem::path path = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

 private:
  std::string path_;
};

uint64_t NewSeed() {
  static std::random_device device;
  return device();
}

Report VerifyTree(const std::string& folder, const crypto::NoteKey& origin, Part part,
                  replay::Books* books = nullptr) {
  Request request;
  request.part = part;
  request.bundle = folder;
  request.origin = origin;
  return Verify(request, books);
}

const Check& Find(const Report& report, const std::string& name) {
  for (const Check& check : report.checks()) {
    if (check.name() == name) return check;
  }
  FAIL("no check " << name);
  std::abort();
}

}  // namespace

TEST_CASE("Replay rebuilds the balances of a random ledger", "[verify][replay]") {
  int64_t holds = 0, transfers = 0, by_agents = 0;
  // Six, and more only until an agent has paid in one: by chance there may be none in some.
  for (int i = 0; i < 6 || (by_agents == 0 && i < 30); ++i) {
    const uint64_t seed = NewSeed();
    INFO("seed " << seed);
    const RandomLedger ledger(seed, 600);
    const Folder folder;
    ledger.Write(folder.path());
    replay::Books books;
    const Report report = VerifyTree(folder.path(), ledger.origin(), Part::kReplay, &books);
    INFO(report.ToText());
    REQUIRE(report.ok());
    const auto totals = ledger.totals();
    CHECK(books.accounts().size() == totals.size());
    for (const replay::Account& account : books.accounts()) {
      const RandomLedger::Totals found{account.asset, account.debits, account.credits,
                                       account.held};
      CHECK(totals.at(account.id.ToString()) == found);
    }
    for (const auto& [asset, sum] : books.Sums()) CHECK(sum == "0");
    holds += static_cast<int64_t>(books.holds().size());
    transfers += books.transfers();
    for (const auto& [key, amount] : books.spent()) {
      by_agents += books.authority().FindMandate(key.key) != nullptr && amount > 0 ? 1 : 0;
    }
  }
  CHECK(by_agents > 0);
  CHECK(transfers > 6 * 150);
  CHECK(holds > 6 * 10);
}

TEST_CASE("Replay finds a lie where it was told", "[verify][replay]") {
  for (int lie = static_cast<int>(Lie::kNone) + 1; lie < static_cast<int>(Lie::kEnd); ++lie) {
    bool told = false;
    for (int i = 0; i < 40 && !told; ++i) {
      const uint64_t seed = NewSeed();
      INFO("lie " << lie << ", seed " << seed);
      const RandomLedger ledger(seed, 1'000, static_cast<Lie>(lie));
      if (ledger.lied_at() < 0) continue;
      told = true;
      const Folder folder;
      ledger.Write(folder.path());
      const Report report = VerifyTree(folder.path(), ledger.origin(), Part::kReplay);
      INFO(report.ToText());
      CHECK(Find(report, "log-tree").ok());
      const Check& check = Find(report, "transfers");
      CHECK_FALSE(check.ok());
      CHECK(absl::StrContains(check.Detail(), absl::StrCat("entry ", ledger.lied_at(), " (")));
      const std::string rule = RuleOf(static_cast<Lie>(lie));
      CHECK(absl::StrContains(check.Detail(), rule.empty() ? "" : absl::StrCat(": ", rule, ": ")));
    }
    INFO("lie " << lie);
    CHECK(told);
  }
}

TEST_CASE("A changed bit of a log is found and located", "[verify][log]") {
  const uint64_t seed = NewSeed();
  INFO("seed " << seed);
  std::mt19937_64 engine(seed);
  const RandomLedger ledger(seed, 3'000);
  REQUIRE(ledger.leaves().size() > 600);  // three bundles and a second level
  const Folder folder;
  ledger.Write(folder.path());
  REQUIRE(VerifyTree(folder.path(), ledger.origin(), Part::kLog).ok());
  for (const auto& [path, bytes] : ledger.Files()) {
    for (int i = 0; i < 3; ++i) {
      const size_t at = i == 0 ? bytes.size() - 1 : engine() % bytes.size();
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ 1 << engine() % 8);
      folder.Put(path, changed);
      const Report report = VerifyTree(folder.path(), ledger.origin(), Part::kLog);
      const std::string said = report.ToText();
      INFO(path << " at byte " << at << "\n" << said);
      CHECK_FALSE(report.ok());
      CHECK(absl::StrContains(said, path));
      if (absl::StartsWith(path, "tile/entries/")) {
        // Which entry the byte is of; its length is its own.
        const uint64_t first = 256 * crypto::Tile::Parse(path)->index;
        uint64_t entry = first;
        for (size_t end = 0;; ++entry) {
          end += 2 + ledger.leaves()[entry].size();
          if (at < end) break;
        }
        CHECK(absl::StrContains(said, absl::StrCat("entry ", entry, " is not the one")));
        CHECK_FALSE(absl::StrContains(said, absl::StrCat("entry ", entry + 1, " is not")));
      } else if (absl::StartsWith(path, "tile/0/")) {
        const uint64_t entry = 256 * crypto::Tile::Parse(path)->index + at / 32;
        CHECK(absl::StrContains(said, absl::StrCat("hash ", at / 32, " is not that of entry ",
                                                   entry, "\n")));
      } else if (absl::StartsWith(path, "tile/1/")) {
        CHECK(absl::StrContains(said, absl::StrCat("is not that of entries ", 256 * (at / 32),
                                                   " to ", 256 * (at / 32) + 255, "\n")));
      }
    }
    folder.Put(path, bytes);
  }
  CHECK(VerifyTree(folder.path(), ledger.origin(), Part::kLog).ok());
}

TEST_CASE("Several changed bits of a log are all located", "[verify][log]") {
  const RandomLedger ledger(5, 3'000);
  const Folder folder;
  auto files = ledger.Files();
  ledger.Write(folder.path());
  std::string second = files.at("tile/entries/001"), hashes = files.at("tile/0/000");
  second[700] = static_cast<char>(second[700] ^ 4);
  hashes[32 * 9] = static_cast<char>(hashes[32 * 9] ^ 1);
  folder.Put("tile/entries/001", second);
  folder.Put("tile/0/000", hashes);
  const std::string said = VerifyTree(folder.path(), ledger.origin(), Part::kLog).ToText();
  INFO(said);
  CHECK(absl::StrContains(said, "tile/0/000: hash 9 is not that of entry 9"));
  CHECK(absl::StrContains(said, "tile/entries/001: entry 2"));
  // Hashes and entries of one tile at once: nothing leads to the root any more.
  std::string first = files.at("tile/entries/000");
  first[50] = static_cast<char>(first[50] ^ 1);
  folder.Put("tile/entries/000", first);
  const std::string worse = VerifyTree(folder.path(), ledger.origin(), Part::kLog).ToText();
  INFO(worse);
  CHECK(absl::StrContains(worse, "tile/0/000: neither its hashes nor the entries 0 to 255"));
}

TEST_CASE("A log of more entries than memory is meant for is refused", "[verify][log]") {
  const RandomLedger ledger(3, 200);
  const Folder folder;
  ledger.Write(folder.path());
  Request request;
  request.part = Part::kReplay;
  request.bundle = folder.path();
  request.origin = ledger.origin();
  request.entries_max = ledger.leaves().size();
  CHECK(Verify(request).ok());
  --request.entries_max;
  const Report report = Verify(request);
  CHECK_FALSE(report.ok());
  CHECK(absl::StrContains(report.ToText(), "--entries-max"));
}

TEST_CASE("A tree by itself is as strict as a bundle", "[verify][log]") {
  const RandomLedger ledger(11, 3'000);
  const Folder folder;
  ledger.Write(folder.path());
  const auto files = ledger.Files();
  Request request;
  request.part = Part::kLog;
  request.bundle = folder.path();
  CHECK(Verify(request).ok());  // agrees with itself
  request.origin = ledger.origin();
  SECTION("an earlier partial tile may be there, and is checked") {
    folder.Put("tile/0/000.p/7", files.at("tile/0/000").substr(0, 7 * 32));
    CHECK(Verify(request).ok());
    folder.Put("tile/0/000.p/7", files.at("tile/0/001").substr(0, 7 * 32));
    const std::string said = Verify(request).ToText();
    CHECK(absl::StrContains(said, "tile/0/000.p/7"));
  }
  SECTION("a tile beyond the checkpoint is refused") {
    folder.Put("tile/0/077", files.at("tile/0/000"));
    CHECK_FALSE(Verify(request).ok());
  }
  SECTION("another file is refused") {
    folder.Put("index.html", "hello");
    CHECK_FALSE(Verify(request).ok());
  }
  SECTION("a missing tile is named") {
    std::filesystem::remove(folder.path() + "/tile/entries/001");
    CHECK(absl::StrContains(Verify(request).ToText(), "tile/entries/001: it is missing"));
  }
  SECTION("an earlier head that somebody kept must be of this log") {
    const RandomLedger longer(12, 3'000);
    request.heads = {files.at(absl::StrCat("checkpoints/", ledger.leaves().size() / 2))};
    CHECK(Verify(request).ok());
    request.heads.push_back(
        longer.Files().at(absl::StrCat("checkpoints/", longer.leaves().size() / 2)));
    const Report report = Verify(request);
    CHECK_FALSE(Find(report, "log-consistency").ok());
  }
  SECTION("a witness that was asked for has to have cosigned") {
    const auto witness = crypto::KeyPair::FromSeed({9});
    request.witnesses = {{"witness.example.org", crypto::NoteAlgorithm::kCosignatureV1,
                          witness.public_key()}};
    CHECK_FALSE(Find(Verify(request), "log-checkpoint").ok());
    crypto::Note note = *crypto::ParseNote(files.at("checkpoint"));
    note.signatures.push_back(
        *crypto::CosignNote("witness.example.org", witness, note.text, 1'760'000'000));
    folder.Put("checkpoint", crypto::FormatNote(note));
    CHECK(Verify(request).ok());
  }
  SECTION("it is no bundle") {
    request.part = Part::kBundle;
    CHECK_FALSE(Verify(request).ok());
  }
}

TEST_CASE("A log that was restarted openly verifies; its statement must be true",
          "[verify][replay]") {
  using Misstatement = RandomLedger::Misstatement;
  struct Case {
    Misstatement how;
    const char* check;  // that fails; null: none
  };
  const Case cases[] = {{Misstatement::kNone, nullptr},
                        {Misstatement::kRoot, "log-entries"},
                        {Misstatement::kOrigin, "log-entries"},
                        {Misstatement::kSize, "log-entries"},
                        {Misstatement::kUnsigned, "log-entries"},
                        {Misstatement::kSigner, "authority"}};
  for (const Case& c : cases) {
    // Within the beginning, where no chain can be cut.
    RandomLedger again(77, 300);
    again.Misstate(c.how);
    again.Restart(40);
    again.Misstate(Misstatement::kNone);
    if (c.how == Misstatement::kNone) again.Restart(41);  // twice
    const Folder folder;
    again.Write(folder.path());
    const Report report = VerifyTree(folder.path(), again.origin(), Part::kReplay);
    INFO(static_cast<int>(c.how) << "\n" << report.ToText());
    CHECK(report.ok() == (c.check == nullptr));
    if (c.check != nullptr) CHECK_FALSE(Find(report, c.check).ok());
  }
}

TEST_CASE("An export of the tables is compared row by row", "[verify][replay]") {
  const RandomLedger ledger(31, 400);
  const Folder folder;
  ledger.Write(folder.path() + "/log");
  // As a ledger that writes every entry in a batch of its own would have them.
  std::vector<std::string> lines;
  replay::Comparison books;
  crypto::Frontier tree;
  for (size_t i = 0; i < ledger.leaves().size(); ++i) {
    const auto entry = crypto::DecodeEntry(ledger.leaves()[i]);
    REQUIRE(books.Next(*entry).ok());
    tree.Append(crypto::LeafHash(ledger.leaves()[i]));
    for (const uint32_t place : books.books().touched()) {
      const replay::Account& a = books.books().accounts()[place];
      lines.push_back(replay::ToLine(replay::HistoryRow{a.id, static_cast<int64_t>(i), a.debits,
                                                        a.credits, a.held, a.transfers,
                                                        {static_cast<int64_t>(i)}}));
    }
  }
  for (const replay::Account& a : books.books().accounts()) {
    lines.push_back(replay::ToLine(replay::AccountRow{
        a.id, a.owner, static_cast<int64_t>(a.type), a.asset, a.floor,
        static_cast<int64_t>(a.status), a.version, a.opened_us, a.opened_index}));
  }
  for (const auto& [id, hold] : books.books().holds()) {
    const replay::Transfer& t = *books.books().FindTransfer(id);
    lines.push_back(replay::ToLine(replay::HoldRow{
        id, books.books().accounts()[t.debit].id, books.books().accounts()[t.credit].id, t.amount,
        t.kind, hold.opened_us, hold.expires_us, static_cast<int64_t>(t.state), hold.posted,
        hold.owner, hold.mandate}));
  }
  for (const auto& [id, t] : books.books().all_transfers()) {
    if (t.corrected > 0) lines.push_back(replay::ToLine(replay::CorrectionRow{id, t.corrected}));
  }
  for (const auto& [key, amount] : books.books().spent()) {
    if (amount == 0) continue;  // may be there or not
    lines.push_back(replay::ToLine(replay::SpentRow{key.key, key.asset, key.day, amount}));
  }
  const replay::Authority& authority = books.books().authority();
  const auto add = [&](const replay::TableRow& row) { lines.push_back(replay::ToLine(row)); };
  add(replay::NetworkRow{authority.network()});
  for (const auto& [id, principal] : authority.principals()) add(replay::RowOf(id, principal));
  for (const auto& [agent, index] : authority.paused()) add(replay::PausedRow{agent, index});
  for (const auto& [id, mandate] : authority.mandates()) add(replay::RowOf(id, mandate));
  for (const auto& [who, index] : authority.left()) {
    add(replay::LeftRow{who.first, who.second, index});
  }
  for (const auto& [name, set] : authority.parameters()) {
    add(replay::ParameterRow{name, set.value, set.log_index});
  }
  lines.insert(lines.begin(),
               replay::ToLine(replay::LogRow{static_cast<int64_t>(ledger.leaves().size()),
                                             tree.Root().ToString()}));
  const auto verify = [&](const std::vector<std::string>& rows) {
    folder.Put("tables", absl::StrJoin(rows, "\n") + "\n");
    Request request;
    request.part = Part::kReplay;
    request.bundle = folder.path() + "/log";
    request.origin = ledger.origin();
    request.tables = folder.path() + "/tables";
    return Verify(request);
  };
  const Report honest = verify(lines);
  INFO(honest.ToText());
  REQUIRE(honest.ok());
  const uint64_t seed = NewSeed();
  INFO("seed " << seed);
  std::mt19937_64 engine(seed);
  for (int i = 0; i < 60; ++i) {
    std::vector<std::string> rows = lines;
    const size_t at = engine() % rows.size();
    if (i % 6 == 0) {
      rows.erase(rows.begin() + static_cast<ptrdiff_t>(at));
    } else if (i % 6 == 1) {
      rows.insert(rows.begin() + static_cast<ptrdiff_t>(at), rows[at]);
    } else {
      const size_t byte = engine() % rows[at].size();
      rows[at][byte] = static_cast<char>(rows[at][byte] ^ 1 << engine() % 7);
    }
    const Report report = verify(rows);
    INFO("line " << at << ": " << rows[at < rows.size() ? at : 0] << "\n" << report.ToText());
    CHECK_FALSE(report.ok());
    CHECK_FALSE(Find(report, "tables").ok());
  }
}

}  // namespace rochdale::verify
