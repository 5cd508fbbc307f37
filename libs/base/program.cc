#include "libs/base/program.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace rochdale {

std::string ProgramBesideThis(absl::string_view name) {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  if (size <= 0) return std::string(name);
  const std::string self(path, size);
  return absl::StrCat(self.substr(0, self.rfind('/')), "/", name);
}

std::vector<char*> ArgumentPointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace rochdale
