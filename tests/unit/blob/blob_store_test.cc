#include "libs/blob/blob_store.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "libs/base/errors.h"

namespace rochdale::blob {
namespace {

namespace fs = std::filesystem;

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

// A directory that vanishes with the test.
class Folder {
 public:
  Folder() {
    char path[] = "/tmp/rochdale-blob-XXXXXX";
    REQUIRE(::mkdtemp(path) != nullptr);
    path_ = path;
  }
  ~Folder() { fs::remove_all(path_); }
  std::string store() const { return path_ + "/store"; }

 private:
  std::string path_;
};

UploadId MakeId(uint8_t n) {
  UploadId id;
  id.value.bytes.fill(n);
  return id;
}

std::unique_ptr<BlobStore> OpenStore(const Folder& folder, const BlobLimits& limits = {}) {
  auto store = BlobStore::Open(folder.store(), limits);
  INFO(store.status().ToString());
  REQUIRE(store.ok());
  return *std::move(store);
}

std::string Bytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

size_t FilesIn(const std::string& dir) {
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(dir)) files += entry.is_regular_file();
  return files;
}

TEST_CASE("an upload in chunks becomes a blob") {
  const Folder folder;
  const auto store = OpenStore(folder);
  const std::string bytes = Bytes(10'000, 1);
  const crypto::Digest digest = crypto::Sha256(bytes);
  const auto begun = store->Begin(MakeId(1), bytes.size(), digest, kStart);
  REQUIRE(begun.ok());
  CHECK(begun->offset == 0);
  for (size_t at = 0; at < bytes.size(); at += 3000) {
    CHECK(ReasonOf(store->Commit(MakeId(1), digest)) == "UPLOAD_INCOMPLETE");
    CHECK_FALSE(store->Exists(digest));
    const auto after = store->WriteAt(MakeId(1), at, bytes.substr(at, 3000), kStart);
    REQUIRE(after.ok());
    CHECK(after->offset == std::min(bytes.size(), at + 3000));
  }
  REQUIRE(store->Commit(MakeId(1), digest).ok());
  CHECK(store->Commit(MakeId(1), digest).ok());  // repeated
  const auto blob = store->Get(digest);
  REQUIRE(blob.ok());
  CHECK(blob->text() == bytes);
  CHECK(reinterpret_cast<uintptr_t>(blob->bytes().data()) % 8 == 0);
  CHECK(*store->SizeOf(digest) == bytes.size());
  CHECK(store->Verify(digest).ok());
  const BlobUsage usage = store->usage();
  CHECK(usage.blobs == 1);
  CHECK(usage.blob_bytes == bytes.size());
  CHECK(usage.reserved_bytes == 0);
  CHECK(usage.uploads == 0);
  CHECK(FilesIn(folder.store() + "/uploads") == 0);
}

TEST_CASE("a chunk counts only where the upload stands") {
  const Folder folder;
  BlobLimits limits;
  limits.chunk_bytes_max = 8;
  const auto store = OpenStore(folder, limits);
  const std::string bytes = "0123456789";
  REQUIRE(store->Begin(MakeId(1), 10, crypto::Sha256(bytes), kStart).ok());
  REQUIRE(store->WriteAt(MakeId(1), 0, "01234", kStart).ok());
  for (uint64_t offset : {uint64_t{0}, uint64_t{4}, uint64_t{6}, ~uint64_t{0}}) {
    const auto refused = store->WriteAt(MakeId(1), offset, "5", kStart);
    CHECK(ReasonOf(refused.status()) == "UPLOAD_OFFSET");
    CHECK(refused.status().message() == "the upload stands at offset 5");
  }
  CHECK(ReasonOf(store->WriteAt(MakeId(1), 5, "567890", kStart).status()) == "UPLOAD_TOO_LARGE");
  CHECK(ReasonOf(store->WriteAt(MakeId(1), 5, "567890123", kStart).status()) ==
        "UPLOAD_TOO_LARGE");
  CHECK(store->Find(MakeId(1))->offset == 5);
  CHECK(store->WriteAt(MakeId(1), 5, "", kStart)->offset == 5);
  REQUIRE(store->WriteAt(MakeId(1), 5, "56789", kStart).ok());
  CHECK(store->Commit(MakeId(1), crypto::Sha256(bytes)).ok());
}

TEST_CASE("bytes that are not the declared ones leave nothing behind") {
  const Folder folder;
  const auto store = OpenStore(folder);
  const crypto::Digest digest = crypto::Sha256("good");
  REQUIRE(store->Begin(MakeId(1), 4, digest, kStart).ok());
  REQUIRE(store->WriteAt(MakeId(1), 0, "evil", kStart).ok());
  CHECK(ReasonOf(store->Commit(MakeId(1), crypto::Sha256("evil"))) == "DIGEST_MISMATCH");
  CHECK(store->Find(MakeId(1)).ok());  // the wrong question does not end it
  CHECK(ReasonOf(store->Commit(MakeId(1), digest)) == "DIGEST_MISMATCH");
  CHECK_FALSE(store->Exists(digest));
  CHECK_FALSE(store->Exists(crypto::Sha256("evil")));
  CHECK(ReasonOf(store->Commit(MakeId(1), digest)) == "NOT_FOUND");
  CHECK(store->usage().reserved_bytes == 0);
  CHECK(FilesIn(folder.store() + "/uploads") == 0);
}

TEST_CASE("an upload goes on after a restart, from what its file holds") {
  const Folder folder;
  const std::string bytes = Bytes(5000, 2);
  const crypto::Digest digest = crypto::Sha256(bytes);
  auto store = OpenStore(folder);
  REQUIRE(store->Begin(MakeId(1), bytes.size(), digest, kStart).ok());
  REQUIRE(store->WriteAt(MakeId(1), 0, bytes.substr(0, 1234), kStart).ok());
  store.reset();
  // As a crash in the middle of a Put would leave it, and a file that nobody understands.
  std::ofstream(folder.store() + "/uploads/put-7") << "torn";
  std::ofstream(folder.store() + "/uploads/x.y") << "?";
  store = OpenStore(folder);
  CHECK(store->usage().uploads == 1);
  CHECK(store->usage().reserved_bytes == bytes.size());
  CHECK(FilesIn(folder.store() + "/uploads") == 1);
  const auto again = store->Begin(MakeId(1), bytes.size(), digest, kStart);
  REQUIRE(again.ok());
  CHECK(again->offset == 1234);
  REQUIRE(store->WriteAt(MakeId(1), 1234, bytes.substr(1234), kStart).ok());
  store.reset();
  store = OpenStore(folder);
  REQUIRE(store->Commit(MakeId(1), digest).ok());
  store.reset();
  store = OpenStore(folder);
  CHECK(store->Commit(MakeId(1), digest).ok());
  CHECK(store->usage().blob_bytes == bytes.size());
  CHECK(store->Get(digest)->text() == bytes);
}

TEST_CASE("the same upload id means the same upload") {
  const Folder folder;
  const auto store = OpenStore(folder);
  REQUIRE(store->Begin(MakeId(1), 4, crypto::Sha256("good"), kStart).ok());
  CHECK(ReasonOf(store->Begin(MakeId(1), 5, crypto::Sha256("good"), kStart).status()) ==
        "REQUEST_ID_REUSED");
  CHECK(ReasonOf(store->Begin(MakeId(1), 4, crypto::Sha256("evil"), kStart).status()) ==
        "REQUEST_ID_REUSED");
  CHECK(store->Begin(MakeId(1), 4, crypto::Sha256("good"), kStart).ok());
  CHECK(store->usage().uploads == 1);
  CHECK(store->Abort(MakeId(1)).ok());
  CHECK(store->Abort(MakeId(1)).ok());
  CHECK(ReasonOf(store->WriteAt(MakeId(1), 0, "good", kStart).status()) == "NOT_FOUND");
  CHECK(ReasonOf(store->Find(MakeId(1)).status()) == "NOT_FOUND");
}

TEST_CASE("limits hold for blobs, uploads and the whole store") {
  const Folder folder;
  BlobLimits limits;
  limits.blob_bytes_max = 100;
  limits.store_bytes_max = 250;
  limits.uploads_max = 2;
  const auto store = OpenStore(folder, limits);
  const crypto::Digest digest = crypto::Sha256("x");
  CHECK(ReasonOf(store->Begin(MakeId(1), 101, digest, kStart).status()) == "UPLOAD_TOO_LARGE");
  CHECK(ReasonOf(store->Begin(MakeId(1), 0, digest, kStart).status()) == "UPLOAD_TOO_LARGE");
  CHECK(ReasonOf(store->Begin(MakeId(1), ~uint64_t{0}, digest, kStart).status()) ==
        "UPLOAD_TOO_LARGE");
  CHECK(ReasonOf(store->Put("").status()) == "UPLOAD_TOO_LARGE");
  CHECK(ReasonOf(store->Put(Bytes(101, 1)).status()) == "UPLOAD_TOO_LARGE");
  REQUIRE(store->Begin(MakeId(1), 100, digest, kStart).ok());
  REQUIRE(store->Begin(MakeId(2), 100, digest, kStart).ok());
  const auto third = store->Begin(MakeId(3), 10, digest, kStart);
  CHECK(ReasonOf(third.status()) == "OVERLOADED");
  CHECK(RetryAfterOf(third.status()).has_value());
  CHECK(ReasonOf(store->Put(Bytes(51, 3)).status()) == "STORE_FULL");  // reservations count
  CHECK(store->Put(Bytes(50, 3)).ok());
  REQUIRE(store->Abort(MakeId(2)).ok());
  CHECK(store->Begin(MakeId(3), 100, digest, kStart).ok());
  REQUIRE(store->Abort(MakeId(1)).ok());
  REQUIRE(store->Begin(MakeId(4), 100, digest, kStart).ok());
  REQUIRE(store->Abort(MakeId(3)).ok());
  REQUIRE(store->Delete(crypto::Sha256(Bytes(50, 3))).ok());
  CHECK(store->usage().blob_bytes == 0);
  CHECK(store->usage().reserved_bytes == 100);
}

TEST_CASE("idle uploads are swept, busy ones stay") {
  const Folder folder;
  auto store = OpenStore(folder);
  const absl::Duration idle = store->limits().upload_idle_max;
  REQUIRE(store->Begin(MakeId(1), 4, crypto::Sha256("good"), kStart).ok());
  REQUIRE(store->Begin(MakeId(2), 4, crypto::Sha256("good"), kStart).ok());
  REQUIRE(store->WriteAt(MakeId(2), 0, "go", kStart + idle).ok());
  CHECK(store->Sweep(kStart + idle) == 0);
  store.reset();
  store = OpenStore(folder);  // the time of the last write survives
  CHECK(store->Sweep(kStart + idle + absl::Seconds(1)) == 1);
  CHECK_FALSE(store->Find(MakeId(1)).ok());
  CHECK(store->Find(MakeId(2))->offset == 2);
  CHECK(store->usage().uploads == 1);
}

TEST_CASE("Put stores once and Delete removes for good, while mappings stay readable") {
  const Folder folder;
  auto store = OpenStore(folder);
  const auto digest = store->Put("some bytes");
  REQUIRE(digest.ok());
  CHECK(*digest == crypto::Sha256("some bytes"));
  CHECK(store->Put("some bytes").ok());
  CHECK(store->usage().blobs == 1);
  CHECK(store->usage().blob_bytes == 10);
  const auto mapped = store->Get(*digest);
  REQUIRE(store->Delete(*digest).ok());
  CHECK(store->Delete(*digest).ok());
  CHECK(mapped->text() == "some bytes");
  CHECK(ReasonOf(store->Get(*digest).status()) == "NOT_FOUND");
  CHECK(ReasonOf(store->Verify(*digest)) == "NOT_FOUND");
  CHECK(store->usage().blob_bytes == 0);
}

TEST_CASE("an upload of a blob that is there already ends well and counts once") {
  const Folder folder;
  const auto store = OpenStore(folder);
  REQUIRE(store->Put("good").ok());
  REQUIRE(store->Begin(MakeId(1), 4, crypto::Sha256("good"), kStart).ok());
  REQUIRE(store->WriteAt(MakeId(1), 0, "good", kStart).ok());
  CHECK(store->Commit(MakeId(1), crypto::Sha256("good")).ok());
  CHECK(store->usage().blob_bytes == 4);
  CHECK(FilesIn(folder.store() + "/uploads") == 0);
}

TEST_CASE("Verify finds bytes that changed on the disk") {
  const Folder folder;
  const auto store = OpenStore(folder);
  const std::string text = store->Put("good")->ToString();
  const std::string path = folder.store() + "/blobs/" + text.substr(0, 2) + "/" + text;
  REQUIRE(::chmod(path.c_str(), 0600) == 0);
  std::ofstream(path) << "evil";
  CHECK(ReasonOf(store->Verify(crypto::Sha256("good"))) == "DIGEST_MISMATCH");
}

TEST_CASE("one store at a time has the directory open") {
  const Folder folder;
  auto store = OpenStore(folder);
  CHECK(BlobStore::Open(folder.store(), {}).status().code() ==
        absl::StatusCode::kFailedPrecondition);
  store.reset();
  CHECK(BlobStore::Open(folder.store(), {}).ok());
}

TEST_CASE("a write that the disk refuses leaves the upload where it was") {
  const Folder folder;
  const auto store = OpenStore(folder);
  const std::string bytes = Bytes(8192, 4);
  REQUIRE(store->Begin(MakeId(1), bytes.size(), crypto::Sha256(bytes), kStart).ok());
  REQUIRE(store->WriteAt(MakeId(1), 0, bytes.substr(0, 1000), kStart).ok());
  // A limit on file size stands for a disk that is full: the write is cut short, then fails.
  rlimit before;
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight = {4096, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &tight) == 0);
  const auto refused = store->WriteAt(MakeId(1), 1000, bytes.substr(1000), kStart);
  const auto put = store->Put(Bytes(5000, 5));
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, handler);
  CHECK(ReasonOf(refused.status()) == "STORE_FULL");
  CHECK(ReasonOf(put.status()) == "STORE_FULL");
  CHECK(store->Find(MakeId(1))->offset == 1000);
  CHECK(store->usage().reserved_bytes == bytes.size());
  CHECK(FilesIn(folder.store() + "/uploads") == 1);
  REQUIRE(store->WriteAt(MakeId(1), 1000, bytes.substr(1000), kStart).ok());
  CHECK(store->Commit(MakeId(1), crypto::Sha256(bytes)).ok());
}

