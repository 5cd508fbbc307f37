#include "libs/crypto/ed25519.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/sha256.h"

namespace rochdale::crypto {
namespace {

// Selects libsodium's implementations for this processor; idempotent and thread-safe.
void InitSodium() {
  static const bool ready = sodium_init() >= 0;
  if (!ready) {
    std::fprintf(stderr, "libsodium does not start\n");
    std::abort();
  }
}

const uint8_t* Bytes(absl::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// Up to `buffer.size()` bytes of the file; -1 on error.
ssize_t ReadUpTo(int fd, std::array<char, 66>& buffer) {
  size_t have = 0;
  while (have < buffer.size()) {
    const ssize_t n = read(fd, buffer.data() + have, buffer.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    have += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(have);
}

bool WriteAll(int fd, absl::string_view data) {
  while (!data.empty()) {
    const ssize_t n = write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

bool PublicKey::IsZero() const {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

std::string PublicKey::ToString() const { return HexEncode(AsBytes()); }

absl::StatusOr<PublicKey> PublicKey::Parse(absl::string_view text) {
  if (text.size() != 64) {
    return absl::InvalidArgumentError("a public key has 64 hexadecimal digits");
  }
  ASSIGN_OR_RETURN(const std::string raw, HexDecode(text));
  return FromBytes(raw);
}

absl::StatusOr<PublicKey> PublicKey::FromBytes(absl::string_view raw) {
  if (raw.size() != 32) return absl::InvalidArgumentError("a public key has 32 bytes");
  PublicKey key;
  std::copy(raw.begin(), raw.end(), key.bytes.begin());
  return key;
}

absl::StatusOr<Signature> Signature::FromBytes(absl::string_view raw) {
  if (raw.size() != 64) return absl::InvalidArgumentError("a signature has 64 bytes");
  Signature signature;
  std::copy(raw.begin(), raw.end(), signature.bytes.begin());
  return signature;
}

RandomBytes SystemRandomBytes() {
  InitSodium();
  return [](uint8_t* out, size_t size) { randombytes_buf(out, size); };
}

KeyPair KeyPair::FromSeed(const std::array<uint8_t, 32>& seed) {
  InitSodium();
  KeyPair key;
  crypto_sign_seed_keypair(key.public_key_.bytes.data(), key.secret_.data(), seed.data());
  return key;
}

absl::StatusOr<KeyPair> KeyPair::FromSeedBytes(absl::string_view seed) {
  if (seed.size() != 32) return absl::InvalidArgumentError("a seed has 32 bytes");
  std::array<uint8_t, 32> bytes;
  std::copy(seed.begin(), seed.end(), bytes.begin());
  KeyPair key = FromSeed(bytes);
  sodium_memzero(bytes.data(), bytes.size());
  return key;
}

KeyPair KeyPair::Generate(const RandomBytes& random) {
  std::array<uint8_t, 32> seed;
  random(seed.data(), seed.size());
  KeyPair key = FromSeed(seed);
  sodium_memzero(seed.data(), seed.size());
  return key;
}

KeyPair::~KeyPair() { sodium_memzero(secret_.data(), secret_.size()); }

Signature KeyPair::Sign(absl::string_view message) const {
  Signature signature;
  crypto_sign_detached(signature.bytes.data(), nullptr, Bytes(message), message.size(),
                       secret_.data());
  return signature;
}

std::string KeyPair::SeedHex() const {
  return HexEncode({reinterpret_cast<const char*>(secret_.data()), 32});
}

bool Verify(const PublicKey& key, absl::string_view message, const Signature& signature) {
  InitSodium();
  return crypto_sign_verify_detached(signature.bytes.data(), Bytes(message), message.size(),
                                     key.bytes.data()) == 0;
}

absl::StatusOr<KeyPair> LoadKeyFile(const std::string& path) {
  // O_NONBLOCK: opening a pipe must not hang; the check for a regular file follows.
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open the key file ", path));
  }
  struct stat info;
  if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  }
  if ((info.st_mode & 077) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("the key file ", path, " must be readable by its owner alone (chmod 600)"));
  }
  std::array<char, 66> buffer;  // one more than the longest valid file
  const ssize_t size = ReadUpTo(file.get(), buffer);
  absl::StatusOr<KeyPair> key = absl::InvalidArgumentError("");
  if (size == 64 || (size == 65 && buffer[64] == '\n')) {
    absl::StatusOr<std::string> seed = HexDecode({buffer.data(), 64});
    if (seed.ok()) {
      key = KeyPair::FromSeedBytes(*seed);
      sodium_memzero(seed->data(), seed->size());
    }
  }
  sodium_memzero(buffer.data(), buffer.size());
  if (key.ok()) return key;
  return absl::InvalidArgumentError(
      absl::StrCat("the key file ", path, " must hold 64 lower-case hexadecimal digits"));
}

absl::Status WriteKeyFile(const std::string& path, const KeyPair& key) {
  const FileDescriptor file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (file.get() < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot create the key file ", path));
  }
  std::string content = key.SeedHex() + "\n";
  // fchmod: an umask or a default ACL must not leave the file with another mode.
  const bool written = fchmod(file.get(), S_IRUSR | S_IWUSR) == 0 &&
                       WriteAll(file.get(), content) && fsync(file.get()) == 0;
  const int error = errno;
  sodium_memzero(content.data(), content.size());
  if (written) return absl::OkStatus();
  unlink(path.c_str());
  return absl::ErrnoToStatus(error, absl::StrCat("cannot write the key file ", path));
}

}  // namespace rochdale::crypto
