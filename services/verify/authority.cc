// The responsibility chain: who allowed every entry, and whose key signed.
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/crypto/entry_kinds.h"
#include "services/verify/log.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

// Whether an entry may stand without one that allowed it: it carries a signature of its own, or
// nobody has to allow it.
bool MayBeginChain(const crypto::Entry& entry) {
  if (entry.Find(tag::kPublicKey) != nullptr) return true;
  switch (entry.kind) {
    case kind::kLogStarted:
    case kind::kExceptionRaised:
    case kind::kRoundAbandoned:
    case kind::kBundleSigned:
      return true;
    default:
      return false;
  }
}

Uuid IdOr(const crypto::Entry& entry, uint16_t tag) { return entry.IdAt(tag).value_or(Uuid{}); }

std::string BytesOr(const crypto::Entry& entry, uint16_t tag) {
  const auto bytes = entry.Bytes(tag);
  return bytes.ok() ? std::string(*bytes) : std::string();
}

// Keys by who holds them, as the log registered them.
struct Keys {
  std::map<Uuid, std::string> principals;
  std::map<Uuid, std::string> agents;
  std::map<Uuid, std::set<std::string>> with_agents;  // a principal's own and its agents'

  std::string founder;  // of the log's first founding

  explicit Keys(const Log& log) {
    const std::vector<size_t>& founded = log.OfKind(kind::kCooperativeFounded);
    if (!founded.empty()) founder = BytesOr(log.at(founded.front()), tag::kPublicKey);
    for (const size_t i : log.OfKind(kind::kPrincipalRegistered)) {
      const crypto::Entry& entry = log.at(i);
      const std::string key = BytesOr(entry, tag::kRegisteredKey);
      principals.emplace(entry.subject, key);
      with_agents[entry.subject].insert(key);
    }
    for (const size_t i : log.OfKind(kind::kAgentRegistered)) {
      const crypto::Entry& entry = log.at(i);
      const std::string key = BytesOr(entry, tag::kRegisteredKey);
      agents.emplace(entry.subject, key);
      with_agents[IdOr(entry, tag::kPrincipal)].insert(key);
    }
  }

  static bool Has(const std::map<Uuid, std::string>& keys, const Uuid& holder,
                  const std::string& key) {
    const auto found = keys.find(holder);
    return found != keys.end() && found->second == key;
  }
};

// Whether the entry's signer is who has to sign entries of this kind.
bool IsRightSigner(const crypto::Entry& entry, const Keys& keys) {
  const std::string signer = BytesOr(entry, tag::kPublicKey);
  const Uuid principal = IdOr(entry, tag::kPrincipal);
  switch (entry.kind) {
    case kind::kLogStarted:  // one that restarts a log
      return signer.empty() || signer == keys.founder;
    case kind::kPrincipalRegistered:
      return signer == BytesOr(entry, tag::kRegisteredKey);
    case kind::kAgentRegistered:
    case kind::kMandateGranted:
      return Keys::Has(keys.principals, principal, signer);
    case kind::kMembershipRequested:
    case kind::kMembershipConsented:
    case kind::kMembershipLeft:
    case kind::kProfileSet:
      return Keys::Has(keys.principals, entry.subject, signer);
    case kind::kUpdateCommitted:
      return Keys::Has(keys.agents, IdOr(entry, tag::kAgent), signer);
    case kind::kTransferPosted: {
      if (signer.empty()) return true;
      const auto found = keys.with_agents.find(principal);
      return found != keys.with_agents.end() && found->second.contains(signer);
    }
    default:
      return true;
  }
}

// Of the principal that the entry says: an agent acts for its own principal only.
bool IsOwnAgent(const Log& log, const crypto::Entry& entry) {
  if (entry.kind != kind::kUpdateCommitted && entry.kind != kind::kMandateGranted) return true;
  const crypto::Entry* agent = log.Only(kind::kAgentRegistered, IdOr(entry, tag::kAgent));
  return agent != nullptr && IdOr(*agent, tag::kPrincipal) == IdOr(entry, tag::kPrincipal);
}

// What an entry of one kind has to be allowed by, where only one kind will do; 0: any.
uint16_t AuthorKind(const crypto::Entry& entry) {
  switch (entry.kind) {
    case kind::kUpdateCommitted: return kind::kMandateGranted;
    case kind::kComparisonEnded: return kind::kComparisonStarted;
    case kind::kUpdateReceived:
    case kind::kUpdateExpired:
    case kind::kDecisionMade: return kind::kUpdateCommitted;
    case kind::kCreditAssigned:
    case kind::kUpdateApplied: return kind::kDecisionMade;
    case kind::kStatementIssued:
    case kind::kEpochSettled: return kind::kEpochClosed;
    case kind::kEpochClosed: return kind::kPoolCreated;
    default: return 0;
  }
}

}  // namespace

void CheckAuthority(const Log& log, Report& report) {
  Check& check = report.Begin("authority");
  const Keys keys(log);
  size_t roots = 0;
  for (const crypto::Entry& entry : log.entries()) {
    const crypto::Entry* author = log.Find(entry.authorised_by);
    const uint16_t wanted = AuthorKind(entry);
    if (entry.authorised_by.IsZero()) {
      ++roots;
      check.Need(MayBeginChain(entry) && wanted == 0, NameOf(log, entry), "nothing allowed it");
    } else if (author == nullptr) {
      check.Fail(NameOf(log, entry), absl::StrCat("what allowed it is not in the log: event ",
                                                  entry.authorised_by.ToString()));
    } else {
      check.Need(author != &entry && (wanted == 0 || author->kind == wanted), NameOf(log, entry),
                 absl::StrCat("it cannot be allowed by ", NameOf(log, *author)));
    }
    check.Need(IsRightSigner(entry, keys), NameOf(log, entry),
               "its signer is not who has to sign it");
    check.Need(IsOwnAgent(log, entry), NameOf(log, entry), "its agent is another principal's");
  }
  check.Say(absl::StrCat(log.entries().size() - roots, " entries with what allowed them, ", roots,
                         " that begin a chain"));
}

}  // namespace rochdale::verify
