#include "tests/support/small_disk.h"

#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace rochdale::testing {

std::unique_ptr<SmallDisk> SmallDisk::Mount(absl::string_view size, absl::string_view at) {
  if (::geteuid() != 0) {
    WARN("not root: a small file system cannot be mounted, a full disk was NOT tried");
    return nullptr;
  }
  std::string path(at);
  if (at.empty()) {
    path = (std::filesystem::temp_directory_path() / "rochdale-disk-XXXXXX").string();
    REQUIRE(::mkdtemp(path.data()) != nullptr);
  }
  const std::string options = absl::StrCat("size=", size);
  if (::mount("none", path.c_str(), "tmpfs", 0, options.c_str()) != 0) {
    if (at.empty()) std::filesystem::remove(path);
    WARN("mount is not permitted here: a full disk was NOT tried");
    return nullptr;
  }
  std::filesystem::permissions(path, std::filesystem::perms::all);
  return std::unique_ptr<SmallDisk>(new SmallDisk(std::move(path), at.empty()));
}

SmallDisk::~SmallDisk() {
  ::umount2(path_.c_str(), MNT_DETACH);
  std::error_code ignored;
  if (made_) std::filesystem::remove(path_, ignored);
}

void SmallDisk::Fill() {
  std::ofstream ballast(path_ + "/ballast", std::ios::binary);
  const std::string pages(64 * 1024, 'x');
  while (ballast.write(pages.data(), static_cast<std::streamsize>(pages.size())).flush()) {
  }
}

void SmallDisk::MakeRoom() { std::filesystem::remove(path_ + "/ballast"); }

}  // namespace rochdale::testing