TEST_CASE("uploads run side by side, and a repeated call has the effect of one") {
  const Folder folder;
  const auto store = OpenStore(folder);
  std::vector<std::string> failures(8);
  {
    std::vector<std::jthread> threads;
    for (uint8_t t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        // Two threads share each upload and both send everything.
        const std::string bytes = Bytes(64 << 10, t / 2);
        const crypto::Digest digest = crypto::Sha256(bytes);
        const UploadId id = MakeId(1 + t / 2);
        for (int attempt = 0; attempt < 1000 && !store->Exists(digest); ++attempt) {
          const auto begun = store->Begin(id, bytes.size(), digest, kStart);
          if (!begun.ok()) continue;
          (void)store->WriteAt(id, begun->offset, bytes.substr(begun->offset, 4096), kStart);
          const absl::Status committed = store->Commit(id, digest);
          if (!committed.ok() && ReasonOf(committed) != "UPLOAD_INCOMPLETE" &&
              ReasonOf(committed) != "NOT_FOUND") {
            failures[t] = committed.ToString();
          }
        }
        if (!store->Verify(digest).ok()) failures[t] += " not stored";
      });
    }
  }
  for (const std::string& failure : failures) CHECK(failure == "");
  for (uint8_t t = 0; t < 4; ++t) CHECK(store->Abort(MakeId(1 + t)).ok());
  CHECK(store->usage().blobs == 4);
  CHECK(store->usage().blob_bytes == 4 * (64 << 10));
  CHECK(store->usage().reserved_bytes == 0);
}

}  // namespace
}  // namespace rochdale::blob
