// Candidates of one call share what they have in common: f64 for the exact evaluator, f32 for the
// fast one. Internal to libs/learning; callers use exact_evaluator.h and fast_evaluator.h.
//
// For base b, updates e_i and a coalition S let l be the lowest layer that a member changes (its
// entry). Below it the candidate is the base, whose activations are computed once, or known from an
// evaluation before this one (base_cache.h). At l
//     z = W_b a + b_b + sum over S of (W_i a + b_i),   a: the base's input of layer l,
// so that each update's part is computed once, too (layer_delta.h: over its changed units, or its
// single changed weights). Coalitions are taken in an order in which neighbours share the sum over
// their members. Where few units of l change, layer l + 1 follows from the base's pre-activations
// and the difference of its input on those units.
// In f64 every one of these sums is of the same integers, as long as the sum of all the absolute
// values involved is in range (exact_evaluator.h); this is checked for every block, and where it
// fails the candidate is evaluated from its parameters alone, as is one that saturates.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "libs/learning/base_cache.h"
#include "libs/learning/exact_evaluator.h"
#include "libs/learning/exact_range.h"
#include "libs/learning/layer_delta.h"

namespace rochdale::learning {

template <typename Real>
class SharedEvaluation {
 public:
  // The logits of a candidate on rows first .. first + rows - 1, class-major; may be overwritten.
  using Sink = absl::FunctionRef<void(int64_t candidate, int64_t first, int rows, Real* logits)>;

  // The spec and the rows have been checked, and outlive this, as does the cache; null: none.
  SharedEvaluation(const ModelSpec& spec, Rows rows, const EvaluationOptions& options,
                   BaseCache<Real>* cache)
      : spec_(spec), layers_(LinearLayers(spec)), rows_(rows), options_(options), cache_(cache) {}

  // Calls the sink for every candidate and row block; see exact_evaluator.h for the errors. In f32
  // nothing is out of range.
  absl::Status RunCoalitions(GridSpan base, absl::Span<const GridSpan> updates,
                             absl::Span<const uint64_t> masks, Sink sink);
  absl::Status RunCheckpoints(absl::Span<const GridSpan> candidates, Sink sink);

 private:
  struct Input {  // of a layer, feature-major; row-major are only the pixels
    const Real* values = nullptr;
    int64_t largest = 0;  // in units of 2^-bits
    int bits = kInputBits;
    bool row_major = false;
  };
  struct Parameters {  // of a layer
    const Real* weight = nullptr;
    const Real* bias = nullptr;
  };
  // The sum over the first members of the coalition at hand; from `z` on its own where they add.
  struct Prefix {
    const Real* z = nullptr;
    std::vector<Parameters> tail;                // per layer; those above the entry
    std::vector<Real> own_z;
    std::vector<std::vector<Real>> own_tail;     // weight, then bias
  };
  // Candidates of one entry.
  struct Group {
    size_t layer = 0;                            // the number of layers: equal to the base
    std::vector<int64_t> candidates;             // neighbours share members
    std::vector<bool> incremental;               // of each: layer + 1 is taken from the base
    bool shared = false;
    std::vector<int> members;                    // updates that change the layer
    std::vector<std::vector<int>> pieces;        // members whose matrices are multiplied at once
    // Of the pieces the matrices one upon the other; where nothing is shared, of the chunks of
    // candidates, and their biases behind. Empty: made anew each time.
    std::vector<std::vector<Real>> stacks;
  };

  // sharing_plan.cc
  void FindDeltas();
  void FindBounds();
  void FindSaturating();
  void FindGroups();
  void PlanGroup(Group& group);
  bool IsIncremental(const Group& group, uint64_t mask) const;
  int RowBlock() const;
  size_t ChunkOf(const Group& group) const;
  void StackUnshared(Group& group);
  void StackCandidates(const Group& group, size_t begin, std::vector<Real>& stack) const;
  void Stack(const std::vector<int>& piece, size_t layer, std::vector<Real>& stack) const;
  int64_t StackRows(const std::vector<int>& piece, size_t layer) const;
  void Reserve(int block);

