#include "services/ledger/transfer_entry.h"

#include <catch2/catch.hpp>
#include <optional>
#include <random>

#include "libs/crypto/entry.h"
#include "libs/crypto/entry_builder.h"

namespace rochdale::ledger {
namespace {

namespace tag = crypto::tag;

// The same by the general way.
std::string Built(const PostedTransfer& posted, const Caller& caller, CooperativeId cooperative,
                  const std::optional<crypto::SignedDocument>& order) {
  const Transfer& t = posted.transfer;
  crypto::EntryBuilder builder(crypto::kind::kTransferPosted, PostedEvent(t.id),
                               absl::FromUnixMicros(posted.posted_us));
  builder.Subject(t.id)
      .Cooperative(cooperative)
      .AuthorisedBy(t.authorised_by)
      .Id(tag::kDebitAccount, t.debit)
      .Id(tag::kCreditAccount, t.credit)
      .U64(tag::kAmount, static_cast<uint64_t>(t.amount))
      .U64(tag::kTransferKind, static_cast<uint64_t>(t.kind))
      .I64(tag::kDebitBalance, posted.debit_balance)
      .I64(tag::kCreditBalance, posted.credit_balance);
  if (!t.reference.empty()) builder.Bytes(tag::kReference, t.reference);
  if (t.code != 0) builder.U64(tag::kCode, static_cast<uint64_t>(t.code));
  if (t.phase != TransferPhase::kSingle) {
    builder.U64(tag::kPhase, static_cast<uint64_t>(t.phase));
  }
  if (t.phase == TransferPhase::kPending) builder.I64(tag::kExpiresUs, posted.expires_us);
  if (!t.pending.IsZero()) builder.Id(tag::kPendingTransfer, t.pending);
  if (t.linked) builder.U64(tag::kLinked, 1);
  if (t.balancing) builder.U64(tag::kRequestedAmount, static_cast<uint64_t>(posted.requested));
  if (!t.corrects.IsZero()) builder.Id(tag::kCorrects, t.corrects);
  if (!posted.mandate.IsZero()) builder.Id(tag::kMandate, posted.mandate);
  if (!caller.is_service) builder.Id(tag::kPrincipal, caller.principal);
  if (!caller.agent.IsZero()) builder.Id(tag::kAgent, caller.agent);
  if (order.has_value()) builder.Document(*order);
  return builder.BuildBytes().value();
}

TEST_CASE("a transfer's entry is written as the general way would, and read back", "[ledger]") {
  std::mt19937_64 random(Catch::rngSeed());
  SeededIdSource ids(random());
  const auto id = [&] { return ids.New(absl::FromUnixSeconds(1'700'000'000)); };
  const auto sometimes = [&] { return random() % 2 == 0; };
  for (int i = 0; i < 500; ++i) {
    PostedTransfer posted;
    Transfer& t = posted.transfer;
    t.id = {id()};
    t.debit = {id()};
    t.credit = {id()};
    t.amount = static_cast<int64_t>(random() >> (1 + random() % 62)) | 1;
    t.kind = static_cast<TransferKind>(1 + random() % 13);
    t.authorised_by = {id()};
    posted.posted_us = 1'700'000'000'000'000 + i;
    posted.debit_balance = static_cast<int64_t>(random());
    posted.credit_balance = static_cast<int64_t>(random());
    if (sometimes()) t.code = static_cast<int32_t>(random() % 65'536);
    if (sometimes()) t.reference = std::string(1 + random() % 64, 'r');
    t.phase = static_cast<TransferPhase>(random() % 4);
    if (t.phase == TransferPhase::kPending) {
      t.timeout_s = 1 + static_cast<int32_t>(random() % 1'000);
      posted.expires_us = posted.posted_us + t.timeout_s * int64_t{1'000'000};
    } else if (t.phase != TransferPhase::kSingle) {
      t.pending = {id()};
    } else if (sometimes()) {
      t.corrects = {id()};
    }
    t.linked = sometimes();
    if (t.phase != TransferPhase::kPost && t.phase != TransferPhase::kVoid && sometimes()) {
      t.balancing = true;
      posted.requested = t.amount;
    }
    Caller caller{true, "payout", {}, {}};
    std::optional<crypto::SignedDocument> order;
    if (sometimes()) {
      caller = {false, "", {id()}, {}};
      if (sometimes()) {
        caller.agent = {id()};
        posted.mandate = {id()};
      }
      order = crypto::SignDocument(crypto::KeyPair::FromSeed({7}),
                                   "rochdale.ledger.v1.TransferOrder", "{}")
                  .value();
    }
    const CooperativeId cooperative = sometimes() ? CooperativeId{id()} : CooperativeId{};
    const std::optional<OrderTags> tags =
        order.has_value() ? std::optional<OrderTags>(*order) : std::nullopt;
    LogEntry entry;
    entry.leaf = EncodeTransferEntry(posted, caller, cooperative, tags ? &*tags : nullptr);
    REQUIRE(entry.leaf == Built(posted, caller, cooperative, order));
    const auto again = ParseTransferEntry(entry);
    REQUIRE(again.ok());
    CHECK(again->transfer.id == t.id);
    CHECK(again->transfer.timeout_s == t.timeout_s);
    CHECK(again->transfer.corrects == t.corrects);
    CHECK(again->requested == posted.requested);
    CHECK(again->mandate == posted.mandate);
    CHECK(again->debit_balance == posted.debit_balance);
  }
}

}  // namespace
}  // namespace rochdale::ledger
