#include "services/verify/parameter_history.h"

#include "libs/crypto/entry_kinds.h"

namespace rochdale::verify {

namespace tag = crypto::tag;

std::set<std::string> ValuesOf(const Log& log, const CooperativeId& cooperative,
                               absl::string_view parameter, absl::string_view initial,
                               int64_t from_us, int64_t to_us) {
  std::set<std::string> values = {std::string(initial)};
  for (const size_t i : log.OfKind(crypto::kind::kParameterChanged)) {
    const crypto::Entry& changed = log.at(i);
    const auto name = changed.Text(tag::kParameter);
    if (changed.cooperative != cooperative || !name.ok() || *name != parameter) continue;
    if (changed.time_us > to_us + kClockSlackUs) continue;
    if (changed.time_us < from_us - kClockSlackUs) values.clear();
    values.insert(std::string(changed.Text(tag::kValue).value_or("")));
  }
  return values;
}

}  // namespace rochdale::verify
