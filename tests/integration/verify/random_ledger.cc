#include "tests/integration/verify/random_ledger.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "libs/crypto/deterministic_id.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/tile.h"

namespace rochdale::verify {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

namespace {

constexpr char kOrigin[] = "random.example.org/log";
constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kBegin = 1'760'000'000'000'000;
constexpr uint64_t kMint = 12;

crypto::KeyPair KeyOf(const std::string& name) {
  return crypto::KeyPair::FromSeed(crypto::Sha256(absl::StrCat("key of ", name)).bytes);
}

EventId EventOf(const Uuid& transfer) {
  return {crypto::DeterministicId("ledger/transfer-posted", TransferId{transfer})};
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::cerr << "random ledger: " << value.status() << "\n";
  std::abort();
}

}  // namespace

RandomLedger::RandomLedger(uint64_t seed, int operations, Lie lie)
    : engine_(seed), lie_(lie), log_key_(KeyOf("log")), founder_(KeyOf("founder")) {
  time_us_ = kBegin;
  origin_ = kOrigin;
  Begin();
  for (int i = 0; i < operations && (lie == Lie::kNone || lied_at_ < 0); ++i) Operate();
}

crypto::NoteKey RandomLedger::origin() const {
  return {origin_, crypto::NoteAlgorithm::kEd25519, log_key_.public_key()};
}

std::map<std::string, RandomLedger::Totals> RandomLedger::totals() const {
  std::map<std::string, Totals> totals;
  for (const Account& account : accounts_) totals[account.id.ToString()] = account.totals;
  return totals;
}

Uuid RandomLedger::NewId() {
  return crypto::DeterministicId("random-ledger", absl::StrCat(engine_()));
}

bool RandomLedger::Tell(Lie lie) {
  if (lie_ != lie || lied_at_ >= 0 || leaves_.size() < 40) return false;
  lied_at_ = static_cast<int64_t>(leaves_.size());
  return true;
}

void RandomLedger::Append(crypto::EntryBuilder& builder) {
  leaves_.push_back(Must(builder.BuildBytes()));
}

crypto::SignedDocument RandomLedger::Order(const crypto::KeyPair& key) {
  return Must(crypto::SignDocument(key, "rochdale.ledger.v1.TransferOrder", "{}"));
}

void RandomLedger::Begin() {
  const absl::Time now = absl::FromUnixMicros(time_us_);
  crypto::EntryBuilder started(kind::kLogStarted, {NewId()}, now);
  Append(started.Bytes(tag::kRegisteredKey, log_key_.public_key().AsBytes())
             .Text(tag::kOrigin, kOrigin));
  const CooperativeId cooperative{NewId()};
  founded_ = {NewId()};
  crypto::EntryBuilder founded(kind::kCooperativeFounded, founded_, now);
  Append(founded.Cooperative(cooperative).Subject(cooperative).U64(tag::kRulesVersion, 1)
             .Document(Must(crypto::SignDocument(founder_, "rochdale.governance.v1.Genesis",
                                                 "{}"))));
  for (size_t i = 0; i < 4; ++i) {
    const std::string name = absl::StrCat("person ", i);
    Person person{NewId(), NewId(), NewId(), KeyOf(name), KeyOf(absl::StrCat("agent of ", name)),
                  {NewId()}};
    crypto::EntryBuilder registered(kind::kPrincipalRegistered, person.registered, now);
    Append(registered.Subject(person.principal)
               .Bytes(tag::kRegisteredKey, person.key.public_key().AsBytes())
               .U64(tag::kPrincipalType, 1)
               .Document(Must(crypto::SignDocument(
                   person.key, "rochdale.governance.v1.PrincipalRegistration", "{}"))));
    crypto::EntryBuilder agent(kind::kAgentRegistered, {NewId()}, now);
    Append(agent.Subject(person.agent).AuthorisedBy(person.registered)
               .Id(tag::kPrincipal, person.principal)
               .Bytes(tag::kRegisteredKey, person.agent_key.public_key().AsBytes())
               .Document(Must(crypto::SignDocument(
                   person.key, "rochdale.governance.v1.AgentRegistration", "{}"))));
    crypto::EntryBuilder granted(kind::kMandateGranted, {NewId()}, now);
    Append(granted.Subject(person.mandate).Cooperative(cooperative)
               .AuthorisedBy(person.registered).Id(tag::kPrincipal, person.principal)
               .Id(tag::kAgent, person.agent).I64(tag::kExpiresUs, 2 * time_us_)
               .Document(Must(crypto::SignDocument(
                   person.key, "rochdale.governance.v1.Mandate", "{}"))));
    crypto::EntryBuilder attested(kind::kKycAttested, {NewId()}, now);
    Append(attested.Subject(person.principal).AuthorisedBy(founded_).U64(tag::kKycLevel, 3)
               .I64(tag::kExpiresUs, 2 * time_us_)
               .Document(Must(crypto::SignDocument(
                   founder_, "rochdale.governance.v1.KycAttestation", "{}"))));
    people_.push_back(person);
  }
  for (const char* asset : {"token", "gpu-second"}) {
    const size_t supply = accounts_.size();
    OpenAccount(true, 0, asset, std::numeric_limits<int64_t>::min());
    OpenAccount(true, 0, asset, 0);
    OpenAccount(true, 0, asset, -5'000);
    for (size_t i = 0; i < people_.size(); ++i) OpenAccount(false, i, asset, i == 3 ? -100 : 0);
    for (size_t to = supply + 1; to < accounts_.size(); ++to) {
      Post(supply, to, 100 + static_cast<int64_t>(Below(2'000)), {.kind = kMint});
    }
  }
}

void RandomLedger::OpenAccount(bool system, size_t owner, const std::string& asset,
                               int64_t floor) {
  Account account{NewId(), owner, system, asset, floor};
  account.totals.asset = asset;
  crypto::EntryBuilder opened(kind::kAccountOpened, {NewId()}, absl::FromUnixMicros(time_us_));
  opened.Subject(account.id).AuthorisedBy(system ? founded_ : people_[owner].registered)
      .U64(tag::kAccountType, system ? 4 : 1).Text(tag::kAsset, asset).I64(tag::kFloor, floor);
  if (!system) opened.Id(tag::kPrincipal, people_[owner].principal);
  Append(opened);
  accounts_.push_back(account);
}

Uuid RandomLedger::Post(size_t debit, size_t credit, int64_t amount, const Form& form) {
  const Uuid id = form.id.IsZero() ? NewId() : form.id;
  const int64_t time = Tell(Lie::kTimeGoesBack) ? kBegin - 1 : time_us_;
  crypto::EntryBuilder posted(kind::kTransferPosted, EventOf(Tell(Lie::kOtherEvent) ? NewId() : id),
                              absl::FromUnixMicros(time));
  posted.Subject(id).Id(tag::kDebitAccount, accounts_[debit].id)
      .Id(tag::kCreditAccount, accounts_[credit].id)
      .U64(tag::kAmount, static_cast<uint64_t>(amount)).U64(tag::kTransferKind, form.kind);
  const bool moves = form.phase == 0 || form.phase == 2;
  posted.I64(tag::kDebitBalance, accounts_[debit].balance() - (moves ? amount : 0) +
                                     (Tell(Lie::kWrongBalance) ? 1 : 0))
      .I64(tag::kCreditBalance, accounts_[credit].balance() + (moves ? amount : 0));
  if (form.phase != 0) posted.U64(tag::kPhase, form.phase);
  if (form.expires != 0) posted.I64(tag::kExpiresUs, form.expires);
  if (form.requested != 0) {
    posted.U64(tag::kRequestedAmount, static_cast<uint64_t>(form.requested));
  }
  if (!form.pending.IsZero()) posted.Id(tag::kPendingTransfer, form.pending);
  if (!form.corrects.IsZero()) posted.Id(tag::kCorrects, form.corrects);
  if (form.linked) posted.U64(tag::kLinked, 1);
  if (Below(3) == 0) posted.U64(tag::kCode, 1 + Below(65'535));
  if (Below(3) == 0) posted.Bytes(tag::kReference, absl::StrCat("number ", leaves_.size()));
  // Who asks: a service for the system's accounts, else the owner or its agent.
  const bool receiver = form.phase == 3 && Below(2) == 0;
  const Account& payer = accounts_[receiver ? credit : debit];
  if (payer.system) {
    posted.AuthorisedBy(founded_);
  } else {
    const size_t stranger = (payer.owner + 1) % people_.size();
    const Person& person =
        people_[!receiver && Tell(Lie::kStrangersOrder) ? stranger : payer.owner];
    posted.Id(tag::kPrincipal, person.principal).AuthorisedBy(person.registered);
    if (Below(3) == 0) {
      const bool lies = Tell(Lie::kStrangersMandate);
      posted.Id(tag::kAgent, person.agent).Document(Order(person.agent_key))
          .Id(tag::kMandate, lies ? people_[stranger].mandate : person.mandate);
    } else {
      posted.Document(Order(person.key));
    }
  }
  Append(posted);
  const bool holds = form.phase == 1;
  if (holds) accounts_[debit].totals.held += amount;
  if (!holds && form.phase != 3) {
    accounts_[debit].totals.debits += amount;
    accounts_[credit].totals.credits += amount;
  }
  if (form.phase != 3) {
    (holds ? holds_ : posted_)
        .push_back({id, debit, credit, amount, 0, form.expires, form.kind, holds ? 1u : 0u,
                    !form.corrects.IsZero()});
  }
  return id;
}

bool RandomLedger::MayPay(size_t account) const {
  const uint64_t status = accounts_[account].status;
  return (status == 1 || status == 3) &&
         accounts_[account].floor != std::numeric_limits<int64_t>::min();
}

size_t RandomLedger::AnyAccount() { return Below(accounts_.size()); }

size_t RandomLedger::Counterparty(size_t from) {
  for (int i = 0; i < 40; ++i) {
    const size_t to = AnyAccount();
    if (to != from && accounts_[to].asset == accounts_[from].asset && accounts_[to].status == 1) {
      return to;
    }
  }
  return from;
}

void RandomLedger::Operate() {
  time_us_ += static_cast<int64_t>(Below(10) == 0 ? Below(7'200) * kSecond : Below(3) * 1'000);
  switch (Below(12)) {
    case 0: case 1: case 2: case 3: return Transfer();
    case 4: case 5: return Hold();
    case 6: case 7: return EndHold();
    case 8: return Chain();
    case 9: return Correct();
    case 10: return Change();
    default: return Expire();
  }
}

void RandomLedger::Transfer() {
  const size_t from = AnyAccount(), to = Counterparty(from);
  Account& payer = accounts_[from];
  if (to == from) return;
  if (payer.status == 2 && payer.free() > 0 && Tell(Lie::kMovesFromFrozen)) {
    Post(from, to, 1, {});
    return;
  }
  if (!MayPay(from)) {
    if (payer.floor == std::numeric_limits<int64_t>::min() && Tell(Lie::kMintsLater)) {
      Post(from, to, 5, {.kind = 9});
    }
    return;
  }
  const int64_t free = payer.free();
  if (free < 1) return;
  const auto amount = static_cast<int64_t>(1 + Below(static_cast<uint64_t>(free)));
  for (size_t other = 0; other < accounts_.size(); ++other) {
    const Account& a = accounts_[other];
    if (other == from) continue;
    if (a.status == 3 && a.asset == payer.asset && Tell(Lie::kPaysClosing)) {
      Post(from, other, 1, {});
      return;
    }
    if (a.status == 1 && a.asset != payer.asset && Tell(Lie::kMixesAssets)) {
      Post(from, other, 1, {});
      return;
    }
  }
  if (Tell(Lie::kOverdraft)) {
    Post(from, to, free + 1, {});
  } else if (!posted_.empty() && Tell(Lie::kRepeatsTransfer)) {
    Post(from, to, 1, {.id = posted_.back().id});
  } else if (Below(3) == 0) {
    const auto asked = static_cast<int64_t>(1 + Below(2 * static_cast<uint64_t>(free)));
    const int64_t moved = std::min(asked, free);
    const bool lies = moved > 1 && Tell(Lie::kBalancesTooLittle);
    Post(from, to, moved - (lies ? 1 : 0), {.kind = 4, .requested = asked});
  } else {
    Post(from, to, amount, {.kind = 2 + 2 * Below(2)});
  }
}

void RandomLedger::Hold() {
  const size_t from = AnyAccount(), to = Counterparty(from);
  if (to == from || !MayPay(from) || accounts_[from].free() < 1) return;
  const auto amount =
      static_cast<int64_t>(1 + Below(static_cast<uint64_t>(accounts_[from].free())));
  const int64_t lasts = static_cast<int64_t>(1 + Below(20'000)) * kSecond;
  const bool lies = Tell(Lie::kHoldsTooLong);
  Post(from, to, amount,
       {.kind = 6, .phase = 1,
        .expires = time_us_ + (lies ? 31'536'001 * kSecond : lasts)});
}

void RandomLedger::EndHold() {
  for (Posted& hold : holds_) {
    if (hold.state == 4 && MayPay(hold.debit) && accounts_[hold.credit].status == 1 &&
        Tell(Lie::kPostsLate)) {
      Post(hold.debit, hold.credit, 1, {.kind = hold.kind, .phase = 2, .pending = hold.id});
      return;
    }
    if (hold.state == 2 && Tell(Lie::kPostsTwice)) {
      Post(hold.debit, hold.credit, 1, {.kind = hold.kind, .phase = 2, .pending = hold.id});
      return;
    }
  }
  for (size_t i = 0; i < holds_.size(); ++i) {
    Posted& hold = holds_[i];
    if (hold.state != 1 || Below(2) == 0) continue;
    const bool moves = MayPay(hold.debit) && accounts_[hold.credit].status == 1;
    const bool voids = !moves || Below(3) == 0;
    int64_t amount = voids ? hold.amount
                           : static_cast<int64_t>(1 + Below(static_cast<uint64_t>(hold.amount)));
    if (voids && Tell(Lie::kVoidsAnotherAmount)) ++amount;
    if (!voids && Tell(Lie::kPostsTooMuch)) amount = hold.amount + 1;
    size_t debit = hold.debit;
    if (Tell(Lie::kOtherAccounts)) {
      do debit = AnyAccount();
      while (debit == hold.debit || debit == hold.credit);
    }
    hold.state = voids ? 3 : 2;
    accounts_[hold.debit].totals.held -= hold.amount;
    Post(debit, hold.credit, amount,
         {.kind = hold.kind, .phase = voids ? 3u : 2u, .pending = hold.id});
    return;
  }
}

void RandomLedger::Chain() {
  const size_t a = AnyAccount(), b = Counterparty(a);
  if (a == b || !MayPay(a) || accounts_[a].free() < 1) return;
  // There and back: the second rests on what the first brought.
  const int64_t amount = accounts_[a].free();
  const bool back = MayPay(b) && accounts_[a].status == 1 && accounts_[b].free() + amount >= 1;
  if (!back) return;
  Post(a, b, amount, {.linked = true});
  if (Tell(Lie::kBreaksChain)) {
    OpenAccount(true, 0, "token", 0);
    return;
  }
  Post(b, a, accounts_[b].free(), {});
}

void RandomLedger::Correct() {
  if (posted_.empty()) return;
  const size_t i = Below(posted_.size());
  const Posted of = posted_[i];
  if (!MayPay(of.credit) || accounts_[of.debit].status != 1) return;
  const int64_t free = accounts_[of.credit].free();
  if (of.correction) {
    if (free > 0 && Tell(Lie::kCorrectsCorrection)) {
      Post(of.credit, of.debit, 1, {.kind = 8, .corrects = of.id});
    }
    return;
  }
  const int64_t left = of.amount - of.corrected;
  if (free > left && Tell(Lie::kCorrectsTooMuch)) {
    Post(of.credit, of.debit, left + 1, {.kind = 8, .corrects = of.id});
    return;
  }
  if (left > 0 && MayPay(of.debit) && accounts_[of.debit].free() > 0 &&
      accounts_[of.credit].status == 1 && Tell(Lie::kCorrectsTheSameWay)) {
    Post(of.debit, of.credit, 1, {.kind = 8, .corrects = of.id});
    return;
  }
  const int64_t most = std::min(left, free);
  if (most < 1) return;
  const auto amount = static_cast<int64_t>(1 + Below(static_cast<uint64_t>(most)));
  posted_[i].corrected += amount;
  Post(of.credit, of.debit, amount, {.kind = 8, .corrects = of.id});
}

void RandomLedger::Change() {
  Account& account = accounts_[AnyAccount()];
  if (account.status == 4 || account.floor == std::numeric_limits<int64_t>::min()) return;
  const bool empty = account.totals.credits == account.totals.debits && account.totals.held == 0;
  uint64_t status = account.status;
  switch (account.status) {
    case 1: status = Below(20) == 0 ? 3 : Below(4) == 0 ? 2 : 1; break;
    case 2: status = Below(4) == 0 ? 3 : 1; break;
    default: status = empty ? 4 : 1;
  }
  if (account.status == 3 && !empty && Tell(Lie::kClosesFull)) status = 4;
  account.version += Tell(Lie::kSkipsVersion) ? 2 : 1;
  account.status = status;
  crypto::EntryBuilder changed(kind::kAccountChanged, {NewId()}, absl::FromUnixMicros(time_us_));
  changed.Subject(account.id).AuthorisedBy(founded_).U64(tag::kVersion, account.version)
      .U64(tag::kStatus, status);
  if (Below(4) == 0 && !account.system) {
    account.floor = -static_cast<int64_t>(Below(300));
    changed.I64(tag::kFloor, account.floor);
  }
  Append(changed);
}

void RandomLedger::Expire() {
  for (Posted& hold : holds_) {
    if (hold.state != 1) continue;
    if (hold.expires > time_us_ && !Tell(Lie::kExpiresEarly)) continue;
    hold.state = 4;
    accounts_[hold.debit].totals.held -= hold.amount;
    crypto::EntryBuilder expired(kind::kHoldExpired, {NewId()}, absl::FromUnixMicros(time_us_));
    Append(expired.Subject(hold.id).AuthorisedBy(EventOf(hold.id))
               .Id(tag::kDebitAccount, accounts_[hold.debit].id)
               .Id(tag::kCreditAccount, accounts_[hold.credit].id)
               .U64(tag::kAmount, static_cast<uint64_t>(hold.amount)));
    return;
  }
}

void RandomLedger::Restart(size_t kept) {
  leaves_.resize(kept);
  crypto::Frontier tree;
  for (const std::string& leaf : leaves_) tree.Append(crypto::LeafHash(leaf));
  crypto::Digest root = tree.Root();
  if (misstatement_ == Misstatement::kRoot) root.bytes[5] ^= 1;
  const std::string previous = misstatement_ == Misstatement::kOrigin ? "other/log" : origin_;
  origin_ += "-2";
  const crypto::KeyPair& signer =
      misstatement_ == Misstatement::kSigner ? people_[0].key : founder_;
  const auto statement =
      Must(crypto::SignDocument(signer, "rochdale.ledger.v1.LogRestart", "{}"));
  crypto::EntryBuilder started(kind::kLogStarted, {NewId()}, absl::FromUnixMicros(2 * kBegin));
  started.Bytes(tag::kRegisteredKey, log_key_.public_key().AsBytes()).Text(tag::kOrigin, origin_)
      .Text(tag::kPreviousOrigin, previous)
      .U64(tag::kPreviousSize, kept + (misstatement_ == Misstatement::kSize ? 1 : 0))
      .Digest(tag::kPreviousRoot, root).Document(statement);
  if (misstatement_ != Misstatement::kUnsigned) {
    started.Bytes(tag::kOperatorSignature,
                  Must(crypto::SignDocument(log_key_, statement.type, "{}")).signature.AsBytes());
  }
  leaves_.insert(leaves_.begin(), Must(started.BuildBytes()));
}

std::map<std::string, std::string> RandomLedger::Files() const {
  std::vector<std::vector<crypto::Digest>> nodes(40);
  crypto::Frontier tree;
  for (const std::string& leaf : leaves_) {
    tree.Append(crypto::LeafHash(leaf), [&](int level, uint64_t, const crypto::Digest& hash) {
      nodes[level].push_back(hash);
    });
  }
  const crypto::NodeReader read = [&](int level, uint64_t index) -> absl::StatusOr<crypto::Digest> {
    return nodes.at(level).at(index);
  };
  std::map<std::string, std::string> files;
  for (const crypto::Tile& tile : crypto::TilesOf(leaves_.size())) {
    files[tile.Path()] =
        tile.entries ? Must(crypto::EntryBundleBytes(absl::MakeConstSpan(leaves_).subspan(
                           tile.index * crypto::kTileWidth, tile.width)))
                     : Must(crypto::HashTileBytes(tile, read));
  }
  for (const size_t size : {leaves_.size() / 2, leaves_.size()}) {
    const crypto::Checkpoint checkpoint{origin_, size, Must(crypto::TreeRoot(size, read))};
    const std::string note =
        crypto::FormatNote(Must(crypto::SignCheckpoint(checkpoint, log_key_)));
    files[absl::StrCat("checkpoints/", size)] = note;
    files["checkpoint"] = note;
  }
  files["origin.vkey"] = origin().ToString() + "\n";
  return files;
}

void RandomLedger::Write(const std::string& folder) const {
  for (const auto& [path, bytes] : Files()) {
    const std::filesystem::path target = std::filesystem::path(folder) / path;
    std::filesystem::create_directories(target.parent_path());
    std::ofstream(target, std::ios::binary) << bytes;
  }
}

}  // namespace rochdale::verify
