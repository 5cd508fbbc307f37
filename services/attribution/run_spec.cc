#include "services/attribution/run_spec.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/learning/dataset.h"

namespace rochdale::attribution {
namespace {

using Json = nlohmann::json;

constexpr int64_t kRowBlocks = 8;        // of a part, where it is large enough
constexpr int64_t kRowBlockMin = 128;    // rows; below, starting a shard costs more than it
constexpr size_t kPartsMax = 100'000;

absl::Status Malformed(absl::string_view what) {
  return Error("BAD_REQUEST", absl::StrCat("run spec: ", what, " is missing or malformed"));
}

template <typename T>
absl::StatusOr<T> TextMember(const Json& json, const char* key) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_string()) return Malformed(key);
  auto parsed = T::Parse(json[key].get<std::string>());
  if (!parsed.ok()) return Malformed(key);
  return *parsed;
}

absl::StatusOr<int64_t> IntMember(const Json& json, const char* key, int64_t min, int64_t max) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer()) {
    return Malformed(key);
  }
  const int64_t value = json[key].get<int64_t>();
  if (value < min || value > max) return Malformed(key);
  return value;
}

absl::StatusOr<const Json*> ArrayMember(const Json& json, const char* key) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_array()) return Malformed(key);
  return &json[key];
}

absl::StatusOr<RunPart> ParsePart(const Json& json, size_t updates) {
  RunPart part;
  ASSIGN_OR_RETURN(part.data, TextMember<crypto::Digest>(json, "data_sha256"));
  ASSIGN_OR_RETURN(part.rows, IntMember(json, "rows", 1, learning::kDatasetRowsMax));
  ASSIGN_OR_RETURN(const Json* indices, ArrayMember(json, "updates"));
  for (const Json& item : *indices) {
    if (!item.is_number_unsigned() || item.get<uint64_t>() >= updates) return Malformed("updates");
    part.updates.push_back(item.get<int>());
  }
  if (part.updates.size() > 63) return Malformed("updates");
  ASSIGN_OR_RETURN(const Json* masks, ArrayMember(json, "masks"));
  for (const Json& item : *masks) {
    uint64_t mask;
    if (!item.is_string() || !absl::SimpleAtoi(item.get<std::string>(), &mask) ||
        mask >> part.updates.size() != 0) {
      return Malformed("masks");
    }
    part.masks.push_back(mask);
  }
  ASSIGN_OR_RETURN(const Json* checkpoints, ArrayMember(json, "checkpoints"));
  for (const Json& item : *checkpoints) {
    auto digest = item.is_string() ? crypto::Digest::Parse(item.get<std::string>())
                                   : absl::StatusOr<crypto::Digest>(Malformed("checkpoints"));
    if (!digest.ok()) return Malformed("checkpoints");
    part.checkpoints.push_back(*digest);
  }
  if (part.candidates() == 0) return Malformed("masks");
  return part;
}

}  // namespace

std::string RunSpecToJson(const RunSpec& spec) {
  Json json;
  json["format"] = 1;
  json["run_id"] = spec.run.ToString();
  json["model"] = Json::parse(learning::ModelSpecToJson(spec.model));
  json["base_sha256"] = spec.base.ToString();
  json["lineages"] = spec.lineages;
  if (spec.aggregation.rule != learning::AggregationRule::kMean) {
    json["aggregation"] = Json::parse(learning::AggregationToJson(spec.aggregation));
  }
  json["updates"] = Json::array();
  for (const RunUpdate& update : spec.updates) {
    json["updates"].push_back({{"update_id", update.update.ToString()},
                               {"effective_sha256", update.effective.ToString()}});
  }
  json["parts"] = Json::array();
  for (const RunPart& part : spec.parts) {
    Json one;
    one["data_sha256"] = part.data.ToString();
    one["rows"] = part.rows;
    one["updates"] = part.updates;
    one["masks"] = Json::array();
    for (const uint64_t mask : part.masks) one["masks"].push_back(absl::StrCat(mask));
    one["checkpoints"] = Json::array();
    for (const crypto::Digest& digest : part.checkpoints) {
      one["checkpoints"].push_back(digest.ToString());
    }
    json["parts"].push_back(std::move(one));
  }
  return json.dump();
}

