// Asks witnesses to cosign tree heads, and what they remember.
//
// Each witness has a thread of its own, so that one that is away or slow delays nobody: neither the
// ledger, which never waits for it, nor the others. Only the newest head is submitted; those that
// were signed while a witness was away stay without its cosignature.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/obs/log.h"
#include "libs/obs/metrics.h"
#include "libs/pg/database.h"
#include "services/ledger/tree_heads.h"
#include "services/ledger/witness_client.h"

namespace rochdale::ledger {

inline constexpr int kWitnessesMax = 16;

class Cosigning {
 public:
  // `leading`: whether this replica signs. `contradicted` is told of a checkpoint that a witness
  // remembers and the database does not agree with (DATA_LOSS): the log was taken back or changed.
  // Everything given outlives it.
  Cosigning(std::vector<WitnessName> witnesses, pg::Database& db, TreeHeads& heads,
            const obs::Logger& logger, obs::Metrics& metrics, std::function<bool()> leading,
            std::function<void(const absl::Status&)> contradicted);
  ~Cosigning();  // stops

  // Before Start: what each witness remembers is made known to the tree heads, whose Check then
  // answers for it too. A witness that does not answer within seconds is logged and left out.
  void AskWhatTheyRemember();

  void Start();
  void Stop();  // within the seconds that a witness has to answer; idempotent
  // A tree head was signed.
  void Wake();

 private:
  struct Witness;
  void Run(Witness& witness);
  // One round: submits the newest head unless it is cosigned.
  absl::Status Submit(Witness& witness);
  absl::StatusOr<crypto::AddCheckpoint> RequestFor(const TreeHead& head, int64_t old_size);
  // After a refusal that a log which only grows does not get.
  absl::Status Examine(Witness& witness, const std::string& refusal);

  pg::Database& db_;
  TreeHeads& heads_;
  const obs::Logger& logger_;
  const std::function<bool()> leading_;
  const std::function<void(const absl::Status&)> contradicted_;
  std::vector<std::unique_ptr<Witness>> witnesses_;

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t wakes_ = 0;
  bool stopping_ = false;
};

}  // namespace rochdale::ledger
