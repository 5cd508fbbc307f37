#include "services/attribution/run_tokens.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/base/clock.h"
#include "libs/base/status_macros.h"
#include "libs/pg/database.h"

namespace rochdale::attribution {
namespace {

constexpr absl::Duration kGoodbye = absl::Minutes(1);
constexpr absl::Duration kLookupTimeout = absl::Seconds(5);

// In time that does not depend on where they differ.
bool SameText(absl::string_view a, absl::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

constexpr char kRunGoesOn[] =
    "SELECT 1 FROM runs WHERE run_id = $1 AND (state = 1 OR ended_us > $2)";

}  // namespace

Secrets::Secrets(config::Secret secret) : secret_(std::move(secret)) {
  if (secret_.Reveal().size() >= 32) return;
  std::fprintf(stderr, "the attribution service has no server secret of 32 bytes\n");
  std::abort();
}

crypto::Digest Secrets::Derive(absl::string_view domain, absl::string_view a,
                               absl::string_view b) const {
  return crypto::HmacSha256(secret_.Reveal(), absl::StrCat(domain, a, b));
}

std::string Secrets::RunToken(const RunId& run) const {
  return absl::StrCat("R.", run.ToString(), ".",
                      Derive("ROCHDALErun1", run.value.AsBytes(), "").ToString());
}

std::string Secrets::SessionToken(const RunId& run, const SessionId& session) const {
  return absl::StrCat(
      "S.", run.ToString(), ".", session.ToString(), ".",
      Derive("ROCHDALEses1", run.value.AsBytes(), session.value.AsBytes()).ToString());
}

crypto::Digest Secrets::RoundSeed(const RoundId& round) const {
  return Derive("ROCHDALEseed", round.value.AsBytes(), "");
}

crypto::Digest Secrets::ComparisonSeed(const ComparisonId& comparison) const {
  return Derive("ROCHDALEabsd", comparison.value.AsBytes(), "");
}

crypto::Digest Secrets::SplitSeed(const CooperativeId& cooperative,
                                  const crypto::Digest& pool) const {
  return Derive("ROCHDALEsplt", cooperative.value.AsBytes(), pool.AsBytes());
}

std::optional<rpc::WorkerToken> Secrets::Open(absl::string_view token) const {
  const std::vector<absl::string_view> parts = absl::StrSplit(token, '.');
  if (parts.size() != 3 && parts.size() != 4) return std::nullopt;
  const auto run = RunId::Parse(parts[1]);
  if (!run.ok()) return std::nullopt;
  if (parts.size() == 3) {
    if (!SameText(token, RunToken(*run))) return std::nullopt;
    return rpc::WorkerToken{*run, ""};
  }
  const auto session = SessionId::Parse(parts[2]);
  if (!session.ok() || !SameText(token, SessionToken(*run, *session))) return std::nullopt;
  return rpc::WorkerToken{*run, session->ToString()};
}

absl::StatusOr<std::optional<rpc::WorkerToken>> RunTokens::Verify(absl::string_view token,
                                                                  absl::Time now) {
  const std::optional<rpc::WorkerToken> opened = secrets_.Open(token);
  if (!opened) return std::nullopt;
  ASSIGN_OR_RETURN(const bool goes_on,
                   db_.Transact(kLookupTimeout, [&](pg::Transaction& tx) -> absl::StatusOr<bool> {
                     ASSIGN_OR_RETURN(const auto row,
                                      tx.ExecOptional(kRunGoesOn, opened->run,
                                                      ToUnixMicros(now - kGoodbye)));
                     return row.has_value();
                   }));
  if (!goes_on) return std::nullopt;
  return opened;
}

}  // namespace rochdale::attribution
