// A small cooperative with everything an evidence bundle can hold: three members (or more: above
// ten Shapley is sampled), two rounds on a 16-8-4 network evaluated exactly, two epochs paid.
// Written entry by entry, so that a test can make an operator lie: each fault below is signed by
// the log's key and agrees with the manifest.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "nlohmann/json.hpp"
#include "libs/base/ids.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/note.h"
#include "libs/crypto/signed_document.h"
#include "libs/learning/aggregation.h"
#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "services/attribution/evidence.h"

namespace rochdale::verify {

// Bounds of its floor on two probes, the second as it is governed where nobody changed it.
inline constexpr int64_t kFalseEpsNanonats = 25'000'000, kGovernedEpsNanonats = 10'000'000;

enum class Fault {
  kNone,
  kRefusedIsCredited,      // a refused update gets a CREDIT_ASSIGNED
  kRefusedIsApplied,       // ... or an UPDATE_APPLIED
  kMildVerdict,            // findings say DENY, body and log say ALLOW
  kVerdictAgainstNumbers,  // measured exceeds the threshold, the finding says ALLOW
  kFloorStopsEarly,        // a finding of the floor that stands on some rows
  kEarlyBeyondHalf,        // one of a profile that stands on more than half of them
  kOtherProbeRows,         // ... or of a probe with other rows than were registered
  kUnsignedCommitment,     // an UPDATE_COMMITTED signed by another key than the agent's
  kNoAuthority,            // an entry that nothing allowed
  kWrongSeed,              // the seed does not open its commitment
  kChosenRows,             // rows other than the seed draws
  kWrongSums,              // a sum of losses is one off
  kWrongCredit,            // a credit is one off, in evidence and log
  kWrongNext,              // the next checkpoint is another one
  kWrongBlob,              // a blob of another update under its digest's name
  kWrongShare,             // one micro-token moves from one share to another
  kPaidTwice,              // a second reward for one statement
  kPaidNothing,            // a statement without its reward
  kCreditCountedTwice,     // a credit in the statements of two epochs
  kCreditLeftOut,          // a credit of a covered round in no statement
  kOverdraft,              // an account below its floor
  kMintedLater,            // tokens made by somebody else than the founding
  kOtherOrder,             // a transfer of another amount than its signed order
  kNotSettled,             // an epoch without EPOCH_SETTLED
  kWrongStatement,         // statements/ says another payment
  kOtherTolerance,         // ... or that exact credits have a tolerance
  kWrongCreditFile,        // credits/ says another credit
  kForgedHead,             // an earlier checkpoint with another root
  kExpiredMandate,         // agents commit after their mandate's end
  kOtherMandate,           // mandates that were signed for somebody else
  kStrangersPlan,          // a round that no founder planned
  kOtherBudget,            // a mandate's entry allows more than was signed
  kOtherKyc,               // a KYC level's entry says more than was signed
  kOtherParameter,         // a first value that is not in the genesis
  kOtherVerdict,           // an A/B test is said to be won by the other one
  // Of the test of values that refused an update:
  kOtherRefusal,           // the others are refused instead
  kRefusedIsKept,          // nobody is
  kValuesDropped,          // the evidence does not say what was tested
  kValuesNeverTested,      // nor is anybody refused
  kBoundDropped,           // a probe of the floor is not tested
  kBoundLifted,            // its bound is higher than the floor has it
  kOtherValueSums,         // the sums say that nobody was to be refused
  kOtherReason,            // the log says that the refused update was harmful
  kLateStop,               // an A/B test went on after the look that ended it
  kOtherLineages,          // the evidence has another number of lineages than the log
  kTwoOfALineage,          // a copy of which the log says that it was admitted
  // Of five members (the fifth is of the first's owner, and refused):
  kOwnersSecond,           // the fifth is admitted, as a lineage of its own
  kAttestationHidden,      // ... because its decision names an attestation without owners
  kOwnersApart,            // refused, but counted as a lineage of its own
  kOwnerOfNobody,          // the fourth is refused for an owner that it shares with nobody
  kOtherOwner,             // the entry of an attestation has another owner than was signed
  // Of a log that was restarted:
  kRestartByStranger,      // a statement that the operator's signature is not under
  kRestartOfNothing,       // the checkpoint it shows is not beyond what was kept
  kRestartOfAnother,       // the entries kept have another root than it says
  kRestartToldOtherwise,   // the entry says another size than was signed
  kOtherShare,             // weights that do not follow from samples or credits
};

class SampleCooperative {
 public:
  // `restarted`: the log lost entries before the first round, and goes on under a new origin.
  // `model` has 16 inputs and 4 classes. With five members the fifth is of the first's owner.
  explicit SampleCooperative(
      Fault fault = Fault::kNone, int members = 3, bool restarted = false,
      const learning::ModelSpec& model = {learning::ModelKind::kMlp, {16, 8, 4}},
      learning::AggregationRule rule = learning::AggregationRule::kMean);

