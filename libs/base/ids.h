// 128-bit ids and where new ones come from.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace rochdale {

// A UUID. The zero value means "none" and is never a valid id of a thing.
// Text form: 36 characters, lower-case, as RFC 9562.
struct Uuid {
  std::array<uint8_t, 16> bytes{};

  bool IsZero() const;
  std::string ToString() const;
  // INVALID_ARGUMENT for anything that is not exactly the text form (upper case is accepted).
  static absl::StatusOr<Uuid> Parse(absl::string_view text);
  // INVALID_ARGUMENT unless `raw` has 16 bytes.
  static absl::StatusOr<Uuid> FromBytes(absl::string_view raw);
  absl::string_view AsBytes() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  auto operator<=>(const Uuid&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const Uuid& id) {
    return H::combine(std::move(h), id.bytes);
  }
};

// A Uuid that cannot be mistaken for the id of something else:
//   using AccountId = Id<struct AccountTag>;
template <typename Tag>
struct Id {
  Uuid value;

  bool IsZero() const { return value.IsZero(); }
  std::string ToString() const { return value.ToString(); }
  static absl::StatusOr<Id> Parse(absl::string_view text) {
    auto parsed = Uuid::Parse(text);
    if (!parsed.ok()) return parsed.status();
    return Id{*parsed};
  }

  auto operator<=>(const Id&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const Id& id) {
    return H::combine(std::move(h), id.value);
  }
};

using CooperativeId = Id<struct CooperativeTag>;
using PrincipalId = Id<struct PrincipalTag>;
using AgentId = Id<struct AgentTag>;
using MandateId = Id<struct MandateTag>;
using AccountId = Id<struct AccountTag>;
using TransferId = Id<struct TransferTag>;
using UpdateId = Id<struct UpdateTag>;
using RoundId = Id<struct RoundTag>;
using RunId = Id<struct RunTag>;
using EventId = Id<struct EventTag>;
using PoolId = Id<struct PoolTag>;
using EpochId = Id<struct EpochTag>;
using RequestId = Id<struct RequestTag>;

// Source of new ids. Thread-safe. Ids are version 7: they sort by the instant passed in.
class IdSource {
 public:
  virtual ~IdSource() = default;
  virtual Uuid New(absl::Time now) = 0;
};

// Seeded by the operating system.
class RandomIdSource final : public IdSource {
 public:
  RandomIdSource();
  Uuid New(absl::Time now) override;

 private:
  std::mutex mutex_;
  std::random_device device_;
};

// For tests and simulations: the same seed gives the same ids.
class SeededIdSource final : public IdSource {
 public:
  explicit SeededIdSource(uint64_t seed) : engine_(seed) {}
  Uuid New(absl::Time now) override;

 private:
  std::mutex mutex_;
  std::mt19937_64 engine_;
};

}  // namespace rochdale
