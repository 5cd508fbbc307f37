// Accounts as `rochdale-verify replay` prints them, by id.
#pragma once

#include <string>

#include "libs/replay/books.h"
#include "nlohmann/json.hpp"

namespace rochdale::verify {

// A line per account: id, type, asset, status, balance, held, debits, credits; amounts in
// micro-units.
std::string BalanceSheetText(const replay::Books& books);
// [{"account_id","asset","balance","credits","debits","floor","held","owner_id","status",
//   "transfers","type","version"},...]; amounts as integers, "floor" null where there is none.
nlohmann::json BalanceSheetJson(const replay::Books& books);

}  // namespace rochdale::verify
