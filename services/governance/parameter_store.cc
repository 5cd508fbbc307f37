#include "services/governance/parameter_store.h"

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/pg/rows.h"
#include "libs/pg/transaction.h"

namespace rochdale::governance {
namespace {

constexpr char kVersion[] =
    "SELECT parameters_version FROM cooperatives WHERE cooperative_id = $1";
constexpr char kValues[] =
    "SELECT name, value, changed_version FROM parameters WHERE cooperative_id = $1 ORDER BY name";
constexpr char kNextVersion[] = R"sql(
  UPDATE cooperatives SET parameters_version = parameters_version + 1
  WHERE cooperative_id = $1 AND parameters_version = $2)sql";
constexpr char kPutValue[] = R"sql(
  INSERT INTO parameters (cooperative_id, name, value, changed_version) VALUES ($1, $2, $3, $4)
  ON CONFLICT (cooperative_id, name) DO UPDATE SET value = $3, changed_version = $4)sql";
constexpr char kInsertChange[] = R"sql(
  INSERT INTO parameter_changes (cooperative_id, version, name, value, changed_us,
                                 document_sha256, event_id)
  VALUES ($1, $2, $3, $4, $5, $6, $7))sql";
constexpr char kListChanges[] = R"sql(
  SELECT version, name, value, changed_us, document_sha256, event_id
  FROM parameter_changes
  WHERE cooperative_id = $1 AND ($2 = '' OR name = $2)
    AND (version < $3 OR (version = $3 AND name > $4))
  ORDER BY version DESC, name LIMIT $5)sql";
constexpr char kInsertException[] = R"sql(
  INSERT INTO exceptions (exception_id, cooperative_id, kind, subject_id, description,
                          evidence_sha256, raised_us, event_id)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING)sql";
constexpr char kFindException[] = R"sql(
  SELECT exception_id, cooperative_id, kind, subject_id, description, evidence_sha256, raised_us,
         event_id
  FROM exceptions WHERE exception_id = $1)sql";
constexpr char kListExceptions[] = R"sql(
  SELECT exception_id, cooperative_id, kind, subject_id, description, evidence_sha256, raised_us,
         event_id
  FROM exceptions
  WHERE cooperative_id = $1
    AND ($3::text = '' OR (raised_us, exception_id) < ($2, nullif($3::text, '')::uuid))
  ORDER BY raised_us DESC, exception_id DESC LIMIT $4)sql";

RaisedException ToException(const pg::Row& row) {
  return {row.Get<Uuid>("exception_id"),       row.Get<CooperativeId>("cooperative_id"),
          row.Get<int32_t>("kind"),            row.Get<Uuid>("subject_id"),
          row.Get<std::string>("description"), row.GetBytes("evidence_sha256"),
          row.Get<absl::Time>("raised_us"),    row.Get<EventId>("event_id")};
}

}  // namespace

absl::StatusOr<int64_t> ParametersVersion(pg::Transaction& tx, const CooperativeId& cooperative) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kVersion, cooperative));
  if (!row) return Error("NOT_FOUND", "no such cooperative");
  return row->Get<int64_t>("parameters_version");
}

absl::StatusOr<StoredParameters> LoadParameters(pg::Transaction& tx,
                                                const CooperativeId& cooperative) {
  StoredParameters stored;
  ASSIGN_OR_RETURN(stored.version, ParametersVersion(tx, cooperative));
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kValues, cooperative));
  for (const pg::Row& row : rows) {
    const auto [name, value, version] = row.As<std::string, std::string, int64_t>();
    stored.values[name] = value;
    stored.changed_versions[name] = version;
  }
  return stored;
}

absl::StatusOr<int64_t> NextParametersVersion(pg::Transaction& tx,
                                              const CooperativeId& cooperative, int64_t expected) {
  ASSIGN_OR_RETURN(const int64_t moved, tx.ExecAffected(kNextVersion, cooperative, expected));
  if (moved == 0) return Error("STALE_VERSION", "the parameters have changed since this version");
  return expected + 1;
}

absl::Status RecordParameter(pg::Transaction& tx, const CooperativeId& cooperative,
                             const ParameterChange& change) {
  RETURN_IF_ERROR(
      tx.Exec(kPutValue, cooperative, change.name, change.value, change.version).status());
  return tx.Exec(kInsertChange, cooperative, change.version, change.name, change.value,
                 change.changed, change.document, change.event)
      .status();
}

absl::StatusOr<std::vector<ParameterChange>> ListParameterChanges(
    pg::Transaction& tx, const CooperativeId& cooperative, const std::string& name,
    int64_t before_version, const std::string& after_name, int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows,
                   tx.Exec(kListChanges, cooperative, name, before_version, after_name, limit));
  std::vector<ParameterChange> changes;
  for (const pg::Row& row : rows) {
    changes.push_back({row.Get<int64_t>("version"), row.Get<std::string>("name"),
                       row.Get<std::string>("value"), row.Get<absl::Time>("changed_us"),
                       row.Get<crypto::Digest>("document_sha256"), row.Get<EventId>("event_id")});
  }
  return changes;
}

absl::StatusOr<bool> InsertException(pg::Transaction& tx, const RaisedException& e) {
  ASSIGN_OR_RETURN(const int64_t inserted,
                   tx.ExecAffected(kInsertException, e.id, e.cooperative, e.kind, e.subject,
                                   e.description, pg::Bytes{e.evidence}, e.raised, e.event));
  return inserted == 1;
}

absl::StatusOr<std::optional<RaisedException>> FindException(pg::Transaction& tx, const Uuid& id) {
  ASSIGN_OR_RETURN(const std::optional<pg::Row> row, tx.ExecOptional(kFindException, id));
  if (!row) return std::nullopt;
  return ToException(*row);
}

absl::StatusOr<std::vector<RaisedException>> ListExceptions(pg::Transaction& tx,
                                                            const CooperativeId& cooperative,
                                                            absl::Time before_raised,
                                                            const std::string& before_id,
                                                            int limit) {
  ASSIGN_OR_RETURN(const pg::Rows rows, tx.Exec(kListExceptions, cooperative, before_raised,
                                                before_id, limit));
  std::vector<RaisedException> exceptions;
  for (const pg::Row& row : rows) exceptions.push_back(ToException(row));
  return exceptions;
}

}  // namespace rochdale::governance
