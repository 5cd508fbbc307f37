// Tiny rounds for screening: updates of 64 numbers in a blob store of their own.
#pragma once

#include <stdlib.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "libs/blob/blob_store.h"
#include "libs/tensor/flat.h"
#include "libs/tensor/manifest.h"
#include "services/filter/convert.h"
#include "services/filter/deciding.h"
#include "services/filter/screening.h"

namespace rochdale::filter::testing {

inline constexpr int kSize = 64;

inline Uuid IdOf(uint8_t kind, uint8_t number) {
  Uuid id;
  id.bytes[0] = kind;
  id.bytes[15] = number;
  return id;
}

inline tensor::TensorManifest ManifestOfTests() {
  return tensor::TensorManifest::Create({{"a.weight", tensor::DType::kF32, {6, 10}},
                                         {"b.bias", tensor::DType::kF32, {4}}})
      .value();
}

// 64 numbers, all 0 but those named.
inline std::vector<float> Sparse(const std::map<int, float>& values) {
  std::vector<float> out(kSize, 0.0f);
  for (const auto& [at, value] : values) out[at] = value;
  return out;
}

struct ScreeningFixture {
  ScreeningFixture() {
    std::string pattern = (std::filesystem::temp_directory_path() / "screen-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
    dir = pattern;
    store = blob::BlobStore::Open(dir, {}).value();
    input.manifest = ManifestOfTests().CanonicalText();
    input.floor = FloorRules({}, {}, {});
  }
  ~ScreeningFixture() {
    store.reset();
    std::filesystem::remove_all(dir);
  }

  crypto::Digest Put(const std::vector<float>& values) {
    return store->Put(tensor::SerializeFlatF32(ManifestOfTests(), values).value()).value();
  }
  // An update of principal `number`, committed after those before.
  void Receive(uint8_t number, const std::vector<float>& values,
               absl::Status authority = absl::OkStatus(), std::vector<std::string> owners = {}) {
    Update update;
    update.id = UpdateId{IdOf(1, number)};
    update.round = RoundId{IdOf(3, 1)};
    update.principal = PrincipalId{IdOf(2, number)};
    update.digest = Put(values);
    update.commitment_number = static_cast<int64_t>(input.received.size()) + 1;
    update.state = UpdateState::kReceived;
    update.profile_version = 1;
    input.received.push_back(update);
    input.authority.push_back(std::move(authority));
    input.ownership.emplace_back();
    for (const std::string& owner : owners) {
      input.ownership.back().owners.push_back(crypto::Sha256(owner));
      input.ownership.back().attestation = EventId{IdOf(5, number)};
    }
    RuleSet profile;
    profile.scope = Scope::kPrincipal;
    input.profiles.push_back(profile);
  }
  // A rule of the floor on the direction at probe `number`, whose gradient is `gradient`.
  void Direct(uint8_t number, const std::vector<float>& gradient, RuleMode mode,
              int64_t eps_micro) {
    Rule rule;
    rule.id = "direction-" + std::to_string(number);
    rule.kind = RuleKind::kValueDirection;
    rule.mode = mode;
    rule.probes = {IdOf(4, number)};
    rule.bound = eps_micro;
    input.floor.rules.push_back(rule);
    input.gradients.push_back({ProbeId{IdOf(4, number)}, Put(gradient)});
  }
  Rule& Effect(RuleSet& set, const std::string& id, const Uuid& probe, RuleMode mode, int64_t eps) {
    Rule rule;
    rule.id = id;
    rule.kind = RuleKind::kValueEffect;
    rule.mode = mode;
    rule.probes = {probe};
    rule.bound = eps;
    set.rules.push_back(rule);
    return set.rules.back();
  }

  ScreeningOutput Run() { return filter::Screen(input, *store).value(); }
  // The effective update in units of 2^-20.
  std::vector<int32_t> EffectiveOf(const Update& update) {
    const blob::MappedBlob blob = store->Get(*update.effective).value();
    const auto view = tensor::SafetensorsView::Parse(blob.bytes()).value();
    const auto units = tensor::FlatI32(view).value();
    return {units.begin(), units.end()};
  }
  double NormOfEffective(const Update& update) {
    double sum = 0;
    for (const int32_t unit : EffectiveOf(update)) sum += std::pow(std::ldexp(unit, -20), 2);
    return std::sqrt(sum);
  }
  // The decisions on what was screened, with these measurements.
  DecidingInput ToDecide(const ScreeningOutput& output, std::vector<Measurement> measured = {}) {
    DecidingInput deciding;
    for (const Screened& screened : output.updates) deciding.updates.push_back(screened.update);
    deciding.profiles = input.profiles;
    deciding.floor = input.floor;
    deciding.measurements = std::move(measured);
    deciding.rules_version = 7;
    deciding.evidence_sha256 = std::string(64, 'e');
    return deciding;
  }

  std::string dir;
  std::unique_ptr<blob::BlobStore> store;
  ScreeningInput input;
};

}  // namespace rochdale::filter::testing
