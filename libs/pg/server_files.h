// What the files of a PostgreSQL server and of its process tell. Private to libs/pg.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace rochdale::pg {

// Empty where it cannot be read.
std::string ReadFile(const std::string& path);

// Whether initdb and postgres are there and may be run.
bool HasPrograms(const std::filesystem::path& bin);
// The directories that have them: under /usr/lib/postgresql the newest first (only those of `major`
// where it is not 0), then those in PATH.
std::vector<std::filesystem::path> ProgramDirs(int major);

// The first directory above `path` that the user may not pass through; empty where there is none.
std::string ClosedDirectory(const std::filesystem::path& path, uid_t uid, gid_t gid);

// postmaster.pid and socket lock files begin with the pid. Nothing where there is no such file.
std::optional<pid_t> PidIn(const std::string& file);
// Whether the process is a server on this data directory.
bool IsServer(pid_t pid, absl::string_view data_dir);
// -1 where there is no such process.
pid_t ParentOf(pid_t pid);

// The text of the last FATAL line from byte `from` on, for the operator who starts us.
std::string LastFatalLine(const std::string& log_file, int64_t from);

}  // namespace rochdale::pg
