#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/crypto/ed25519.h"
#include "libs/crypto/sha256.h"
#include "services/attribution/config.h"

namespace rochdale::attribution {

absl::StatusOr<config::Secret> LoadOrCreateServerSecret(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) {
    const absl::Cleanup close_fd = [fd] { close(fd); };
    uint8_t random[32];
    crypto::SystemRandomBytes()(random, sizeof(random));
    const std::string text =
        crypto::HexEncode({reinterpret_cast<const char*>(random), sizeof(random)});
    if (write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
        fsync(fd) != 0) {
      unlink(path.c_str());
      return absl::InternalError(absl::StrCat("cannot write ", path));
    }
    return config::Secret(text);
  }
  if (errno != EEXIST) {
    return absl::InternalError(absl::StrCat("cannot make ", path, ": ", std::strerror(errno)));
  }
  std::ifstream file(path);
  std::stringstream content;
  content << file.rdbuf();
  const std::string text(absl::StripAsciiWhitespace(content.str()));
  if (text.size() < 32) {
    return absl::InvalidArgumentError(absl::StrCat(path, " holds no secret of 32 characters"));
  }
  return config::Secret(text);
}

}  // namespace rochdale::attribution
