#include "services/ledger/published_log.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/merkle.h"
#include "libs/crypto/tlog_proof.h"
#include "services/ledger/cosignature_store.h"
#include "services/ledger/log_store.h"
#include "services/ledger/tile_store.h"

namespace rochdale::ledger {
namespace {

// One snapshot for a head and what it covers.
constexpr pg::TransactOptions kSnapshot{pg::Isolation::kRepeatableRead, /*read_only=*/true};

}  // namespace

absl::StatusOr<std::optional<TreeHead>> PublishedLog::ShownHead(pg::Transaction& tx) const {
  ASSIGN_OR_RETURN(std::optional<TreeHead> head, FindCosignedHead(tx, shown_size_, kPatience));
  if (!head.has_value()) return head;
  int64_t shown = shown_size_;
  while (shown < head->size && !shown_size_.compare_exchange_weak(shown, head->size)) {
  }
  return head;
}

absl::StatusOr<std::optional<TreeHead>> PublishedLog::Head(absl::Time deadline) const {
  return db_.Transact(
      deadline, [this](pg::Transaction& tx) { return ShownHead(tx); }, kSnapshot);
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
        ASSIGN_OR_RETURN(std::optional<TreeHead> head, ShownHead(tx));
        if (!head.has_value() || entry->index >= head->size) {
          ASSIGN_OR_RETURN(head, FindNewestHeadWithCosignatures(tx));
        }
        if (!head.has_value() || entry->index >= head->size) {
          return Error("LOG_SIZE_UNKNOWN", absl::StrCat("entry ", entry->index,
                                                        " is not under a signed tree head yet"));
        }
        crypto::TlogProof proof;
        proof.index = static_cast<uint64_t>(entry->index);
        crypto::TileReader tiles = TilesIn(tx, head->size);
        ASSIGN_OR_RETURN(proof.hashes,
                         crypto::InclusionProof(entry->index, head->size, tiles.Nodes()));
        proof.checkpoint = head->note;
        proof.extra = entry->leaf;
        return Receipt{entry->index, proof.ToText()};
      },
      kSnapshot);
}

}  // namespace rochdale::ledger
