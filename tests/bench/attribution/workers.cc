#include "tests/bench/attribution/workers.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

#include "libs/learning/dataset.h"
#include "libs/learning/evaluator.h"
#include "libs/tensor/flat.h"
#include "services/attribution/parameters_file.h"
#include "services/attribution/worker/evaluation.h"
#include "tests/bench/attribution/processes.h"

namespace rochdale::bench {
namespace {

constexpr int64_t kShards = 16;

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

// The next shard to claim, shared by the processes of one turn.
class Counter {
 public:
  Counter() {
    void* page = mmap(nullptr, sizeof(std::atomic<int64_t>), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) Fail("mmap");
    next_ = new (page) std::atomic<int64_t>(0);
  }
  ~Counter() { munmap(next_, sizeof(*next_)); }
  int64_t Next() { return next_->fetch_add(1); }

 private:
  std::atomic<int64_t>* next_;
};

std::string EffectiveFile(learning::GridSpan update, const learning::ModelSpec& spec) {
  return tensor::SerializeFlatI32(learning::ManifestOf(spec, tensor::DType::kI32), update)
      .value();
}

}  // namespace

WorkerRun::WorkerRun(const Game& game) {
  auto keep = [&](std::string file) {
    const crypto::Digest digest = crypto::Sha256(file);
    blobs_[digest.ToString()] = std::move(file);
    return digest;
  };
  spec_.model = game.spec;
  spec_.base = keep(attribution::SerializeCheckpoint(game.base, game.spec));
  attribution::RunPart part;
  for (const learning::GridVector& update : game.updates) {
    part.updates.push_back(static_cast<int>(spec_.updates.size()));
    spec_.updates.push_back({UpdateId(), keep(EffectiveFile(update, game.spec))});
  }
  part.data = keep(learning::SerializeDataset(game.rows));
  part.rows = game.rows.count();
  part.masks = game.masks;
  spec_.parts = {part};
  shards_ = attribution::PlanShards(spec_, part.rows / kShards, part.candidates());
}

double WorkerRun::Seconds(int processes) const {
  Counter counter;
  const int64_t shards = static_cast<int64_t>(shards_.size());
  learning::HostEvaluator evaluator;
  std::unique_ptr<attribution::RunEvaluation> evaluation;  // of each child
  return ParallelSeconds(processes, [&](int) {
    auto evaluate = [&](const attribution::ShardRange& shard) {
      const auto result = evaluation->Evaluate(shard);
      if (!result.ok() || result->failure) Fail("a shard failed");
    };
    if (evaluation == nullptr) {  // the first call warms up: files are read and parsed
      evaluation = std::make_unique<attribution::RunEvaluation>(
          spec_, [&](const crypto::Digest& digest) -> absl::StatusOr<std::string> {
            return blobs_.at(digest.ToString());
          },
          evaluator);
      evaluate(shards_[0]);
      return;
    }
    for (int64_t next = counter.Next(); next < shards; next = counter.Next()) {
      evaluate(shards_[next]);
    }
  });
}

}  // namespace rochdale::bench
