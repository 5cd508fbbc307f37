#include "services/ledger/restart.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/canonical.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_builder.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/note.h"
#include "rochdale/ledger/v1/log_restart.pb.h"
#include "services/ledger/audit.h"
#include "services/ledger/audit_store.h"
#include "services/ledger/batch.h"
#include "services/ledger/log_store.h"

namespace rochdale::ledger {
namespace {

namespace kind = crypto::kind;
namespace tag = crypto::tag;

using crypto::Digest;

constexpr char kWriterLock[] = "ledger.writer";  // of writer.cc

absl::Status Refused(absl::string_view why) { return absl::FailedPreconditionError(why); }

absl::StatusOr<crypto::Entry> EntryAt(pg::Transaction& tx, int64_t index) {
  ASSIGN_OR_RETURN(const std::optional<LogEntry> logged, FindEntry(tx, index));
  if (!logged) return Refused("the log is empty");
  return crypto::DecodeEntry(logged->leaf);
}

absl::StatusOr<std::string> OriginOf(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const crypto::Entry started, EntryAt(tx, 0));
  ASSIGN_OR_RETURN(const absl::string_view origin, started.Text(tag::kOrigin));
  return std::string(origin);
}

absl::Status MustBeSound(pg::Transaction& tx, absl::string_view when) {
  ASSIGN_OR_RETURN(const Audit audit, AuditDatabase(tx, {}));
  if (audit.problem_count == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(when, ": ", audit.problems.front(), " (",
                                          audit.problem_count, " problems)"));
}

absl::StatusOr<v1::LogRestart> ParseBody(const std::string& body) {
  v1::LogRestart restart;
  if (!google::protobuf::util::JsonStringToMessage(body, &restart).ok()) {
    return Refused("the statement is no LogRestart");
  }
  return restart;
}

// The statement of a log that was restarted before; nothing for any other.
absl::StatusOr<std::optional<Digest>> StatementOf(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const crypto::Entry started, EntryAt(tx, 0));
  const auto digest = started.DigestAt(tag::kDocumentDigest);
  return digest.ok() ? std::optional(*digest) : std::nullopt;
}

absl::Status CheckSigners(pg::Transaction& tx, const crypto::PublicKey& log_key,
                          const crypto::SignedDocument& by_operator,
                          const crypto::SignedDocument& by_governor) {
  if (by_operator.type != kLogRestartType || by_governor.type != kLogRestartType ||
      by_operator.body != by_governor.body) {
    return absl::PermissionDeniedError("operator and governor must sign one LogRestart");
  }
  RETURN_IF_ERROR(crypto::VerifyDocument(by_operator));
  RETURN_IF_ERROR(crypto::VerifyDocument(by_governor));
  if (by_operator.public_key != log_key) {
    return absl::PermissionDeniedError("the operator signs with the log's key");
  }
  if (by_governor.public_key == log_key) {
    return absl::PermissionDeniedError("operator and governor are two persons with a key each");
  }
  // The network's founding: the first of the log.
  constexpr int kPage = 1'000;
  for (int64_t from = 0;; from += kPage) {
    ASSIGN_OR_RETURN(const std::vector<LogEntry> entries,
                     ListEntries(tx, std::nullopt, from, kPage));
    for (const LogEntry& entry : entries) {
      if (entry.kind != kind::kCooperativeFounded) continue;
      ASSIGN_OR_RETURN(const crypto::Entry founded, crypto::DecodeEntry(entry.leaf));
      ASSIGN_OR_RETURN(const absl::string_view key, founded.Bytes(tag::kPublicKey));
      if (key == by_governor.public_key.AsBytes()) return absl::OkStatus();
      return absl::PermissionDeniedError(
          "the governor's key is not the one that signed the founding");
    }
    if (entries.empty()) return absl::PermissionDeniedError("the log has no founding");
  }
}

