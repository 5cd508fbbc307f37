// What governance keeps, as values.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/sha256.h"
#include "libs/crypto/signed_document.h"

namespace rochdale::governance {

// The same numbers as rochdale.governance.v1.MembershipState.
enum class MembershipState {
  kNone = 0,
  kRequested = 1,
  kApproved = 2,
  kMember = 3,
  kLeft = 4,
  kConsentOutdated = 5,  // never stored: a MEMBER whose rules_version is behind
};

struct PoolAccount {
  std::string name;
  AccountId account;
  Uuid owner;  // the principal, or the cooperative
  bool owned_by_principal = false;
  int64_t amount = 0;  // micro-tokens minted at genesis
};

struct Cooperative {
  CooperativeId id;
  std::string slug;
  std::string name;
  crypto::Digest genesis;
  std::vector<crypto::PublicKey> founders;
  int founder_threshold = 1;
  int64_t rules_version = 0;
  int64_t parameters_version = 0;
  absl::Time founded;
  EventId event;
  bool is_network_founder = false;
  std::vector<PoolAccount> pools;
};

// What a verifier attested about a principal last.
struct Kyc {
  int level = 0;  // as attested; see KycLevelAt for the one in force
  absl::Time expires = absl::UnixEpoch();
  absl::Time signed_at = absl::UnixEpoch();  // the epoch: nothing was attested
  EventId event;
  std::vector<crypto::Digest> owners;  // ids of the beneficial owners, increasing; never expire
};

struct Principal {
  PrincipalId id;
  int kind = 0;  // v1.PrincipalKind
  std::string display_name;
  crypto::PublicKey key;
  absl::Time registered;
  EventId event;
  Kyc kyc;
};

struct Agent {
  AgentId id;
  PrincipalId principal;
  crypto::PublicKey key;
  std::string display_name;
  bool paused = false;
  absl::Time registered;
  EventId event;
};

struct Member {
  CooperativeId cooperative;
  PrincipalId principal;
  MembershipState state = MembershipState::kNone;
  int64_t rules_version = 0;
  absl::Time changed;
  EventId event;
};

struct Mandate {
  MandateId id;
  CooperativeId cooperative;
  PrincipalId principal;
  AgentId agent;
  crypto::Digest document;
  std::vector<int32_t> actions;  // v1.MandateAction
  absl::Time not_before;
  absl::Time expires;
  absl::Time revoked = absl::UnixEpoch();  // the epoch: it stands
  EventId event;
  // As signed; read from the document, or by the ledger from the entry, where needed later.
  int64_t delegation_depth = 0;
  int64_t budget_per_day = 0;  // micro-tokens
  int64_t budget_total = 0;    // micro-tokens
  std::vector<AccountId> counterparties;  // empty: any

  bool IsRevoked() const { return revoked != absl::UnixEpoch(); }
};

struct ParameterChange {
  int64_t version = 0;
  std::string name;
  std::string value;
  absl::Time changed;
  crypto::Digest document;
  EventId event;
};

// The parameters of a cooperative that differ from the catalogue's defaults.
struct StoredParameters {
  int64_t version = 0;
  std::map<std::string, std::string> values;
  std::map<std::string, int64_t> changed_versions;
};

struct RaisedException {
  Uuid id;
  CooperativeId cooperative;
  int kind = 0;  // v1.ExceptionKind
  Uuid subject;
  std::string description;
  std::string evidence;  // 32 bytes or empty
  absl::Time raised;
  EventId event;
};

// A key and whose it is.
struct KeyOwner {
  PrincipalId principal;
  AgentId agent;  // zero: the principal's own key
};

}  // namespace rochdale::governance
