// Beneficial ownership: which updates of a round are in truth of one owner.
//
// Principals are nodes, and two of them are tied where an attested owner is of both; the connected
// components are the groups. A group is one lineage: of its updates in a round the earliest by
// commitment stands for it, the later ones are refused. What its earliest comes to plays no part,
// else a group could try one update after the other. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "absl/types/span.h"
#include "libs/base/ids.h"
#include "libs/crypto/sha256.h"

namespace rochdale::filter {

struct Owned {
  Uuid principal;
  std::vector<crypto::Digest> owners;  // as attested last; none: unattested
};

class OwnerGroups {
 public:
  // `current`: a round's updates in the order of commitment. `unattested_together`: those without
  // owners are one group; else each is for itself.
  OwnerGroups(absl::Span<const Owned> current, bool unattested_together);

  // The earliest update of i's group: i itself, or one before it.
  size_t FirstOf(size_t i) const { return first_[i]; }
  // The principal whose lineage an update counts for, of the round or of another: that of the
  // group's earliest update here, where the group has any, else its own.
  Uuid LineageOf(const Owned& update) const;
  // The same, by the principal alone.
  Uuid LineageOfPrincipal(const Uuid& principal) const;

 private:
  size_t Find(size_t i) const;

  std::vector<Uuid> principals_;
  std::vector<size_t> first_;
  std::map<Uuid, size_t> by_principal_;          // to an update
  std::map<crypto::Digest, size_t> by_owner_;
  std::vector<size_t> unattested_;               // at most one, where they are together
};

}  // namespace rochdale::filter
