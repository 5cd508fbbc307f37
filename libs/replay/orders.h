// Whether whoever ordered a transfer might do so, at its place of the log: the rules of
// docs/evidence.md, section 7.3, in their order. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "libs/base/ids.h"
#include "libs/crypto/entry.h"
#include "libs/replay/account.h"
#include "libs/replay/authority.h"

namespace rochdale::replay {

// What a principal or a mandate spent of an asset before this entry, on its UTC day or in all.
using SpentBefore =
    absl::FunctionRef<int64_t(const Uuid& key, const std::string& asset, bool in_all)>;

// A TRANSFER_POSTED of `amount` between these accounts as they are before it. DATA_LOSS, "<rule>:
// why", with the rule's name on that page.
absl::Status CheckTransferOrder(const crypto::Entry& entry, int64_t amount, const Account& debit,
                                const Account& credit, const Authority& authority,
                                SpentBefore spent);

// An ACCOUNT_CHANGED of this account as it is before it, to `status` and perhaps another floor.
absl::Status CheckAccountOrder(const crypto::Entry& entry, uint64_t status, bool other_floor,
                               const Account& account, const Authority& authority);

}  // namespace rochdale::replay