absl::StatusOr<RunSpec> ParseRunSpec(absl::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("model")) return Malformed("model");
  RETURN_IF_ERROR(IntMember(json, "format", 1, 1).status());
  RunSpec spec;
  ASSIGN_OR_RETURN(spec.run, TextMember<RunId>(json, "run_id"));
  ASSIGN_OR_RETURN(spec.model, learning::ParseModelSpec(json["model"].dump()));
  ASSIGN_OR_RETURN(spec.base, TextMember<crypto::Digest>(json, "base_sha256"));
  ASSIGN_OR_RETURN(spec.lineages, IntMember(json, "lineages", 1, int64_t{1} << 31));
  ASSIGN_OR_RETURN(const Json* updates, ArrayMember(json, "updates"));
  for (const Json& item : *updates) {
    RunUpdate update;
    ASSIGN_OR_RETURN(update.update, TextMember<UpdateId>(item, "update_id"));
    ASSIGN_OR_RETURN(update.effective, TextMember<crypto::Digest>(item, "effective_sha256"));
    spec.updates.push_back(update);
  }
  if (json.contains("aggregation")) {
    ASSIGN_OR_RETURN(spec.aggregation,
                     learning::ParseAggregation(json["aggregation"].dump(),
                                                static_cast<int64_t>(spec.updates.size())));
  }
  ASSIGN_OR_RETURN(const Json* parts, ArrayMember(json, "parts"));
  if (parts->empty() || parts->size() > kPartsMax) return Malformed("parts");
  for (const Json& item : *parts) {
    ASSIGN_OR_RETURN(RunPart part, ParsePart(item, spec.updates.size()));
    spec.parts.push_back(std::move(part));
  }
  return spec;
}

std::vector<crypto::Digest> RunBlobs(const RunSpec& spec) {
  std::set<crypto::Digest> blobs = {spec.base};
  if (!spec.model.exact()) blobs.insert(spec.model.torchscript.module);
  for (const RunUpdate& update : spec.updates) blobs.insert(update.effective);
  for (const RunPart& part : spec.parts) {
    blobs.insert(part.data);
    blobs.insert(part.checkpoints.begin(), part.checkpoints.end());
  }
  return {blobs.begin(), blobs.end()};
}

std::vector<ShardRange> PlanShards(const RunSpec& spec, int64_t rows_max, int64_t candidates_max) {
  std::vector<ShardRange> shards;
  for (size_t p = 0; p < spec.parts.size(); ++p) {
    const RunPart& part = spec.parts[p];
    const int64_t candidates = std::min(part.candidates(), std::max<int64_t>(candidates_max, 1));
    int64_t rows = std::max((part.rows + kRowBlocks - 1) / kRowBlocks, kRowBlockMin);
    rows = std::min({rows, std::max<int64_t>(rows_max, 1), kShardResultBytesMax / 8 / candidates});
    for (int64_t row = 0; row < part.rows; row += rows) {
      for (int64_t c = 0; c < part.candidates(); c += candidates) {
        shards.push_back({static_cast<int>(p), row, std::min(row + rows, part.rows), c,
                          std::min(c + candidates, part.candidates())});
      }
    }
  }
  return shards;
}

std::string EncodeLosses(absl::Span<const int64_t> losses) {
  std::string bytes(losses.size() * 8, '\0');
  for (size_t i = 0; i < losses.size(); ++i) {
    for (int b = 0; b < 8; ++b) {
      bytes[i * 8 + b] = static_cast<char>(static_cast<uint64_t>(losses[i]) >> (8 * b));
    }
  }
  return bytes;
}

absl::StatusOr<std::vector<int64_t>> DecodeLosses(absl::string_view bytes, int64_t count) {
  if (static_cast<int64_t>(bytes.size()) != count * 8) {
    return Error("BAD_REQUEST", "losses: not 8 bytes for each candidate and row");
  }
  std::vector<int64_t> losses(count);
  for (int64_t i = 0; i < count; ++i) {
    uint64_t value = 0;
    for (int b = 7; b >= 0; --b) value = value << 8 | static_cast<uint8_t>(bytes[i * 8 + b]);
    losses[i] = static_cast<int64_t>(value);
    if (losses[i] < 0 || losses[i] > kLossMax) {
      return Error("BAD_REQUEST", "losses: a loss is outside its range");
    }
  }
  return losses;
}

}  // namespace rochdale::attribution
