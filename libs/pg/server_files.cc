#include "libs/pg/server_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace rochdale::pg {

namespace fs = std::filesystem;

namespace {

// "/usr/lib/postgresql/15/bin" -> 15; 0 where there is none.
int MajorOf(const fs::path& bin) {
  int major = 0;
  return absl::SimpleAtoi(bin.parent_path().filename().string(), &major) ? major : 0;
}

}  // namespace

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool HasPrograms(const fs::path& bin) {
  return access((bin / "initdb").c_str(), X_OK) == 0 &&
         access((bin / "postgres").c_str(), X_OK) == 0;
}

std::vector<fs::path> ProgramDirs(int major) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", error)) {
    const fs::path bin = entry.path() / "bin";
    if (HasPrograms(bin) && (major == 0 || MajorOf(bin) == major)) found.push_back(bin);
  }
  std::sort(found.begin(), found.end(),
            [](const fs::path& a, const fs::path& b) { return MajorOf(a) > MajorOf(b); });
  const char* value = std::getenv("PATH");
  const absl::string_view path = value == nullptr ? "" : value;
  for (absl::string_view dir : absl::StrSplit(path, ':', absl::SkipEmpty())) {
    const fs::path bin{std::string(dir)};
    if (HasPrograms(bin)) found.push_back(bin);
  }
  return found;
}

std::string ClosedDirectory(const fs::path& path, uid_t uid, gid_t gid) {
  for (fs::path dir = path.parent_path();; dir = dir.parent_path()) {
    struct stat about {};
    if (stat(dir.c_str(), &about) == 0) {
      const mode_t needed = about.st_uid == uid   ? S_IXUSR
                            : about.st_gid == gid ? S_IXGRP
                                                  : S_IXOTH;
      if ((about.st_mode & needed) == 0) return dir.string();
    }
    if (dir == dir.parent_path()) return "";
  }
}

std::optional<pid_t> PidIn(const std::string& file) {
  const std::vector<std::string> lines = absl::StrSplit(ReadFile(file), '\n');
  int pid = 0;
  if (!absl::SimpleAtoi(lines[0], &pid) || pid == 0) return std::nullopt;
  return std::abs(pid);
}

bool IsServer(pid_t pid, absl::string_view data_dir) {
  const std::vector<std::string> arguments =
      absl::StrSplit(ReadFile(absl::StrCat("/proc/", pid, "/cmdline")), '\0');
  if (!absl::EndsWith(arguments[0], "postgres")) return false;
  return std::find(arguments.begin(), arguments.end(), data_dir) != arguments.end();
}

pid_t ParentOf(pid_t pid) {
  for (absl::string_view line :
       absl::StrSplit(ReadFile(absl::StrCat("/proc/", pid, "/status")), '\n')) {
    int parent = 0;
    if (absl::ConsumePrefix(&line, "PPid:") && absl::SimpleAtoi(line, &parent)) return parent;
  }
  return -1;
}

std::string LastFatalLine(const std::string& log_file, int64_t from) {
  std::ifstream file(log_file, std::ios::binary);
  file.seekg(from);
  std::stringstream text;
  text << file.rdbuf();
  const std::string log = text.str();
  const size_t at = log.rfind("FATAL:");
  if (at == std::string::npos) return "it says nothing";
  return std::string(absl::StripAsciiWhitespace(
      absl::string_view(log).substr(at + 6, log.find('\n', at) - at - 6)));
}

}  // namespace rochdale::pg
