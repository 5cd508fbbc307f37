// Which rows of a sealed validation pool are visible, and which rows settle a round: functions of
// committed seeds alone, written out so that anyone can repeat them.
//
// All numbers are big-endian; `|` is concatenation; a row is its index in the pool, from 0.
//   split (once, when the pool of N rows is sealed, with the 32-byte split seed S):
//     key(r) = SHA-256("ROCHDALEsplit1" | S | u32 r)
//     the floor(N * visible_fraction_bp / 10000) rows with the smallest (key(r), r) are visible,
//     the others are settlement rows
//   draw (each round, with the round's 32-byte seed s):
//     eligible = settlement rows that were in no round that had been retired by then
//     key(r) = SHA-256("ROCHDALEdraw1" | s | u32 r)
//     the min(rows per round, eligible) rows with the smallest (key(r), r), in increasing
//     order of r
//   pool root (in the log when the pool is sealed): RFC 6962 root over the leaves
//     u32 r | u8 (1 visible, 0 settlement) | u32 label | inputs, one byte each
// Keys are compared bytewise. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "libs/crypto/sha256.h"
#include "libs/learning/dataset.h"

namespace rochdale::attribution {

// The visible rows in increasing order. 0 <= visible_rows <= pool_rows < 2^32.
std::vector<int64_t> VisibleRows(const crypto::Digest& split_seed, int64_t pool_rows,
                                 int64_t visible_rows);

// floor(pool_rows * fraction / 10000) without overflow.
int64_t VisibleRowCount(int64_t pool_rows, int64_t visible_fraction_bp);

// The drawn rows in increasing order; all that are eligible where there are no more than `count`.
std::vector<int64_t> DrawSettlementRows(const crypto::Digest& seed, int64_t pool_rows,
                                        const std::vector<int64_t>& visible,
                                        const std::set<int64_t>& retired, int64_t count);

// `visible` in increasing order.
crypto::Digest PoolRoot(learning::Rows rows, const std::vector<int64_t>& visible);

}  // namespace rochdale::attribution
