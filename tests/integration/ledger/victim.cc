// A ledger in a process of its own, to be killed: ledger_victim CONNECTION DATA_DIR. Prints the
// port that it serves on, and ends when its parent does.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>

#include "tests/integration/ledger/replica.h"

int main(int argc, char** argv) {
  using namespace rochdale;  // NOLINT: main only
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (argc != 3) return 2;
  SystemClock clock;
  ledger::testing::Cast cast(clock);
  pg::DatabaseOptions database;
  database.connection = argv[1];
  ledger::testing::Replica replica(pg::ForService(database, "ledger"), "", cast, argv[2]);
  std::printf("%d\n", replica.port());
  std::fflush(stdout);
  while (true) ::pause();
}
