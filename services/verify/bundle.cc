#include "services/verify/bundle.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/base/status_macros.h"

namespace rochdale::verify {
namespace {

constexpr size_t kFilesMax = 4'000'000;
constexpr size_t kDepthMax = 8;
constexpr size_t kNameMax = 100;
constexpr uint64_t kBlock = 512;  // of an archive

absl::Status Refused(absl::string_view path, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", why));
}

absl::Status CannotRead(absl::string_view path) {
  const std::string why = std::strerror(errno);
  if (errno == ENOENT) return absl::NotFoundError(absl::StrCat(path, ": ", why));
  return absl::UnavailableError(absl::StrCat(path, ": ", why));
}

bool IsName(absl::string_view name) {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kNameMax && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), allowed);
}

// Octal digits, ended by a space or a zero byte. False for any other content.
bool ParseOctal(absl::string_view field, uint64_t& value) {
  value = 0;
  size_t i = 0;
  for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i) {
    if (value >> 60 != 0) return false;
    value = value * 8 + static_cast<uint64_t>(field[i] - '0');
  }
  return i > 0 && (i == field.size() || field[i] == ' ' || field[i] == '\0');
}

absl::string_view TillZero(absl::string_view field) { return field.substr(0, field.find('\0')); }

// A header of ustar: its path and size, and whether it is a file (else a folder).
struct Header {
  std::string path;
  uint64_t size = 0;
  bool is_file = false;
};

absl::StatusOr<Header> ParseHeader(absl::string_view block) {
  uint64_t stated = 0, sum = 0;
  Header header;
  for (size_t i = 0; i < kBlock; ++i) {
    sum += i >= 148 && i < 156 ? ' ' : static_cast<uint8_t>(block[i]);
  }
  if (!absl::StartsWith(block.substr(257), "ustar") || !ParseOctal(block.substr(148, 8), stated) ||
      stated != sum || !ParseOctal(block.substr(124, 12), header.size)) {
    return Refused("archive", "it is no ustar archive");
  }
  const absl::string_view prefix = TillZero(block.substr(345, 155));
  header.path = absl::StrCat(prefix, prefix.empty() ? "" : "/", TillZero(block.substr(0, 100)));
  const char type = block[156];
  header.is_file = type == '0' || type == '\0';
  if (!header.is_file && type != '5') {
    return Refused(header.path, "the archive holds something that is neither file nor folder");
  }
  return header;
}

}  // namespace

bool IsBundlePath(absl::string_view path) {
  const std::vector<absl::string_view> names = absl::StrSplit(path, '/');
  return names.size() <= kDepthMax && std::all_of(names.begin(), names.end(), IsName);
}

absl::StatusOr<Bundle> Bundle::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return CannotRead(path);
  struct stat about {};
  const bool known = ::fstat(fd, &about) == 0;
  Bundle bundle(fd, known && S_ISREG(about.st_mode));
  if (bundle.archive_) {
    RETURN_IF_ERROR(bundle.ReadArchive());
    return bundle;
  }
  if (!known || !S_ISDIR(about.st_mode)) return Refused(path, "neither a directory nor an archive");
  RETURN_IF_ERROR(bundle.Walk(fd, "", 0));
  return bundle;
}

