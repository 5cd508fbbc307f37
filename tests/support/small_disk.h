// A small file system of its own, for tests of what happens when a disk is full.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace rochdale::testing {

class SmallDisk {
 public:
  // Mounts `size` (as tmpfs has it: "220m") at a new folder, or over the existing folder `at`.
  // Null, with a warning of the test, where this process may not mount.
  static std::unique_ptr<SmallDisk> Mount(absl::string_view size, absl::string_view at = "");
  // Unmounts, open files or not.
  ~SmallDisk();
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  const std::string& path() const { return path_; }
  // Takes every page that is left, so that the next growth of any file fails.
  void Fill();
  void MakeRoom();  // gives them back

 private:
  SmallDisk(std::string path, bool made) : path_(std::move(path)), made_(made) {}
  std::string path_;
  bool made_;  // the folder is ours to remove
};

}  // namespace rochdale::testing
