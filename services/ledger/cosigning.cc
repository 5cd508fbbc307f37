#include "services/ledger/cosigning.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/merkle.h"
#include "services/ledger/cosignature_store.h"
#include "services/ledger/log_store.h"
#include "services/ledger/tile_store.h"

namespace rochdale::ledger {
namespace {

constexpr absl::Duration kLookEvery = absl::Seconds(1);
constexpr absl::Duration kPauseMin = absl::Seconds(1);
constexpr absl::Duration kPauseMax = absl::Minutes(1);
constexpr absl::Duration kReadTimeMax = absl::Seconds(10);
constexpr pg::TransactOptions kReadOnly{pg::Isolation::kRepeatableRead, /*read_only=*/true};

absl::Time Deadline() { return absl::Now() + kReadTimeMax; }

}  // namespace

struct Cosigning::Witness {
  explicit Witness(WitnessName name) : client(std::move(name)) {}
  const std::string& name() const { return client.name().key.name; }

  WitnessClient client;
  obs::Counter cosigned, refused, away;
  obs::Gauge cosigned_size, lag_entries;
  int64_t size = -1;     // that it cosigned last; -1: not read yet
  int64_t old_size = 0;  // that it remembers, as far as is known here
  absl::Duration pause = kPauseMin;
  absl::Time not_before = absl::InfinitePast();
  std::thread thread;
};

Cosigning::Cosigning(std::vector<WitnessName> witnesses, pg::Database& db, TreeHeads& heads,
                     const obs::Logger& logger, obs::Metrics& metrics,
                     std::function<bool()> leading,
                     std::function<void(const absl::Status&)> contradicted)
    : db_(db),
      heads_(heads),
      logger_(logger),
      leading_(std::move(leading)),
      contradicted_(std::move(contradicted)) {
  if (witnesses.empty()) return;
  const obs::CounterFamily requests = metrics.Counters(
      "rochdale_ledger_witness_requests_total",
      "Tree heads that a witness cosigned, refused, or did not answer for.", {"witness", "result"});
  const obs::GaugeFamily sizes = metrics.Gauges(
      "rochdale_ledger_cosigned_size", "Size of the newest tree head that a witness cosigned.",
      {"witness"});
  const obs::GaugeFamily lags = metrics.Gauges(
      "rochdale_ledger_witness_lag_entries",
      "Entries under the newest signed tree head that are not under a cosigned one.", {"witness"});
  for (WitnessName& name : witnesses) {
    auto witness = std::make_unique<Witness>(std::move(name));
    witness->cosigned = requests.With({witness->name(), "cosigned"});
    witness->refused = requests.With({witness->name(), "refused"});
    witness->away = requests.With({witness->name(), "away"});
    witness->cosigned_size = sizes.With({witness->name()});
    witness->lag_entries = lags.With({witness->name()});
    witnesses_.push_back(std::move(witness));
  }
}

Cosigning::~Cosigning() { Stop(); }

void Cosigning::AskWhatTheyRemember() {
  for (const auto& witness : witnesses_) {
    const auto note = witness->client.LastCheckpoint(heads_.origin());
    absl::Status status = note.status();
    if (note.ok() && note->has_value()) {
      status = heads_.Remember(witness->client.name().url, **note);
    }
    if (status.ok()) continue;
    logger_.Warning("it is not known what a witness remembers",
                    obs::Fields().Text("witness", witness->name()).Text("error",
                                                                       status.ToString()));
  }
}

void Cosigning::Start() {
  for (const auto& witness : witnesses_) {
    witness->thread = std::thread([this, &witness = *witness] { Run(witness); });
  }
}

void Cosigning::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (const auto& witness : witnesses_) {
    if (witness->thread.joinable()) witness->thread.join();
  }
}

void Cosigning::Wake() {
  std::lock_guard lock(mutex_);
  ++wakes_;
  changed_.notify_all();
}

