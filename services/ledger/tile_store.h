// The log in the database as the files of C2SP tlog-tiles: few statements for a whole file, where
// log_store.h reads node by node.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "libs/crypto/tile.h"
#include "libs/pg/transaction.h"

namespace rochdale::ledger {

// The bytes of a hash tile or an entry bundle, at most 16 MiB. The caller has made sure that the
// committed log covers the tile in its width; DATA_LOSS where the log lacks something of it.
absl::StatusOr<std::string> ReadTileFile(pg::Transaction& tx, const crypto::Tile& tile);

// Nodes of the tree of `size` leaves for proofs, a few tiles read whole: a proof in a log of 100
// million entries costs 4 statements, where ReadNodes needs one for each of its 27 nodes. `tx` must
// outlive it.
crypto::TileReader TilesIn(pg::Transaction& tx, int64_t size);

}  // namespace rochdale::ledger