  // Every file of the bundle by path, manifest and signature included.
  const std::map<std::string, std::string>& files() const { return files_; }
  // Puts other bytes in a file's place (or a new file) and signs the manifest again.
  void Replace(const std::string& path, const std::string& bytes);
  // Writes them below `folder`, which exists.
  void Write(const std::string& folder) const;
  // The same as an uncompressed ustar archive.
  std::string Archive() const;

  crypto::NoteKey origin() const;
  UpdateId credited_update() const { return credited_; }
  UpdateId refused_update() const { return refused_; }
  // A receipt of the entry at this index, with the entry in its extra line.
  std::string Receipt(uint64_t index) const;

 private:
  struct Member {
    std::string name;
    PrincipalId principal;
    AgentId agent;
    crypto::KeyPair key;
    crypto::KeyPair agent_key;
    EventId registered, mandate, attested;
    int64_t cumulative = 0;
  };
  struct Update {
    UpdateId id;
    size_t member = 0;
    learning::GridVector effective;
    std::string blob;
    EventId committed, decided;
  };
  struct Credited {
    size_t member = 0;
    UpdateId update;
    EventId event, decision;
    attribution::EvidenceCredit credit;
    int64_t round_number = 0;
    bool applied = false;
  };

  bool Is(Fault fault) const { return fault_ == fault; }
  crypto::EntryBuilder Entry(uint16_t kind, EventId* event);
  // Its event id follows from the transfer's.
  crypto::EntryBuilder TransferEntry(const Uuid& transfer);
  void Append(crypto::EntryBuilder& builder);
  crypto::SignedDocument Sign(const crypto::KeyPair& key, const std::string& type,
                              const std::string& body, bool publish = true);
  Uuid NewId(const std::string& what) const;

  void Found();
  void Join(Member& member);
  std::string ForCooperative() const;  // body of a document
  void MakeModel();
  void Restart();
  void RunRound(int64_t number);
  // The entry of an attestation of level and owner (may be empty) that holds for long.
  EventId Attest(const PrincipalId& principal, int level, const std::string& owner);
  Update Commit(int64_t number, size_t member, const RoundId& round);
  // Why the member's update is refused; empty where it is not.
  std::string ReasonOf(int64_t number, size_t member) const;
  void Decide(Update& update, const RoundId& round, const std::string& reason,
              const UpdateId& lineage);
  learning::Aggregation AggregationOf(const std::vector<Update>& admitted);
  void Settle(int64_t number, const RoundId& round, const EventId& opened,
              const std::vector<Update>& admitted);
  attribution::AggregateValues TestValues(
      uint64_t gate,
      absl::FunctionRef<std::vector<int64_t>(const std::vector<uint64_t>&, learning::Rows)> losses);
  void LieAboutValues(uint64_t gate, uint64_t& applied, attribution::AggregateValues& values);
  const char* NotAppliedReason(const attribution::EvidenceCredit& credit) const {
    return credit.harmful || Is(Fault::kOtherReason) ? "NOT_APPLIED_HARMFUL"
                                                     : "NOT_APPLIED_VALUES";
  }
  nlohmann::json Floor() const;
  // Probes of the cooperative that its floor bounds.
  attribution::ProbeId FalseProbe() const {
    return attribution::ProbeId{NewId("probe with false labels")};
  }
  attribution::ProbeId LearntProbe() const { return attribution::ProbeId{NewId("learnt probe")}; }
  void LogRound(const attribution::Evidence& evidence, const EventId& opened,
                const std::vector<Update>& admitted, const crypto::Digest& digest);
  void Compare();  // what the first round started from with what it made
  void PayRevenue(int64_t amount);
  void CloseEpoch(int64_t number, int64_t revenue);
  void PutBlob(const std::string& bytes);
  void Publish();
  void Seal();

  Fault fault_;
  bool of_five_ = false;
  learning::AggregationRule rule_;
  crypto::KeyPair log_key_, founder_;
  CooperativeId cooperative_;
  Uuid probe_;
  PrincipalId customer_;
  crypto::KeyPair customer_key_;
  EventId founded_, customer_registered_, model_event_, pool_event_;
  AccountId supply_, customer_account_, pool_account_;
  PoolId pool_;
  std::vector<Member> members_;
  std::string origin_;
  std::vector<std::string> leaves_;
  std::map<std::string, std::string> files_;
  int64_t time_us_ = 1'760'000'000'000'000;

  learning::ModelSpec spec_;
  learning::GridVector base_;
  crypto::Digest best_;
  learning::Dataset pool_rows_;
  crypto::Digest pool_digest_, split_seed_;
  std::vector<int64_t> visible_;
  std::vector<attribution::Evidence> rounds_;
  std::vector<Credited> credits_;          // of the round before the next epoch
  std::vector<Credited> all_credits_;
  UpdateId credited_, refused_;
  int64_t lineages_ = 0;                   // of the round before
  size_t first_head_ = 0;
};

}  // namespace rochdale::verify
