#include "libs/replay/table_rows.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace rochdale::replay {
namespace {

using Json = nlohmann::json;

// Each table's members once, for writing and for reading alike.
template <typename Fields>
void Visit(Fields& f, LogRow& row) {
  f("size", row.size), f("root", row.root);
}
template <typename Fields>
void Visit(Fields& f, HistoryRow& row) {
  f("account", row.account), f("log_index", row.log_index), f("debits", row.debits);
  f("credits", row.credits), f("held", row.held), f("transfers", row.transfers);
  f("indexes", row.indexes);
}
template <typename Fields>
void Visit(Fields& f, AccountRow& row) {
  f("id", row.id), f("owner", row.owner), f("type", row.type), f("asset", row.asset);
  f("floor", row.floor), f("status", row.status), f("version", row.version);
  f("opened_us", row.opened_us), f("opened_index", row.opened_index);
}
template <typename Fields>
void Visit(Fields& f, HoldRow& row) {
  f("id", row.id), f("debit", row.debit), f("credit", row.credit), f("amount", row.amount);
  f("kind", row.kind), f("opened_us", row.opened_us), f("expires_us", row.expires_us);
  f("state", row.state), f("posted", row.posted), f("owner", row.owner);
  f("mandate", row.mandate);
}
template <typename Fields>
void Visit(Fields& f, CorrectionRow& row) {
  f("transfer", row.transfer), f("corrected", row.corrected);
}
template <typename Fields>
void Visit(Fields& f, SpentRow& row) {
  f("key", row.key), f("asset", row.asset), f("day", row.day), f("amount", row.amount);
}

template <typename Fields>
void Visit(Fields& f, NetworkRow& row) {
  f("network", row.network);
}
template <typename Fields>
void Visit(Fields& f, PrincipalRow& row) {
  f("id", row.id), f("registered_by", row.registered_by), f("kyc_level", row.kyc_level);
  f("kyc_expires_us", row.kyc_expires_us), f("kyc_event", row.kyc_event);
}
template <typename Fields>
void Visit(Fields& f, PausedRow& row) {
  f("agent", row.agent), f("log_index", row.log_index);
}
template <typename Fields>
void Visit(Fields& f, MandateRow& row) {
  f("id", row.id), f("event", row.event), f("cooperative", row.cooperative);
  f("principal", row.principal), f("agent", row.agent), f("actions", row.actions);
  f("not_before_us", row.not_before_us), f("expires_us", row.expires_us);
  f("budget_day", row.budget_day), f("budget_total", row.budget_total);
  f("counterparties", row.counterparties), f("ended", row.ended);
}
template <typename Fields>
void Visit(Fields& f, LeftRow& row) {
  f("cooperative", row.cooperative), f("principal", row.principal);
  f("log_index", row.log_index);
}
template <typename Fields>
void Visit(Fields& f, ParameterRow& row) {
  f("name", row.name), f("value", row.value), f("log_index", row.log_index);
}

// In the order of TableRow.
constexpr const char* kTables[] = {"log",    "history", "account",   "hold",
                                   "correction", "spent",   "network",   "principal",
                                   "paused", "mandate", "left",      "parameter"};
static_assert(std::size(kTables) == std::variant_size_v<TableRow>);

struct Writing {
  Json& out;
  void operator()(const char* key, const Uuid& value) { out[key] = value.ToString(); }
  void operator()(const char* key, const std::optional<int64_t>& value) {
    out[key] = value ? Json(*value) : Json();
  }
  template <typename T>
  void operator()(const char* key, const T& value) {
    out[key] = value;
  }
};

struct Reading {
  const Json& in;
  std::string wrong;  // the first member that is not what it has to be

