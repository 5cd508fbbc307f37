#include "tests/bench/ledger/usage.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"

namespace rochdale::bench {
namespace {

// Parent and processor time of a process; false where it has gone.
bool ReadProcess(const std::filesystem::path& folder, pid_t& parent, double& seconds) {
  std::ifstream in(folder / "stat");
  std::string text;
  if (!std::getline(in, text)) return false;
  const size_t name_end = text.rfind(')');  // a name may hold anything
  if (name_end == std::string::npos) return false;
  std::istringstream fields(text.substr(name_end + 1));
  std::string state, skipped;
  int64_t user = 0, system = 0;
  fields >> state >> parent;
  for (int i = 0; i < 9; ++i) fields >> skipped;  // up to cmajflt
  fields >> user >> system;
  seconds = static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  return static_cast<bool>(fields);
}

double MachineSeconds() {
  std::ifstream in("/proc/stat");
  std::string cpu;
  int64_t user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, softirq = 0;
  in >> cpu >> user >> nice >> system >> idle >> wait >> irq >> softirq;
  return static_cast<double>(user + nice + system + irq + softirq) /
         static_cast<double>(sysconf(_SC_CLK_TCK));
}

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

void Require(const absl::Status& status, const char* doing) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", doing, status.ToString().c_str());
  std::exit(1);
}

Usage MeasureUsage(pid_t server, pid_t postmaster, pg::Database& admin,
                   const std::string& database) {
  Usage usage;
  rusage self{};
  getrusage(RUSAGE_SELF, &self);
  usage.generator_s = Seconds(self.ru_utime) + Seconds(self.ru_stime);
  for (const auto& folder : std::filesystem::directory_iterator("/proc")) {
    int64_t pid = 0;
    if (!absl::SimpleAtoi(folder.path().filename().string(), &pid)) continue;
    pid_t parent = 0;
    double seconds = 0;
    if (!ReadProcess(folder.path(), parent, seconds)) continue;
    if (pid == server) usage.server_s = seconds;
    if (pid == postmaster || parent == postmaster) usage.postgres_s += seconds;
  }
  usage.machine_s = MachineSeconds();
  const absl::Status read = admin.Transact(
      absl::Now() + absl::Seconds(30), [&](pg::Transaction& tx) -> absl::Status {
        const auto row = tx.ExecOne(
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_database_size($1)", database);
        if (!row.ok()) return row.status();
        usage.wal_bytes = row->Get<int64_t>(0);
        usage.disk_bytes = row->Get<int64_t>(1);
        return absl::OkStatus();
      });
  Require(read, "reading the database's size");
  usage.at = absl::Now();
  return usage;
}

void Latencies::Add(absl::Duration took) {
  micros.push_back(static_cast<uint32_t>(
      std::clamp<int64_t>(absl::ToInt64Microseconds(took), 0, UINT32_MAX)));
}

double Latencies::Quantile(double quantile) {
  if (micros.empty()) return 0;
  std::sort(micros.begin(), micros.end());
  const size_t at = static_cast<size_t>(quantile * static_cast<double>(micros.size() - 1));
  return static_cast<double>(micros[at]) / 1'000;
}

}  // namespace rochdale::bench