  // shared_evaluation.cc
  absl::Status Run(Sink sink);
  void RunBlock(int64_t first, int rows, Sink sink);
  void FindBase(Rows block);
  void LoadPixels(Rows block);
  void RunBase(int rows);
  void RunGroup(const Group& group, int64_t first, int rows, Sink sink);
  void RunDeltas(const Group& group, const Input& input, int rows);
  void RunShared(const Group& group, int64_t first, int rows, Sink sink);
  void RunUnshared(const Group& group, int64_t first, int rows, Sink sink);
  const Prefix& PushMember(size_t depth, int member, size_t layer, int rows);
  bool RunIncremental(const Group& group, int64_t candidate, int64_t first, int rows, Sink sink);
  // One candidate from its parameters, from layer `from` on.
  void RunAlone(int64_t candidate, size_t from, const Input& input, int64_t first, int rows,
                Sink sink);
  // From the pre-activations of layer `from`; `bias`: still to be added to them, or null.
  void RunTail(int64_t candidate, size_t from, const Real* z, const Real* bias,
               const std::vector<Parameters>& tail, int64_t first, int rows, Sink sink);

  // shared_steps.cc
  // out[unit * rows + row], without the bias.
  void Multiply(const Real* weight, int units, int inputs, const Input& input, int rows, Real* out);
  // out += weight * input.
  void MultiplyAdd(const Real* weight, int units, int inputs, const Real* input, int rows,
                   Real* out);
  Input Activate(size_t layer, const Real* z, const Real* bias, int rows, Real* out);
  void AddBiases(const Real* bias, int units, int rows, Real* z);
  // The update's part of the layer: [changed units x rows], bias included.
  void ApplyDelta(int member, size_t layer, const Input& input, int rows, Real* out);
  // The same from the product of its matrix in a stack; how many units (or ranks) that has.
  int64_t FinishDelta(int member, size_t layer, const Real* product, int rows, Real* out);
  const Real* FeatureMajor(const Input& input, int inputs, int rows);
  std::vector<Parameters> ParametersAt(const Real* flat) const;
  // Of a candidate, for the layers from `from` on; valid until the next call.
  std::vector<Parameters> TailOf(int64_t candidate, size_t from);
  GridVector CandidateParameters(int64_t candidate) const;
  void LayerParameters(int64_t candidate, const LinearLayer& layer, Real* weight,
                       Real* bias) const;
  const std::vector<LayerNorms>& CandidateNorms(int64_t candidate);
  bool CandidateInRange(int64_t candidate, size_t layer, const Input& input);
  static bool BoundHolds(const LayerNorms& norms, int64_t largest, int bits);
  bool Skips(int64_t candidate) const { return violation_ && candidate > violation_->candidate; }
  void Violates(int64_t candidate, size_t layer);
  absl::Status Result() const;

  const ModelSpec& spec_;
  const std::vector<LinearLayer> layers_;
  const Rows rows_;
  const EvaluationOptions& options_;
  BaseCache<Real>* const cache_;

  GridSpan base_;                        // empty for checkpoints
  absl::Span<const GridSpan> updates_;
  absl::Span<const uint64_t> masks_;
  absl::Span<const GridSpan> checkpoints_;
  int64_t candidates_ = 0;

  std::vector<std::vector<LayerDelta<Real>>> deltas_;  // [update][layer]
  std::vector<LayerNorms> bounds_;       // at least those of every candidate
  std::vector<LayerNorms> base_norms_;
  std::vector<bool> saturating_;         // per mask
  std::vector<Group> groups_;
  size_t base_layers_ = 0;               // the base's pre-activations that are needed
  size_t base_good_ = 0;                 // of this block: those that are in range
  std::map<int64_t, std::vector<LayerNorms>> norms_;  // per candidate, where a bound failed
  std::optional<RangeViolation> violation_;
  size_t violation_layer_ = 0;

  std::vector<Real> base_real_;
  std::vector<Parameters> base_parameters_;
  std::vector<Input> inputs_;            // of this block: the base's inputs of each layer
  BaseActivations<Real>* known_ = nullptr;  // of this block, in the cache or here
  BaseActivations<Real> own_known_;
  std::vector<Real> pixels_, transposed_, buffers_[2], scratch_weight_, piece_z_, low_rank_;
  std::vector<std::vector<Real>> delta_z_;             // per update: [changed units x rows]
  std::vector<Prefix> prefixes_;
  struct Tail {
    size_t from = 0;
    std::vector<Real> real;              // layer by layer, the weight and then the bias
  };
  std::vector<Tail> tails_;              // per candidate: its parameters from a layer on, kept
  Tail tail_;
};

}  // namespace rochdale::learning