Bundle::Bundle(Bundle&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      archive_(other.archive_),
      files_(std::move(other.files_)) {}

Bundle::~Bundle() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status Bundle::Add(const std::string& path, File file) {
  if (!IsBundlePath(path)) return Refused(path, "no file of a bundle may be called so");
  if (files_.size() == kFilesMax) return Refused(path, "too many files");
  if (!files_.emplace(path, file).second) return Refused(path, "it is there twice");
  return absl::OkStatus();
}

absl::Status Bundle::Walk(int folder, const std::string& prefix, int depth) {
  if (depth >= static_cast<int>(kDepthMax)) return Refused(prefix, "folders are nested too deep");
  const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return CannotRead(prefix);
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(copy), ::closedir);
  if (listing == nullptr) {
    ::close(copy);
    return CannotRead(prefix);
  }
  while (const dirent* entry = ::readdir(listing.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string path = absl::StrCat(prefix, name);
    if (!IsName(name)) return Refused(path, "no file of a bundle may be called so");
    struct stat about {};
    if (::fstatat(copy, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) return CannotRead(path);
    if (S_ISREG(about.st_mode)) {
      RETURN_IF_ERROR(Add(path, {static_cast<uint64_t>(about.st_size), 0}));
      continue;
    }
    if (!S_ISDIR(about.st_mode)) return Refused(path, "a link or special file");
    const int below = ::openat(copy, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below < 0) return CannotRead(path);
    const absl::Status status = Walk(below, absl::StrCat(path, "/"), depth + 1);
    ::close(below);
    RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status Bundle::ReadArchive() {
  struct stat about {};
  if (::fstat(fd_, &about) != 0) return CannotRead("archive");
  const uint64_t end = static_cast<uint64_t>(about.st_size);
  std::array<char, kBlock> block;
  for (uint64_t at = 0;;) {
    if (at + kBlock > end) return Refused("archive", "it is cut off");
    if (::pread(fd_, block.data(), kBlock, static_cast<off_t>(at)) != kBlock) {
      return CannotRead("archive");
    }
    if (std::all_of(block.begin(), block.end(), [](char c) { return c == 0; })) break;
    ASSIGN_OR_RETURN(Header header, ParseHeader({block.data(), kBlock}));
    at += kBlock;
    if (header.size > end - at) return Refused(header.path, "the archive is cut off");
    if (header.is_file) {
      if (absl::StartsWith(header.path, "./")) header.path = header.path.substr(2);
      RETURN_IF_ERROR(Add(header.path, {header.size, at}));
      at += (header.size + kBlock - 1) / kBlock * kBlock;
    } else if (header.size != 0) {
      return Refused(header.path, "a folder with content");
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> Bundle::NamesIn(absl::string_view folder) const {
  const std::string prefix = absl::StrCat(folder, "/");
  std::vector<std::string> names;
  for (auto at = files_.lower_bound(prefix); at != files_.end(); ++at) {
    if (!absl::StartsWith(at->first, prefix)) break;
    names.push_back(at->first.substr(prefix.size()));
  }
  return names;
}

absl::StatusOr<std::pair<int, bool>> Bundle::Descriptor(const std::string& path) const {
  if (archive_) return std::pair(fd_, false);
  const std::vector<std::string> names = absl::StrSplit(path, '/');
  int at = fd_;
  for (size_t i = 0; i < names.size(); ++i) {
    const int kind = i + 1 < names.size() ? O_DIRECTORY : O_NONBLOCK;
    const int next = ::openat(at, names[i].c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | kind);
    const absl::Status failed = next < 0 ? CannotRead(path) : absl::OkStatus();
    if (at != fd_) ::close(at);
    RETURN_IF_ERROR(failed);
    at = next;
  }
  return std::pair(at, true);
}

template <typename Sink>
absl::Status Bundle::Stream(const std::string& path, const Sink& sink) const {
  const auto found = files_.find(path);
  if (found == files_.end()) return absl::NotFoundError(absl::StrCat(path, " is not there"));
  ASSIGN_OR_RETURN(const auto opened, Descriptor(path));
  std::vector<char> buffer(std::min<uint64_t>(found->second.size + 1, 1 << 20));
  uint64_t done = 0;
  absl::Status status;
  while (done < found->second.size) {
    const size_t wanted = std::min<uint64_t>(buffer.size(), found->second.size - done);
    const ssize_t got = ::pread(opened.first, buffer.data(), wanted,
                                static_cast<off_t>(found->second.offset + done));
    if (got <= 0) {
      status = absl::DataLossError(absl::StrCat(path, " is shorter than it was"));
      break;
    }
    sink(absl::string_view(buffer.data(), static_cast<size_t>(got)));
    done += static_cast<uint64_t>(got);
  }
  if (opened.second) ::close(opened.first);
  return status;
}

absl::StatusOr<std::string> Bundle::Read(const std::string& path, uint64_t bytes_max) const {
  const auto found = files_.find(path);
  if (found == files_.end()) return absl::NotFoundError(absl::StrCat(path, " is not there"));
  if (found->second.size > bytes_max) {
    return absl::ResourceExhaustedError(absl::StrCat(path, " has more than ", bytes_max, " bytes"));
  }
  std::string bytes;
  bytes.reserve(found->second.size);
  RETURN_IF_ERROR(Stream(path, [&](absl::string_view chunk) {
    bytes.append(chunk.data(), chunk.size());
  }));
  return bytes;
}

absl::StatusOr<crypto::Digest> Bundle::Sha256(const std::string& path) const {
  crypto::Sha256Hasher hasher;
  RETURN_IF_ERROR(Stream(path, [&](absl::string_view chunk) { hasher.Update(chunk); }));
  return hasher.Finish();
}

}  // namespace rochdale::verify
