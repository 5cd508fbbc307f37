#include "libs/replay/orders.h"

#include <optional>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"

namespace rochdale::replay {
namespace {

namespace tag = crypto::tag;

using absl::int128;

constexpr char kConversion[] = "rochdale.ledger.v1.ConversionOrder";
constexpr int64_t kSpend = 1 << 2;  // MANDATE_ACTION_SPEND
// Kinds that services alone post: reward, release, emission, slash, mint.
constexpr uint64_t kServiceKinds = 1 << 3 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 12;

absl::Status Breaks(const char* rule, absl::string_view why) {
  return absl::DataLossError(absl::StrCat(rule, ": ", why));
}

Uuid IdOr(const crypto::Entry& entry, uint16_t tag) { return entry.IdAt(tag).value_or(Uuid{}); }

// One transfer and who ordered it.
class Ordered {
 public:
  Ordered(const crypto::Entry& entry, int64_t amount, const Account& debit, const Account& credit,
          const Authority& authority, SpentBefore spent)
      : entry_(entry),
        amount_(amount),
        debit_(debit),
        credit_(credit),
        authority_(authority),
        spent_(spent),
        phase_(entry.U64(tag::kPhase).value_or(kAtOnce)),
        principal_(IdOr(entry, tag::kPrincipal)),
        agent_(IdOr(entry, tag::kAgent)),
        mandate_(authority.FindMandate(IdOr(entry, tag::kMandate))) {}

  absl::Status Check() const {
    if (principal_.IsZero()) return CheckService();
    const Principal* principal = authority_.FindPrincipal(principal_);
    if (principal == nullptr) return Breaks("registered", "who ordered it was not registered");
    const bool mandated = entry_.Find(tag::kMandate) != nullptr;
    RETURN_IF_ERROR(CheckOwner(mandated));
    if (mandated) RETURN_IF_ERROR(CheckMandate());
    const Uuid& allowed = mandated ? mandate_->event : principal->registered_by;
    if (entry_.authorised_by.value != allowed) {
      return Breaks("allowed-by", "another entry than its mandate or registration allowed it");
    }
    if (EndsHold()) return absl::OkStatus();
    RETURN_IF_ERROR(CheckLevel(*principal));
    return mandated ? CheckBudget() : absl::OkStatus();
  }

 private:
  bool EndsHold() const { return phase_ == kPost || phase_ == kVoid; }
  bool Owns(const Account& account) const {
    return account.type != kSystemType && account.owner == principal_;
  }

  absl::Status CheckService() const {
    if (!agent_.IsZero() || entry_.Find(tag::kMandate) != nullptr) {
      return Breaks("owner", "an agent acts for a principal only");
    }
    const bool voids = phase_ == kVoid && credit_.type == kSystemType;
    if (debit_.type == kSystemType || voids) return absl::OkStatus();
    return Breaks("owner", "a service debits system accounts only");
  }

  // Out of an exchange account of the network, by the order of who is paid.
  bool IsConversion() const {
    const auto type = entry_.Text(tag::kDocumentType);
    return type.ok() && *type == kConversion && phase_ == kAtOnce &&
           debit_.type == kSystemType && debit_.owner == authority_.network() && Owns(credit_);
  }

  absl::Status CheckOwner(bool mandated) const {
    const bool receives = phase_ == kVoid && agent_.IsZero() && Owns(credit_);
    if (IsConversion() || receives) {
      return mandated ? Breaks("owner", "it needs no mandate") : absl::OkStatus();
    }
    if (!Owns(debit_)) {
      return Breaks("owner", "its order is not of the owner of the account that it debits");
    }
    const uint64_t kind = entry_.U64(tag::kTransferKind).value_or(0);
    if (kind < 64 && (kServiceKinds >> kind & 1) != 0) {
      return Breaks("service-kind", "transfers of this kind are posted by services only");
    }
    if (mandated == !agent_.IsZero()) return absl::OkStatus();
    return Breaks("mandate", "an agent pays under a mandate, and nobody else does");
  }