// The tables whose rows never change move to an archive; what is kept of them is copied, one place
// later.
constexpr char kMoveTables[] = R"sql(
CREATE SCHEMA $ARCHIVE;
DO $do$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['account_history', 'event_ids', 'entry_subjects', 'leaf_chunks',
                           'tiles', 'tree_heads'] LOOP
    EXECUTE format('ALTER TABLE ledger.%I SET SCHEMA $ARCHIVE', t);
    EXECUTE format('CREATE TABLE ledger.%I (LIKE $ARCHIVE.%I INCLUDING ALL)', t, t);
    EXECUTE format('GRANT SELECT, INSERT ON ledger.%I TO rochdale_ledger', t);
    PERFORM public.rochdale_append_only(format('ledger.%I', t)::regclass);
  END LOOP;
END $do$;
INSERT INTO ledger.account_history
SELECT account, log_index + 1, debits, credits, held, transfers,
  (SELECT string_agg(int8send(('x' || encode(substr(indexes, 8 * i + 1, 8), 'hex'))::bit(64)::bigint
                              + 1), ''::bytea ORDER BY i)
   FROM generate_series(0, octet_length(indexes) / 8 - 1) AS i)
FROM $ARCHIVE.account_history;
INSERT INTO ledger.event_ids
SELECT id, CASE WHEN log_index < 0 THEN log_index ELSE log_index + 1 END, result
FROM $ARCHIVE.event_ids;
INSERT INTO ledger.entry_subjects SELECT subject, log_index + 1, kind FROM $ARCHIVE.entry_subjects;
INSERT INTO ledger.leaf_chunks
SELECT first_index + 1, count, posted_us, leaves FROM $ARCHIVE.leaf_chunks;
UPDATE ledger.accounts SET opened_index = opened_index + 1;
UPDATE ledger.authority_paused_agents SET log_index = log_index + 1;
UPDATE ledger.authority_left SET log_index = log_index + 1;
UPDATE ledger.authority_parameters SET log_index = log_index + 1
)sql";

absl::StatusOr<std::string> MoveTables(pg::Transaction& tx) {
  ASSIGN_OR_RETURN(const pg::Row row, tx.ExecOne("SELECT count(*) FROM pg_namespace "
                                                 "WHERE nspname LIKE 'ledger\\_before\\_%'"));
  const std::string archive = absl::StrCat("ledger_before_", row.Get<int64_t>(0) + 1);
  std::string script = kMoveTables;
  for (size_t at; (at = script.find("$ARCHIVE")) != std::string::npos;) {
    script.replace(at, 8, archive);
  }
  RETURN_IF_ERROR(tx.ExecScript(script));
  return archive;
}

constexpr char kInsertFirst[] =
    "INSERT INTO leaf_chunks (first_index, count, posted_us, leaves) "
    "SELECT 0, 1, posted_us, $1 FROM leaf_chunks ORDER BY first_index LIMIT 1";
constexpr char kSetTree[] =
    "UPDATE tree_state SET epoch = epoch + 1, batch = batch + 1, size = $1, frontier = $2, "
    "root = $3 WHERE id = 1";

absl::Status RebuildTree(pg::Transaction& tx) {
  TreeEnd end;
  std::vector<Tile> tiles;
  ASSIGN_OR_RETURN(Reader<Chunk> chunks, Reader<Chunk>::Open(tx, kLeafChunks));
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<Chunk> chunk, chunks.Next());
    if (!chunk) break;
    absl::string_view left = chunk->leaves;
    for (int64_t i = 0; i < chunk->count && left.size() >= 2; ++i) {
      const size_t size = static_cast<uint8_t>(left[0]) * 256u + static_cast<uint8_t>(left[1]);
      end.Append(crypto::LeafHash(left.substr(2, size)), tiles);
      left.remove_prefix(std::min(left.size(), 2 + size));
    }
    RETURN_IF_ERROR(InsertTiles(tx, tiles));
    tiles.clear();
  }
  return tx.Exec(kSetTree, end.size(), pg::Bytes{end.frontier().Serialise()}, end.Root()).status();
}

}  // namespace

