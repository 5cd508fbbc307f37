#include "services/filter/ownership.h"

#include <algorithm>

namespace rochdale::filter {

OwnerGroups::OwnerGroups(absl::Span<const Owned> current, bool unattested_together) {
  // first_ holds, for every update, one before it of the same group or itself; following it leads
  // to the group's earliest.
  const auto join = [&](size_t i, size_t j) {
    const size_t a = Find(i), b = Find(j);
    first_[std::max(a, b)] = std::min(a, b);
  };
  for (size_t i = 0; i < current.size(); ++i) {
    principals_.push_back(current[i].principal);
    first_.push_back(i);
    join(i, by_principal_.try_emplace(current[i].principal, i).first->second);
    for (const crypto::Digest& owner : current[i].owners) {
      join(i, by_owner_.try_emplace(owner, i).first->second);
    }
    if (!current[i].owners.empty() || !unattested_together) continue;
    if (unattested_.empty()) unattested_.push_back(i);
    join(i, unattested_.front());
  }
  for (size_t i = 0; i < first_.size(); ++i) first_[i] = Find(i);
}

size_t OwnerGroups::Find(size_t i) const {
  while (first_[i] != i) i = first_[i];
  return i;
}

Uuid OwnerGroups::LineageOfPrincipal(const Uuid& principal) const {
  const auto found = by_principal_.find(principal);
  return found == by_principal_.end() ? principal : principals_[first_[found->second]];
}

Uuid OwnerGroups::LineageOf(const Owned& update) const {
  if (by_principal_.contains(update.principal)) return LineageOfPrincipal(update.principal);
  for (const crypto::Digest& owner : update.owners) {
    const auto found = by_owner_.find(owner);
    if (found != by_owner_.end()) return principals_[first_[found->second]];
  }
  if (update.owners.empty() && !unattested_.empty()) {
    return principals_[first_[unattested_.front()]];
  }
  return update.principal;
}

}  // namespace rochdale::filter
