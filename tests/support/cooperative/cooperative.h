// A cooperative without servers: rounds played by the product's own pure code, from submitted
// deltas to credits and the next checkpoint. The filter screens and decides (filter/screening.h,
// deciding.h), attribution draws the rows, evaluates the game exactly, settles it, and keeps the
// best checkpoint (attribution/draw.h, game.h, rules.h). What is left out is what carries it: rpc,
// database, log, deadlines, signatures.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/blob/blob_store.h"
#include "libs/config/parameters.h"
#include "libs/learning/dataset.h"
#include "libs/learning/grid.h"
#include "libs/learning/model.h"
#include "services/attribution/game.h"
#include "services/filter/composition.h"
#include "services/filter/domain.h"
#include "tests/support/cooperative/training.h"

namespace rochdale::simulated {

struct Rules {
  config::ParameterSet parameters;
  // Every agent is a contributor of its own, whoever its principal is; else a principal may have
  // one update in a round, as the filter's store demands.
  bool literal = false;
  // Counted among the lineages though they submit nothing: smaller weights for those who do.
  int absent_lineages = 0;
};

// The product's defaults, with this many settlement rows.
Rules HardenedRules(int64_t rows_per_round);
// The seed's formulas as they stand: solo credit, and a filter that neither compares nor clips.
Rules LiteralRules(int64_t rows_per_round);

// All principals without an attested owner are one lineage.
Rules WithUnattestedTogether(Rules rules);

struct Submission {
  int principal = 0;
  Delta delta;
  std::optional<int> owner = std::nullopt;  // as attested
};

// What became of one submission.
struct Fate {
  int principal = 0;
  bool applied = false;
  std::string reason;          // why not: of the list of errors
  int64_t credit = 0;          // nano-nats per row
  int64_t estimate = 0;
  int64_t standard_error = 0;
  int64_t r1_micro = 0;        // originality, as measured
};

struct PlayedRound {
  std::vector<Fate> fates;        // in the order of commitment
  int64_t lineages = 0;
  int64_t base_loss = 0;          // means over the settlement rows, nano-nats
  int64_t applied_loss = 0;
  int64_t visible_gain = 0;       // base - applied, mean over visible rows
  bool overfit_alarm = false;
};

class Cooperative {
 public:
  // `pool` outlives this. The seed decides initial parameters, split and draws.
  Cooperative(const learning::ModelSpec& spec, Rules rules, const learning::Dataset& pool,
              uint64_t seed);
  ~Cooperative();

  // Submissions in the order of commitment; at least one.
  absl::StatusOr<PlayedRound> Play(const std::vector<Submission>& submissions);

  const learning::ModelSpec& spec() const { return spec_; }
  learning::GridSpan base() const { return base_; }
  int round() const { return round_; }  // rounds played
  // Pool rows whose scores are released.
  const std::vector<int64_t>& visible() const { return visible_; }
  // The last round's visible loss as released, nano-nats; nothing before the first.
  std::optional<int64_t> released_loss() const { return released_loss_; }
  // Sum of credits by principal.
  const std::map<int, int64_t>& credits() const { return credits_; }

 private:
  struct Screening;
  absl::StatusOr<Screening> Screen(const std::vector<Submission>& submissions);
  absl::StatusOr<attribution::Game> EvaluateGame(
      const std::vector<learning::GridVector>& weighted, learning::Rows rows,
      const attribution::GameRule& rule) const;
  absl::Status Release(const learning::GridVector& next, PlayedRound& played);
  crypto::Digest RoundSeed() const;
  learning::Dataset DrawnRows() const;

  const learning::ModelSpec spec_;
  const Rules rules_;
  const learning::Dataset& pool_;
  const uint64_t seed_;
  std::string dir_;
  std::unique_ptr<blob::BlobStore> store_;
  filter::RuleSet floor_;
  std::vector<int64_t> visible_;
  learning::GridVector base_, best_;
  std::vector<std::vector<filter::Update>> recent_;  // by round, oldest first
  int round_ = 0;
  std::optional<int64_t> released_loss_;
  std::map<int, int64_t> credits_;
};

// What attribution::Settle gives under the literal preset, from the empty and the solo coalitions
// alone: the others would cost as much as all the rest of a history.
attribution::GameResult LiteralResult(const attribution::Game& game);

// Part of `rows` whose label is the class of the largest logit.
double Accuracy(const learning::ModelSpec& spec, learning::GridSpan parameters,
                learning::Rows rows);
// Mean loss over `rows`, nats.
double MeanLossOf(const learning::ModelSpec& spec, learning::GridSpan parameters,
                  learning::Rows rows);

}  // namespace rochdale::simulated