  void operator()(const char* key, Uuid& value) {
    const Json* json = Find(key);
    if (json == nullptr || !json->is_string()) return Fail(key);
    const auto parsed = Uuid::Parse(json->get_ref<const std::string&>());
    if (!parsed.ok()) return Fail(key);
    value = *parsed;
  }
  void operator()(const char* key, std::string& value) {
    const Json* json = Find(key);
    if (json == nullptr || !json->is_string()) return Fail(key);
    value = json->get<std::string>();
  }
  void operator()(const char* key, int64_t& value) {
    const Json* json = Find(key);
    if (json == nullptr || !Integer(*json)) return Fail(key);
    value = json->get<int64_t>();
  }
  void operator()(const char* key, std::optional<int64_t>& value) {
    const Json* json = Find(key);
    if (json == nullptr || !(json->is_null() || Integer(*json))) return Fail(key);
    if (!json->is_null()) value = json->get<int64_t>();
  }
  void operator()(const char* key, std::vector<int64_t>& value) {
    const Json* json = Find(key);
    if (json == nullptr || !json->is_array()) return Fail(key);
    for (const Json& item : *json) {
      if (!Integer(item)) return Fail(key);
      value.push_back(item.get<int64_t>());
    }
  }

  const Json* Find(const char* key) const {
    const auto found = in.find(key);
    return found == in.end() ? nullptr : &*found;
  }
  static bool Integer(const Json& json) {
    return json.is_number_integer() &&
           (!json.is_number_unsigned() || json.get<uint64_t>() >> 63 == 0);
  }
  void Fail(const char* key) {
    if (wrong.empty()) wrong = key;
  }
};

template <typename Row>
absl::StatusOr<TableRow> Read(const Json& json) {
  Row row;
  Reading reading{json, ""};
  Visit(reading, row);
  if (reading.wrong.empty()) return TableRow(std::move(row));
  return absl::InvalidArgumentError(absl::StrCat("a line without a valid ", reading.wrong));
}

}  // namespace

std::string NameOf(const TableRow& row) {
  struct Named {
    std::string operator()(const LogRow& r) const { return absl::StrCat("the log of ", r.size); }
    std::string operator()(const HistoryRow& r) const {
      return absl::StrCat("account_history of ", r.account.ToString(), " at entry ", r.log_index);
    }
    std::string operator()(const AccountRow& r) const {
      return absl::StrCat("accounts, ", r.id.ToString());
    }
    std::string operator()(const HoldRow& r) const {
      return absl::StrCat("holds, ", r.id.ToString());
    }
    std::string operator()(const CorrectionRow& r) const {
      return absl::StrCat("corrections, ", r.transfer.ToString());
    }
    std::string operator()(const SpentRow& r) const {
      return absl::StrCat("spent, ", r.key.ToString(), " of ", r.asset, " on day ", r.day);
    }
    std::string operator()(const NetworkRow&) const { return "authority_state"; }
    std::string operator()(const PrincipalRow& r) const {
      return absl::StrCat("authority_principals, ", r.id.ToString());
    }
    std::string operator()(const PausedRow& r) const {
      return absl::StrCat("authority_paused_agents, ", r.agent.ToString());
    }
    std::string operator()(const MandateRow& r) const {
      return absl::StrCat("authority_mandates, ", r.id.ToString());
    }
    std::string operator()(const LeftRow& r) const {
      return absl::StrCat("authority_left, ", r.principal.ToString(), " from ",
                          r.cooperative.ToString());
    }
    std::string operator()(const ParameterRow& r) const {
      return absl::StrCat("authority_parameters, ", r.name);
    }
  };
  return std::visit(Named(), row);
}

std::string ToLine(const TableRow& row) {
  Json json = {{"table", kTables[row.index()]}};
  TableRow copy = row;
  Writing writing{json};
  std::visit([&](auto& r) { Visit(writing, r); }, copy);
  return json.dump();
}

absl::StatusOr<TableRow> ParseLine(absl::string_view line) {
  const Json json = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("table") || !json["table"].is_string()) {
    return absl::InvalidArgumentError("a line that is no row");
  }
  if (json.dump() != line) return absl::InvalidArgumentError("a line that is not canonical");
  const std::string table = json["table"];
  absl::StatusOr<TableRow> row = absl::InvalidArgumentError("a row of an unknown table");
  [&]<size_t... I>(std::index_sequence<I...>) {
    ((table == kTables[I]
          ? static_cast<void>(row = Read<std::variant_alternative_t<I, TableRow>>(json))
          : void()),
     ...);
  }(std::make_index_sequence<std::variant_size_v<TableRow>>());
  if (row.ok() && ToLine(*row) != line) {
    return absl::InvalidArgumentError("a line with other members");
  }
  return row;
}

}  // namespace rochdale::replay