void Cosigning::Run(Witness& witness) {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    seen = wakes_;
    lock.unlock();
    if (leading_() && absl::Now() >= witness.not_before) {
      const absl::Status status = Submit(witness);
      if (status.ok()) {
        witness.pause = kPauseMin;
      } else {
        (absl::IsUnavailable(status) ? witness.away : witness.refused).Add();
        logger_.Warning("a tree head was not cosigned", obs::Fields()
                                                            .Text("witness", witness.name())
                                                            .Text("error", status.ToString()));
        witness.not_before = absl::Now() + witness.pause;
        witness.pause = std::min(2 * witness.pause, kPauseMax);
      }
    }
    lock.lock();
    changed_.wait_for(lock, absl::ToChronoMicroseconds(kLookEvery),
                      [&] { return stopping_ || wakes_ != seen; });
  }
}

absl::StatusOr<crypto::AddCheckpoint> Cosigning::RequestFor(const TreeHead& head,
                                                            int64_t old_size) {
  crypto::AddCheckpoint request;
  request.old_size = static_cast<uint64_t>(old_size);
  request.checkpoint = head.note;
  if (old_size == 0 || old_size == head.size) return request;
  ASSIGN_OR_RETURN(request.proof, db_.Transact(
                                      Deadline(),
                                      [&](pg::Transaction& tx) {
                                        crypto::TileReader tiles = TilesIn(tx, head.size);
                                        return crypto::ConsistencyProof(old_size, head.size,
                                                                        tiles.Nodes());
                                      },
                                      kReadOnly));
  return request;
}

absl::Status Cosigning::Submit(Witness& witness) {
  if (witness.size < 0) {
    ASSIGN_OR_RETURN(witness.size, db_.Transact(
                                       Deadline(),
                                       [&](pg::Transaction& tx) {
                                         return FindCosignedSize(tx, witness.name());
                                       },
                                       kReadOnly));
    witness.old_size = witness.size;
    witness.cosigned_size.Set(static_cast<double>(witness.size));
  }
  ASSIGN_OR_RETURN(const std::optional<TreeHead> head,
                   db_.Transact(Deadline(), FindNewestTreeHead, kReadOnly));
  if (!head.has_value() || head->size <= witness.size) {
    witness.lag_entries.Set(0);
    return absl::OkStatus();
  }
  witness.lag_entries.Set(static_cast<double>(head->size - witness.size));
  WitnessAnswer answer;
  // The second time with the size that the witness said it remembers.
  for (int attempt = 0; attempt < 2; ++attempt) {
    ASSIGN_OR_RETURN(const crypto::AddCheckpoint request, RequestFor(*head, witness.old_size));
    ASSIGN_OR_RETURN(answer, witness.client.Add(request));
    if (!answer.known_size.has_value()) break;
    const auto known = static_cast<int64_t>(*answer.known_size);
    if (known > head->size || known == witness.old_size) break;
    witness.old_size = known;
  }
  if (answer.cosignature.empty()) return Examine(witness, answer.refusal);
  RETURN_IF_ERROR(db_.Transact(Deadline(), [&](pg::Transaction& tx) {
    return InsertCosignature(tx, head->size, witness.name(), answer.cosignature);
  }));
  witness.size = witness.old_size = head->size;
  witness.cosigned.Add();
  witness.cosigned_size.Set(static_cast<double>(head->size));
  witness.lag_entries.Set(0);
  return absl::OkStatus();
}

absl::Status Cosigning::Examine(Witness& witness, const std::string& refusal) {
  const absl::Status refused = absl::FailedPreconditionError(
      absl::StrCat(witness.client.name().url, " refused a tree head: ", refusal));
  const auto note = witness.client.LastCheckpoint(heads_.origin());
  if (!note.ok() || !note->has_value()) return refused;
  RETURN_IF_ERROR(heads_.Remember(witness.client.name().url, **note));
  // Read after the answer of the witness: another replica may have signed more meanwhile.
  const absl::Status checked = db_.Transact(
      Deadline(),
      [&](pg::Transaction& tx) -> absl::Status {
        ASSIGN_OR_RETURN(const TreeState state, ReadTreeState(tx));
        return heads_.Check(tx, state);
      },
      kReadOnly);
  if (absl::IsDataLoss(checked)) contradicted_(checked);
  return refused;
}

}  // namespace rochdale::ledger
