// The rpc by which KYC verifiers attest levels.
#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/pg/database.h"
#include "libs/pg/documents.h"
#include "libs/rpc/handle.h"
#include "libs/service/mutation.h"
#include "services/governance/convert.h"
#include "services/governance/cooperative_store.h"
#include "services/governance/governance_service.h"
#include "services/governance/registry_store.h"
#include "services/governance/rules.h"

namespace rochdale::governance {
namespace {

namespace tag = crypto::tag;
namespace kind = crypto::kind;

std::string PackedOwners(const Kyc& kyc) {
  std::string packed;
  for (const crypto::Digest& owner : kyc.owners) absl::StrAppend(&packed, owner.AsBytes());
  return packed;
}

bool Contains(const std::vector<crypto::PublicKey>& keys, const crypto::PublicKey& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// The entry that makes the key a verifier's: the founding of the network. The zero id where it is
// the operator's configuration, which no entry shows. KYC_VERIFIER_UNKNOWN for any other key.
absl::StatusOr<EventId> AuthorityOfVerifier(pg::Transaction& tx,
                                            const std::vector<crypto::PublicKey>& configured,
                                            const crypto::PublicKey& key) {
  if (Contains(configured, key)) return EventId{};
  if (configured.empty()) {
    ASSIGN_OR_RETURN(const std::optional<Cooperative> first, FindFirstCooperative(tx));
    if (first && Contains(first->founders, key)) return first->event;
  }
  return Error("KYC_VERIFIER_UNKNOWN", "the signer is not a registered KYC verifier");
}

}  // namespace

grpc::Status GovernanceService::AttestKyc(grpc::ServerContext* context,
                                          const v1::AttestKycRequest* request,
                                          v1::AttestKycResponse* response) {
  return rpc::Handle(context, env_.calls, [&](const rpc::Call& call) -> absl::Status {
    ASSIGN_OR_RETURN(const Signed<KycAttestation> wanted,
                     ParseKycAttestation(request->attestation(), call.now));
    EventId event;
    const crypto::EntryBuilder entry = NewEntry(kind::kKycAttested, call, event);
    return service::Mutate(env_.db, call, *request, response, [&](pg::Transaction& tx)
                                                                  -> absl::Status {
      ASSIGN_OR_RETURN(const EventId authorised_by,
                       AuthorityOfVerifier(tx, kyc_verifiers_, wanted.document.public_key));
      // Locked: of two attestations at once the second sees the first.
      ASSIGN_OR_RETURN(std::optional<Principal> principal,
                       FindPrincipalForUpdate(tx, wanted.body.principal));
      if (!principal) return Error("NOT_FOUND", "no such principal");
      Kyc kyc = wanted.body.kyc;
      kyc.event = event;
      RETURN_IF_ERROR(MayAttest(principal->kyc, kyc));
      principal->kyc = kyc;
      RETURN_IF_ERROR(pg::StoreDocument(tx, wanted.document));
      RETURN_IF_ERROR(SetKyc(tx, principal->id, kyc));
      crypto::EntryBuilder once = entry;
      once.Subject(principal->id)
          .AuthorisedBy(authorised_by.IsZero() ? principal->event : authorised_by)
          .U64(tag::kKycLevel, kyc.level)
          .I64(tag::kExpiresUs, absl::ToUnixMicros(kyc.expires))
          .Document(wanted.document);
      if (!kyc.owners.empty()) once.Bytes(tag::kOwners, PackedOwners(kyc));
      RETURN_IF_ERROR(Log(tx, once));
      ToProto(*principal, /*with_name=*/false, call.now, *response->mutable_principal());
      return absl::OkStatus();
    });
  });
}

}  // namespace rochdale::governance