absl::StatusOr<std::string> PlanRestart(pg::Transaction& tx, const std::string& origin,
                                        const std::string& last_checkpoint,
                                        const std::string& reason, absl::Time now) {
  if (!crypto::IsNoteName(origin)) return Refused("a log cannot be called so");
  ASSIGN_OR_RETURN(const TreeState state, ReadTreeState(tx));
  ASSIGN_OR_RETURN(const std::string previous, OriginOf(tx));
  if (previous == origin) return Refused("the log has this origin already");
  if (!last_checkpoint.empty()) {
    ASSIGN_OR_RETURN(const crypto::Note note, crypto::ParseNote(last_checkpoint));
    ASSIGN_OR_RETURN(const crypto::Checkpoint signed_head, crypto::Checkpoint::Parse(note.text));
    if (signed_head.origin != previous) return Refused("last-checkpoint is of another log");
    if (static_cast<int64_t>(signed_head.size) <= state.size) {
      return Refused("the database is not behind the last checkpoint: nothing was lost");
    }
  }
  v1::LogRestart restart;
  restart.set_origin(origin);
  restart.set_previous_origin(previous);
  restart.set_previous_size(state.size);
  restart.set_previous_root(state.root.ToString());
  restart.set_last_checkpoint(last_checkpoint);
  restart.set_reason(reason);
  restart.set_signed_time_us(absl::ToUnixMicros(now));
  std::string body;
  google::protobuf::util::JsonPrintOptions print;
  print.preserve_proto_field_names = true;
  if (!google::protobuf::util::MessageToJsonString(restart, &body, print).ok()) {
    return absl::InvalidArgumentError("the reason is not UTF-8");
  }
  return body;
}

absl::StatusOr<RestartDone> RestartLog(pg::Transaction& tx, const crypto::PublicKey& log_key,
                                       const crypto::SignedDocument& by_operator,
                                       const crypto::SignedDocument& by_governor, absl::Time now) {
  ASSIGN_OR_RETURN(const bool alone, tx.TryAdvisoryLock(pg::AdvisoryKey(kWriterLock)));
  if (!alone) return Refused("a ledger is running on this database: stop it first");
  ASSIGN_OR_RETURN(const v1::LogRestart restart, ParseBody(by_operator.body));
  ASSIGN_OR_RETURN(const TreeState state, ReadTreeState(tx));
  ASSIGN_OR_RETURN(const std::optional<Digest> statement, StatementOf(tx));
  if (statement && *statement == crypto::DocumentDigest(by_operator)) {
    return RestartDone{state.size, "", /*was_done=*/true};
  }
  RETURN_IF_ERROR(CheckSigners(tx, log_key, by_operator, by_governor));
  ASSIGN_OR_RETURN(const std::string previous, OriginOf(tx));
  if (restart.previous_origin() != previous || restart.previous_size() != state.size ||
      restart.previous_root() != state.root.ToString() || restart.origin() == previous ||
      !crypto::IsNoteName(restart.origin())) {
    return Refused("the statement is not of this database as it stands");
  }
  RETURN_IF_ERROR(MustBeSound(tx, "the database as it was restored"));
  const StartLog start{log_key, restart.origin()};
  crypto::EntryBuilder builder(kind::kLogStarted, StartedEvent(start), now);
  builder.Bytes(tag::kRegisteredKey, log_key.AsBytes())
      .Text(tag::kOrigin, restart.origin())
      .Text(tag::kPreviousOrigin, previous)
      .U64(tag::kPreviousSize, static_cast<uint64_t>(state.size))
      .Digest(tag::kPreviousRoot, state.root)
      .Document(by_governor)
      .Bytes(tag::kOperatorSignature, by_operator.signature.AsBytes());
  ASSIGN_OR_RETURN(const std::string leaf, builder.BuildBytes());
  RestartDone done;
  ASSIGN_OR_RETURN(done.archive, MoveTables(tx));
  crypto::CanonicalWriter first;
  first.Prefixed16(leaf);
  RETURN_IF_ERROR(tx.Exec(kInsertFirst, pg::Bytes{first.bytes()}).status());
  RETURN_IF_ERROR(InsertIds(tx, {{StartedEvent(start).value, {0, 0}}}));
  RETURN_IF_ERROR(InsertDocuments(tx, {by_governor}));
  RETURN_IF_ERROR(RebuildTree(tx));
  RETURN_IF_ERROR(MustBeSound(tx, "the log as it would go on"));
  done.size = state.size + 1;
  return done;
}

}  // namespace rochdale::ledger
