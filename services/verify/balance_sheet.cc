#include "services/verify/balance_sheet.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace rochdale::verify {
namespace {

constexpr const char* kTypes[] = {"?", "person", "enterprise", "agent", "system"};
constexpr const char* kStatuses[] = {"?", "open", "frozen", "closing", "closed"};

std::vector<const replay::Account*> ById(const replay::Books& books) {
  std::vector<const replay::Account*> accounts;
  for (const replay::Account& account : books.accounts()) accounts.push_back(&account);
  std::sort(accounts.begin(), accounts.end(),
            [](const auto* a, const auto* b) { return a->id < b->id; });
  return accounts;
}

}  // namespace

std::string BalanceSheetText(const replay::Books& books) {
  std::string text =
      absl::StrFormat("%-36s %-10s %-16s %-7s %20s %20s %20s %20s\n", "account", "type", "asset",
                      "status", "balance", "held", "debits", "credits");
  for (const replay::Account* a : ById(books)) {
    absl::StrAppendFormat(&text, "%-36s %-10s %-16s %-7s %20d %20d %20d %20d\n", a->id.ToString(),
                          kTypes[a->type], a->asset, kStatuses[a->status], a->balance(), a->held,
                          a->debits, a->credits);
  }
  return text;
}

nlohmann::json BalanceSheetJson(const replay::Books& books) {
  nlohmann::json list = nlohmann::json::array();
  for (const replay::Account* a : ById(books)) {
    list.push_back({{"account_id", a->id.ToString()},
                    {"owner_id", a->owner.ToString()},
                    {"type", a->type},
                    {"asset", a->asset},
                    {"floor", a->floor ? nlohmann::json(*a->floor) : nlohmann::json()},
                    {"status", a->status},
                    {"version", a->version},
                    {"balance", a->balance()},
                    {"held", a->held},
                    {"debits", a->debits},
                    {"credits", a->credits},
                    {"transfers", a->transfers}});
  }
  return list;
}

}  // namespace rochdale::verify
