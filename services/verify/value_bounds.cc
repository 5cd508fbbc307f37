#include "services/verify/value_bounds.h"

#include <algorithm>
#include <map>
#include <string>

#include "libs/crypto/entry_kinds.h"
#include "services/verify/json.h"
#include "services/verify/parameter_history.h"
#include "services/verify/proto_json.h"

namespace rochdale::verify {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using attribution::Evidence;
using attribution::ProbeId;
using crypto::Entry;

bool IsEnum(const nlohmann::json& rule, const char* field, const char* name, const char* number) {
  const std::string text = ProtoText(rule, field);
  return text == name || text == number;
}

// By probe, in nano-nats, where rules that leave the bound open have this one.
std::map<ProbeId, int64_t> BoundsOf(const nlohmann::json& genesis, int64_t governed) {
  std::map<ProbeId, int64_t> bounds;
  for (const nlohmann::json& rule : ProtoList(genesis, "floor")) {
    if (!IsEnum(rule, "kind", "RULE_KIND_VALUE_EFFECT", "6")) continue;
    if (!IsEnum(rule, "mode", "RULE_MODE_REFUSE", "1") &&
        !IsEnum(rule, "mode", "RULE_MODE_REVIEW", "3")) {
      continue;
    }
    const int64_t stated = ProtoInt(rule, "eps_nanonats");
    for (const nlohmann::json& text : ProtoList(rule, "probe_ids")) {
      const auto probe = ProbeId::Parse(text.is_string() ? text.get<std::string>() : "");
      if (!probe.ok()) continue;
      const int64_t eps = stated == 0 ? governed : stated;
      const auto [at, fresh] = bounds.emplace(*probe, eps);
      if (!fresh) at->second = std::min(at->second, eps);
    }
  }
  return bounds;
}

}  // namespace

absl::Status CheckValueBounds(const Log& log, const Documents& documents,
                              const Decisions& decisions, const Evidence& evidence) {
  const Entry* founded = log.Only(kind::kCooperativeFounded, evidence.cooperative.value);
  const auto digest =
      founded == nullptr ? crypto::Digest{}
                         : founded->DigestAt(tag::kDocumentDigest).value_or(crypto::Digest{});
  const auto genesis = documents.find(digest);
  const auto decided = decisions.find(evidence.round);
  if (genesis == documents.end() || decided == decisions.end()) return absl::OkStatus();
  const auto body = ParseObject(genesis->second.body);
  if (!body.ok()) return absl::DataLossError("its cooperative's Genesis cannot be read");
  int64_t first_us = decided->second.front()->time_us, last_us = first_us;
  for (const Entry* made : decided->second) {
    const Entry* committed = log.Only(kind::kUpdateCommitted, made->subject);
    if (committed != nullptr) first_us = std::min(first_us, committed->time_us);
    last_us = std::max(last_us, made->time_us);
  }
  std::map<ProbeId, int64_t> had;
  for (const attribution::ProbeBound& bound : evidence.values.bounds) {
    had[bound.probe] = bound.eps_nanonats;
  }
  const bool tested = (evidence.applied_mask | attribution::RefusedMask(evidence)) != 0;
  for (const std::string& value : ValuesOf(log, evidence.cooperative, "value.effect_eps_nanonats",
                                           "10000000", first_us, last_us)) {
    const int64_t governed = ParseDecimal(value).value_or(-1);
    if (had == (tested ? BoundsOf(*body, governed) : std::map<ProbeId, int64_t>())) {
      return absl::OkStatus();
    }
  }
  return absl::DataLossError("the bounds of values are not those of the floor");
}

}  // namespace rochdale::verify
