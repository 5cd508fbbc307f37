#include "services/filter/screening.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/tensor/flat.h"
#include "libs/tensor/grid.h"
#include "libs/tensor/manifest.h"
#include "libs/tensor/safetensors.h"
#include "libs/tensor/screen.h"
#include "services/filter/clipping.h"
#include "services/filter/direction.h"
#include "services/filter/originality.h"
#include "services/filter/ownership.h"

namespace rochdale::filter {
namespace {

// A blob that stays mapped, and the flat vector in it.
struct Mapped {
  blob::MappedBlob blob;
  absl::Span<const float> values;
};

absl::StatusOr<Mapped> MapFlat(const blob::BlobStore& store, const crypto::Digest& digest) {
  Mapped mapped;
  ASSIGN_OR_RETURN(mapped.blob, store.Get(digest));
  ASSIGN_OR_RETURN(const auto view, tensor::SafetensorsView::Parse(mapped.blob.bytes()));
  ASSIGN_OR_RETURN(mapped.values, tensor::FlatF32(view));
  return mapped;
}

std::string Text(absl::uint128 value) {
  std::string digits;
  do {
    digits.insert(digits.begin(), static_cast<char>('0' + static_cast<int>(value % 10)));
    value /= 10;
  } while (value != 0);
  return digits;
}

absl::StatusOr<absl::uint128> ParseWide(const std::string& digits) {
  absl::uint128 value = 0;
  if (digits.empty() || digits.size() > 39) return absl::InternalError("stored facts do not parse");
  for (const char c : digits) {
    if (c < '0' || c > '9') return absl::InternalError("stored facts do not parse");
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

// What clipping and projection make of one update.
struct Effective {
  std::string file;
  double clip_scale = 1;
  double clipped_norm = 0;
  nlohmann::json directions = nlohmann::json::array();
};

// A probe whose direction some rule of the floor tests, and the bound to which it is projected
// (nothing where the rules only refuse or ask for a review).
struct TestedDirection {
  Uuid probe;
  std::optional<int64_t> eps_micro;
};

struct Gradients {
  std::vector<Mapped> mapped;
  std::vector<absl::Span<const float>> values;
  std::vector<TestedDirection> directions;  // of the floor that have a gradient, by probe id
  std::vector<double> gram;                 // of the same, by position
};

std::vector<TestedDirection> DirectionsOf(const RuleSet& floor) {
  std::map<Uuid, std::optional<int64_t>> bounds;
  for (const Rule& rule : floor.rules) {
    if (rule.kind != RuleKind::kValueDirection) continue;
    for (const Uuid& probe : rule.probes) bounds.try_emplace(probe);
  }
  for (const ProjectedDirection& direction :
       ProjectedDirections(absl::MakeConstSpan(&floor, 1))) {
    bounds[direction.probe] = direction.eps_micro;
  }
  std::vector<TestedDirection> directions;
  for (const auto& [probe, eps] : bounds) directions.push_back({probe, eps});
  return directions;
}

absl::StatusOr<Gradients> LoadGradients(const ScreeningInput& input, const blob::BlobStore& store) {
  Gradients out;
  for (const TestedDirection& direction : DirectionsOf(input.floor)) {
    for (const ProbeGradient& gradient : input.gradients) {
      if (gradient.probe.value != direction.probe) continue;
      ASSIGN_OR_RETURN(Mapped mapped, MapFlat(store, gradient.gradient));
      out.mapped.push_back(std::move(mapped));
      out.directions.push_back(direction);
    }
  }
  for (const Mapped& mapped : out.mapped) out.values.push_back(mapped.values);
  ASSIGN_OR_RETURN(out.gram, tensor::Gram(out.values));
  return out;
}

// One factor per gradient; 0 for those that are tested only.
absl::StatusOr<std::vector<double>> LambdasOf(double clipped_norm, const std::vector<double>& dots,
                                              double scale, const Gradients& gradients) {
  const size_t n = gradients.directions.size();
  std::vector<size_t> projected;
  std::vector<DirectionConstraint> constraints;
  for (size_t k = 0; k < n; ++k) {
    if (!gradients.directions[k].eps_micro) continue;
    projected.push_back(k);
    constraints.push_back({*gradients.directions[k].eps_micro, dots[k] * scale});
  }
  std::vector<double> gram;
  for (const size_t a : projected) {
    for (const size_t b : projected) gram.push_back(gradients.gram[a * n + b]);
  }
  ASSIGN_OR_RETURN(const Projection projection, Project(clipped_norm, constraints, gram));
  std::vector<double> lambdas(n, 0.0);
  for (size_t i = 0; i < projected.size(); ++i) lambdas[projected[i]] = projection.lambdas[i];
  return lambdas;
}

absl::StatusOr<Effective> MakeEffective(const Mapped& delta, absl::uint128 norm_squared,
                                        const std::vector<double>& dots, double scale,
                                        const Gradients& gradients,
                                        const tensor::TensorManifest& manifest) {
  Effective out;
  out.clip_scale = scale;
  out.clipped_norm = NormOf(norm_squared) * scale;
  const size_t n = gradients.directions.size();
  ASSIGN_OR_RETURN(const std::vector<double> lambdas,
                   LambdasOf(out.clipped_norm, dots, scale, gradients));
  std::vector<int32_t> units(delta.values.size());
  RETURN_IF_ERROR(ApplyProjection(delta.values, scale, lambdas, gradients.values,
                                  absl::MakeSpan(units)));
  std::vector<float> values(units.size());
  tensor::FromGrid(units, absl::MakeSpan(values));
  for (size_t k = 0; k < n; ++k) {
    ASSIGN_OR_RETURN(const double effective_dot, tensor::Dot(values, gradients.values[k]));
    out.directions.push_back({{"probe", gradients.directions[k].probe.ToString()},
                              {"clipped_dot", dots[k] * scale},
                              {"effective_dot", effective_dot},
                              {"gradient_norm", std::sqrt(gradients.gram[k * n + k])},
                              {"lambda", lambdas[k]}});
  }
  ASSIGN_OR_RETURN(out.file, tensor::SerializeFlatI32(manifest, units));
  return out;
}

// Lineages of recent updates in this round: of the principal or its owners, and where an update was
// found to be another's the lineage of that one.
absl::StatusOr<std::vector<Uuid>> RecentLineages(const std::vector<Update>& recent,
                                                 const OwnerGroups& groups) {
  std::map<Uuid, Uuid> known;  // by principal
  std::vector<std::optional<Uuid>> own;
  for (const Update& update : recent) {
    ASSIGN_OR_RETURN(Ownership ownership, OwnershipFromJson(update.facts));
    ASSIGN_OR_RETURN(const Facts facts, FactsFromJson(update.facts));
    own.emplace_back();
    if (facts.originality && !facts.originality->original) continue;
    own.back() = groups.LineageOf({update.principal.value, std::move(ownership.owners)});
    known[update.principal.value] = *own.back();
  }
  std::vector<Uuid> lineages;
  for (size_t i = 0; i < recent.size(); ++i) {
    const Uuid original = recent[i].lineage_principal.value_or(recent[i].principal).value;
    const auto found = known.find(original);
    lineages.push_back(own[i] ? *own[i]
                       : found != known.end() ? found->second
                                              : groups.LineageOfPrincipal(original));
  }
  return lineages;
}

// Originality of the received updates against each other and the recent ones.
absl::StatusOr<std::vector<OriginalityResult>> Compare(const ScreeningInput& input,
                                                       const std::vector<Mapped>& deltas,
                                                       const std::vector<size_t>& taking_part,
                                                       const blob::BlobStore& store,
                                                       std::vector<OriginalityEntry>& entries) {
  std::vector<absl::Span<const float>> vectors;
  std::vector<Owned> current;
  for (const size_t i : taking_part) {
    current.push_back({input.received[i].principal.value, input.ownership[i].owners});
  }
  const OwnerGroups groups(current, input.unattested_together);
  for (size_t k = 0; k < taking_part.size(); ++k) {
    const Update& update = input.received[taking_part[k]];
    entries.push_back({groups.LineageOf(current[k]), true,
                       static_cast<uint64_t>(update.commitment_number)});
    if (groups.FirstOf(k) != k) entries.back().stands_for = groups.FirstOf(k);
    vectors.push_back(deltas[taking_part[k]].values);
  }
  // Of the recent ones the newest that can be compared.
  const size_t room = kOriginalityUpdatesMax - std::min(kOriginalityUpdatesMax, vectors.size());
  const size_t first = input.recent.size() - std::min(input.recent.size(), room);
  std::vector<Mapped> recent;
  ASSIGN_OR_RETURN(const std::vector<Uuid> lineages, RecentLineages(input.recent, groups));
  for (size_t i = first; i < input.recent.size(); ++i) {
    const Update& update = input.recent[i];
    absl::StatusOr<Mapped> mapped = MapFlat(store, update.digest);
    if (!mapped.ok()) continue;  // deleted since; what is left is compared
    if (!vectors.empty() && mapped->values.size() != vectors.front().size()) continue;
    recent.push_back(*std::move(mapped));
    entries.push_back({lineages[i], false, static_cast<uint64_t>(update.commitment_number)});
  }
  for (const Mapped& mapped : recent) vectors.push_back(mapped.values);
  ASSIGN_OR_RETURN(const std::vector<double> gram, tensor::Gram(vectors));
  return Originality(entries, gram, input.originality);
}

}  // namespace

absl::Status CheckDelta(absl::Span<const uint8_t> file, const std::string& manifest_text) {
  ASSIGN_OR_RETURN(const auto view, tensor::SafetensorsView::Parse(file));
  ASSIGN_OR_RETURN(const auto manifest, tensor::TensorManifest::Parse(manifest_text));
  RETURN_IF_ERROR(tensor::CheckSame(manifest, tensor::TensorManifest::Of(view)));
  ASSIGN_OR_RETURN(const auto values, tensor::FlatF32(view));
  ASSIGN_OR_RETURN(const tensor::ScreenResult result, tensor::ScreenPass(values, {}, {}));
  if (!result.finite) return Error("TENSOR_NOT_FINITE", "the update holds a NaN or an infinity");
  if (result.beyond_grid > 0) {
    return Error("TENSOR_NOT_FINITE",
                 absl::StrCat(result.beyond_grid, " values are 8 or more in magnitude"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ScreeningOutput> Screen(const ScreeningInput& input, blob::BlobStore& store) {
  ScreeningOutput out;
  const size_t count = input.received.size();
  ASSIGN_OR_RETURN(const auto manifest, tensor::TensorManifest::Parse(input.manifest));
  const tensor::TensorManifest effective_manifest = manifest.WithDType(tensor::DType::kI32);
  ASSIGN_OR_RETURN(const Gradients gradients, LoadGradients(input, store));

  std::vector<Mapped> deltas(count);
  std::vector<tensor::ScreenResult> passes(count);
  std::vector<size_t> taking_part;
  std::vector<absl::uint128> norms;
  for (size_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(deltas[i], MapFlat(store, input.received[i].digest));
    ASSIGN_OR_RETURN(passes[i], tensor::ScreenPass(deltas[i].values, gradients.values, {}));
    if (!input.authority[i].ok()) continue;
    taking_part.push_back(i);
    norms.push_back(passes[i].norm.sum_squares);
  }
  const absl::uint128 median = LowerMedian(norms);
  std::vector<OriginalityEntry> entries;
  ASSIGN_OR_RETURN(const std::vector<OriginalityResult> originality,
                   Compare(input, deltas, taking_part, store, entries));
  out.lineages = CountLineages(entries, originality);

  for (size_t i = 0; i < count; ++i) {
    Screened screened;
    screened.update = input.received[i];
    nlohmann::json facts = {{"norm_squared", Text(passes[i].norm.sum_squares)},
                            {"median_squared", Text(median)},
                            {"elements", deltas[i].values.size()},
                            {"authority", ReasonOf(input.authority[i])},
                            {"owners", nlohmann::json::array()}};
    for (const crypto::Digest& owner : input.ownership[i].owners) {
      facts["owners"].push_back(owner.ToString());
    }
    if (input.ownership[i].attestation) {
      facts["attestation"] = input.ownership[i].attestation->ToString();
    }
    const auto position = std::find(taking_part.begin(), taking_part.end(), i);
    if (position == taking_part.end()) {
      screened.denied = true;
    } else {
      const size_t place = position - taking_part.begin();
      const OriginalityResult& result = originality[place];
      if (entries[place].stands_for) facts["authority"] = "OWNER_HAS_UPDATE";
      facts["originality"] = {{"r1_micro", result.r1_micro},
                              {"ev_micro", result.ev_micro},
                              {"original", result.original}};
      screened.update.lineage_principal = PrincipalId{result.lineage};
      screened.denied = !result.original || entries[place].stands_for.has_value();
      const double scale = ClipScale(passes[i].norm.sum_squares, median, input.clip_micro);
      const absl::StatusOr<Effective> effective =
          MakeEffective(deltas[i], passes[i].norm.sum_squares, passes[i].dots, scale, gradients,
                        effective_manifest);
      if (effective.ok()) {
        facts["clip_scale"] = effective->clip_scale;
        facts["clipped_norm"] = effective->clipped_norm;
        facts["directions"] = effective->directions;
        ASSIGN_OR_RETURN(screened.update.effective, store.Put(effective->file));
      } else {
        // Its directions stay unmeasured, so that their rules err and deny it: one update that
        // cannot be projected must not hold up the round.
        screened.denied = true;
        facts["projection_error"] = effective.status().message();
      }
    }
    const RuleSet sets[] = {input.floor, input.profiles[i]};
    if (!screened.denied) {
      screened.probes = ProbesToMeasure(sets);
      screened.early_bounds = EarlyBounds(sets);
    }
    screened.update.state = UpdateState::kScreening;
    screened.update.facts = facts.dump();
    out.updates.push_back(std::move(screened));
  }
  // A lineage is named by its earliest update in this round.
  for (Screened& screened : out.updates) {
    for (const Screened& other : out.updates) {
      if (!other.update.lineage_principal ||
          other.update.lineage_principal != screened.update.lineage_principal) {
        continue;
      }
      screened.update.lineage = other.update.id;
      break;
    }
    if (!screened.update.lineage) screened.update.lineage = screened.update.id;
  }
  return out;
}

absl::StatusOr<Ownership> OwnershipFromJson(const std::string& text) {
  const nlohmann::json j = nlohmann::json::parse(text, nullptr, false);
  if (!j.is_object()) return absl::InternalError("stored facts do not parse");
  Ownership ownership;
  for (const nlohmann::json& owner : j.value("owners", nlohmann::json::array())) {
    if (!owner.is_string()) return absl::InternalError("stored facts do not parse");
    ASSIGN_OR_RETURN(ownership.owners.emplace_back(),
                     crypto::Digest::Parse(owner.get<std::string>()));
  }
  if (!j.contains("attestation")) return ownership;
  ASSIGN_OR_RETURN(ownership.attestation, EventId::Parse(j.value("attestation", "")));
  return ownership;
}

absl::StatusOr<Facts> FactsFromJson(const std::string& text) {
  const nlohmann::json j = nlohmann::json::parse(text, nullptr, false);
  if (!j.is_object()) return absl::InternalError("stored facts do not parse");
  Facts facts;
  facts.integrity = absl::OkStatus();  // screening starts from updates that passed it
  const std::string refused = j.value("authority", "");
  facts.authority = absl::OkStatus();
  if (!refused.empty()) facts.authority = Error(refused, "at the start of screening");
  ASSIGN_OR_RETURN(facts.norm_squared, ParseWide(j.value("norm_squared", "")));
  ASSIGN_OR_RETURN(facts.median_squared, ParseWide(j.value("median_squared", "")));
  facts.elements = j.value("elements", uint64_t{0});
  facts.clipped_norm = j.value("clipped_norm", 0.0);
  if (j.contains("originality")) {
    OriginalityResult result;
    result.r1_micro = j["originality"].value("r1_micro", int64_t{0});
    result.ev_micro = j["originality"].value("ev_micro", int64_t{0});
    result.original = j["originality"].value("original", false);
    facts.originality = result;
  }
  for (const nlohmann::json& d : j.value("directions", nlohmann::json::array())) {
    ASSIGN_OR_RETURN(const Uuid probe, Uuid::Parse(d.value("probe", "")));
    ProbeFacts at;
    at.probe = probe;
    at.direction = ProbeFacts::Direction{d.value("clipped_dot", 0.0), d.value("effective_dot", 0.0),
                                         d.value("gradient_norm", 0.0)};
    facts.probes.push_back(std::move(at));
  }
  return facts;
}

}  // namespace rochdale::filter
