// The tables that every service's schema has (libs/pg/migrations/*.sql). Private to libs/pg.
#pragma once

#include "libs/pg/migrations.h"

namespace rochdale::pg {

const MigrationSet& Migrations();

}  // namespace rochdale::pg
