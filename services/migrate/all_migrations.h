// The migrations of every service of this build, in an order in which they can be applied.
#pragma once

#include <vector>

#include "libs/pg/migrations.h"

namespace rochdale::migrate {

std::vector<pg::MigrationSet> AllMigrations();

}  // namespace rochdale::migrate