  absl::Status CheckMandate() const {
    if (debit_.asset != "token") return Breaks("mandate-asset", "a mandate is for tokens only");
    if (mandate_ == nullptr || mandate_->principal != principal_ || mandate_->agent != agent_ ||
        (mandate_->actions & kSpend) == 0) {
      return Breaks("mandate", "its agent has no such mandate of the owner to spend");
    }
    if (mandate_->revoked) return Breaks("mandate-ended", "its mandate was revoked or replaced");
    if (authority_.HasLeft(mandate_->cooperative, principal_)) {
      return Breaks("mandate-ended", "its principal has left the mandate's cooperative");
    }
    if (entry_.time_us < mandate_->not_before_us || entry_.time_us >= mandate_->expires_us) {
      return Breaks("mandate-window", "its mandate is not in force at its time");
    }
    if (!mandate_->MayPay(credit_.id)) {
      return Breaks("mandate-counterparty", "its mandate does not name the account it pays");
    }
    if (!authority_.IsPaused(agent_)) return absl::OkStatus();
    return Breaks("agent-paused", "its agent is paused");
  }

  absl::Status CheckLevel(const Principal& principal) const {
    const int64_t level = principal.LevelAt(entry_.time_us);
    if (level == 0) return Breaks("kyc-level", "KYC level 0 may receive, not send");
    if (Owns(credit_)) return absl::OkStatus();
    const std::optional<int64_t> limit = authority_.DailyLimit(level);
    const int64_t spent = spent_(principal_, debit_.asset, false);
    if (!limit || int128(spent) + amount_ <= *limit) return absl::OkStatus();
    return Breaks("kyc-limit", absl::StrCat("KYC level ", level, " may send ", *limit,
                                            " a day, and ", spent, " was sent or held before it"));
  }

  absl::Status CheckBudget() const {
    const Uuid mandate = IdOr(entry_, tag::kMandate);
    const int64_t day = spent_(mandate, debit_.asset, false);
    if (int128(day) + amount_ > mandate_->budget_day) {
      return Breaks("mandate-budget-day", absl::StrCat("of ", mandate_->budget_day, " a day, ",
                                                       day, " was spent before it"));
    }
    const int64_t all = spent_(mandate, debit_.asset, true);
    if (int128(all) + amount_ <= mandate_->budget_total) return absl::OkStatus();
    return Breaks("mandate-budget-total", absl::StrCat("of ", mandate_->budget_total, " in all, ",
                                                       all, " was spent before it"));
  }

  const crypto::Entry& entry_;
  const int64_t amount_;
  const Account& debit_;
  const Account& credit_;
  const Authority& authority_;
  SpentBefore spent_;
  const uint64_t phase_;
  const Uuid principal_, agent_;
  const Mandate* mandate_;
};

}  // namespace

absl::Status CheckTransferOrder(const crypto::Entry& entry, int64_t amount, const Account& debit,
                                const Account& credit, const Authority& authority,
                                SpentBefore spent) {
  return Ordered(entry, amount, debit, credit, authority, spent).Check();
}

// Only the owner signs an order of this kind; governance names the entry that allowed it.
absl::Status CheckAccountOrder(const crypto::Entry& entry, uint64_t status, bool other_floor,
                               const Account& account, const Authority& authority) {
  if (entry.Find(tag::kPublicKey) == nullptr) return absl::OkStatus();
  const Principal* owner =
      account.type == kSystemType ? nullptr : authority.FindPrincipal(account.owner);
  if (owner == nullptr || owner->registered_by != entry.authorised_by.value) {
    return Breaks("account-order", "its order is not of the account's owner");
  }
  const bool own = !other_floor && ((account.status == kOpen && status == kClosing) ||
                                    (account.status == kClosing && status == kClosed));
  if (own) return absl::OkStatus();
  return Breaks("account-order", "its owner may close the account, and nothing else");
}

}  // namespace rochdale::replay
