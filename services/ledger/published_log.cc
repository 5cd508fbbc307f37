#include "services/ledger/published_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/tlog_proof.h"
#include "services/ledger/log_store.h"
#include "services/ledger/tile_store.h"

namespace rochdale::ledger {
namespace {

// One snapshot for a head and what it covers.
constexpr pg::TransactOptions kSnapshot{pg::Isolation::kRepeatableRead, /*read_only=*/true};

}  // namespace

absl::StatusOr<std::optional<TreeHead>> PublishedLog::Head(absl::Time deadline) const {
  return db_.Transact(deadline, FindNewestTreeHead, kSnapshot);
}

absl::StatusOr<std::string> PublishedLog::TileFile(const crypto::Tile& tile,
                                                   absl::Time deadline) const {
  return db_.Transact(
      deadline,
      [&](pg::Transaction& tx) -> absl::StatusOr<std::string> {
        ASSIGN_OR_RETURN(const std::optional<TreeHead> head, FindNewestTreeHead(tx));
        const uint64_t size = head.has_value() ? static_cast<uint64_t>(head->size) : 0;
        if (tile.width > crypto::TileWidthAt(size, tile.level, tile.index)) {
          return Error("NOT_FOUND", absl::StrCat("the signed tree of ", size, " entries has no ",
                                                 tile.Path()));
        }
        return ReadTileFile(tx, tile);
      },
      kSnapshot);
}

absl::StatusOr<Receipt> PublishedLog::ReceiptOf(const EntryName& name, absl::Time deadline) const {
  return db_.Transact(
      deadline,
      [&](pg::Transaction& tx) -> absl::StatusOr<Receipt> {
        ASSIGN_OR_RETURN(const std::optional<LogEntry> entry,
                         name.event_id.IsZero() ? FindEntry(tx, name.index)
                                                : FindEntryByEvent(tx, name.event_id));
        if (!entry.has_value()) return Error("NOT_FOUND", "the log has no such entry");
        ASSIGN_OR_RETURN(const std::optional<TreeHead> head, FindNewestTreeHead(tx));
        if (!head.has_value() || entry->index >= head->size) {
          return Error("LOG_SIZE_UNKNOWN", absl::StrCat("entry ", entry->index,
                                                        " is not under a signed tree head yet"));
        }
        crypto::TlogProof proof;
        proof.index = static_cast<uint64_t>(entry->index);
        ASSIGN_OR_RETURN(proof.hashes, crypto::InclusionProof(entry->index, head->size,
                                                              ReadNodes(tx, head->size)));
        proof.checkpoint = head->note;
        proof.extra = entry->leaf;
        return Receipt{entry->index, proof.ToText()};
      },
      kSnapshot);
}

}  // namespace rochdale::ledger
