#include "services/verify/lineages.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "services/filter/composition.h"
#include "services/filter/ownership.h"
#include "services/verify/parameter_history.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using crypto::Entry;

constexpr char kReasonOfOwner[] = "OWNER_HAS_UPDATE";

// One decision, with what it rests on.
struct Decided {
  const Entry* made = nullptr;
  const Entry* committed = nullptr;
  std::optional<Uuid> lineage;  // none: it takes no part
  std::vector<crypto::Digest> owners;

  bool IsAdmitted() const {
    const uint64_t verdict = made->U64(tag::kVerdict).value_or(0);
    return verdict >= 1 && verdict <= static_cast<uint64_t>(filter::Verdict::kOblige);
  }
  bool IsOwners() const {
    const auto reason = made->Text(tag::kReason);
    return reason.ok() && *reason == kReasonOfOwner;
  }
};

absl::Status Wrong(const Decided& decided, absl::string_view what) {
  return absl::DataLossError(
      absl::StrCat("update ", decided.made->subject.ToString(), " ", what));
}

std::vector<crypto::Digest> OwnersOf(const Entry& attested) {
  std::vector<crypto::Digest> owners;
  const auto packed = attested.Bytes(tag::kOwners);
  if (!packed.ok()) return owners;
  for (size_t at = 0; at + 32 <= packed->size(); at += 32) {
    owners.push_back(*crypto::Digest::FromBytes(packed->substr(at, 32)));
  }
  return owners;
}

// Takes the owners from the attestation that the decision names, which has to be the principal's
// last, as far as the filter had to know it when the update was committed to.
absl::Status TakeOwners(const Log& log, Decided& decided) {
  const Uuid principal = decided.committed->IdAt(tag::kPrincipal).value_or(Uuid{});
  const auto named = decided.made->IdAt(tag::kAttestation);
  const Entry* attested = named.ok() ? log.Find(EventId{*named}) : nullptr;
  if (named.ok()) {
    if (attested == nullptr || attested->kind != kind::kKycAttested ||
        attested->subject != principal) {
      return Wrong(decided, "was decided by an attestation that is not its principal's");
    }
    decided.owners = OwnersOf(*attested);
  }
  for (const Entry* other : log.About(kind::kKycAttested, principal)) {
    const bool later = attested == nullptr || other->time_us > attested->time_us;
    if (later && other->time_us <= decided.committed->time_us - kClockSlackUs) {
      return Wrong(decided, "was decided without its principal's last attestation");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Decided>> Read(const Log& log,
                                          const std::vector<const Entry*>& entries) {
  std::vector<Decided> all;
  for (const Entry* made : entries) {
    Decided decided;
    decided.made = made;
    decided.committed = log.Only(kind::kUpdateCommitted, made->subject);
    if (decided.committed == nullptr) return Wrong(decided, "was not committed to once");
    if (const auto lineage = made->IdAt(tag::kLineage); lineage.ok()) decided.lineage = *lineage;
    if (!decided.lineage && decided.IsAdmitted()) return Wrong(decided, "is of no lineage");
    RETURN_IF_ERROR(TakeOwners(log, decided));
    all.push_back(std::move(decided));
  }
  std::sort(all.begin(), all.end(), [&](const Decided& a, const Decided& b) {
    return log.IndexOf(*a.committed) < log.IndexOf(*b.committed);
  });
  return all;
}

// Each lineage has the name of its earliest update, and one that was admitted at most.
absl::Status CheckNames(const std::vector<Decided>& all, int64_t lineages) {
  std::set<Uuid> named, admitted;
  for (const Decided& decided : all) {
    if (!decided.lineage) continue;
    if (named.insert(*decided.lineage).second && *decided.lineage != decided.made->subject) {
      return Wrong(decided, "is of a lineage without its name's update");
    }
    if (decided.IsAdmitted() && !admitted.insert(*decided.lineage).second) {
      return Wrong(decided, "is the second of its lineage that was admitted");
    }
  }
  if (static_cast<int64_t>(named.size()) == lineages) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("its lineages are ", lineages, ", those of the log ",
                                          named.size()));
}

// Whether members without owners are one lineage in this time; nothing where that changed.
std::optional<bool> Together(const Log& log, const CooperativeId& cooperative, int64_t from_us,
                             int64_t to_us) {
  std::set<bool> values;
  for (const std::string& value :
       ValuesOf(log, cooperative, "lineage.unattested", "apart", from_us, to_us)) {
    values.insert(value == "together");
  }
  if (values.size() != 1) return std::nullopt;
  return *values.begin();
}

absl::Status CheckOwnersUpdates(const std::vector<Decided>& all, std::optional<bool> together) {
  std::vector<const Decided*> parts;
  std::vector<filter::Owned> owned;
  for (const Decided& decided : all) {
    if (!decided.lineage) continue;
    parts.push_back(&decided);
    owned.push_back({decided.committed->IdAt(tag::kPrincipal).value_or(Uuid{}), decided.owners});
  }
  const filter::OwnerGroups groups(owned, together.value_or(false));
  for (size_t i = 0; i < parts.size(); ++i) {
    const Decided& first = *parts[groups.FirstOf(i)];
    if (&first != parts[i]) {
      if (parts[i]->IsAdmitted()) return Wrong(*parts[i], "is the owner's second");
      if (parts[i]->lineage != first.lineage) {
        return Wrong(*parts[i], "is of another lineage than its owner's first");
      }
    } else if (parts[i]->IsOwners() && (together || !parts[i]->owners.empty())) {
      return Wrong(*parts[i], "was refused for an owner who has no earlier one");
    }
  }
  return absl::OkStatus();
}

}  // namespace

Decisions DecisionsByRound(const Log& log) {
  Decisions decisions;
  for (const size_t i : log.OfKind(kind::kDecisionMade)) {
    const auto round = log.at(i).IdAt(tag::kRound);
    if (round.ok()) decisions[RoundId{*round}].push_back(&log.at(i));
  }
  return decisions;
}

absl::Status CheckLineages(const Log& log, const Decisions& decisions,
                           const attribution::Evidence& evidence) {
  const auto found = decisions.find(evidence.round);
  if (found == decisions.end()) return absl::DataLossError("the log has no decisions of it");
  ASSIGN_OR_RETURN(const std::vector<Decided> all, Read(log, found->second));
  RETURN_IF_ERROR(CheckNames(all, evidence.lineages));
  int64_t last_us = 0;
  for (const Decided& decided : all) last_us = std::max(last_us, decided.made->time_us);
  return CheckOwnersUpdates(
      all, Together(log, evidence.cooperative, all.front().committed->time_us, last_us));
}

}  // namespace rochdale::verify
