#include "services/verify/manifest.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "libs/base/status_macros.h"
#include "services/verify/json.h"

namespace rochdale::verify {
namespace {

constexpr char kManifest[] = "manifest.json";
constexpr char kSignature[] = "manifest.sig";

// The folders that a bundle may have; what is in them is for others to check.
bool HasPlace(absl::string_view path) {
  for (const absl::string_view file : {"log/checkpoint", "log/origin.vkey", "log/witness.vkey"}) {
    if (path == file) return true;
  }
  for (const absl::string_view folder :
       {"log/checkpoints/", "log/tile/", "documents/", "decisions/", "rounds/", "credits/",
        "statements/", "comparisons/", "blobs/"}) {
    if (absl::StartsWith(path, folder)) return true;
  }
  return false;
}

absl::Status CheckSignature(const Bundle& bundle, const crypto::NoteKey& origin) {
  ASSIGN_OR_RETURN(const std::string bytes, bundle.Read(kSignature, crypto::kNoteMaxBytes));
  ASSIGN_OR_RETURN(const crypto::Note note, crypto::ParseNote(bytes));
  if (note.signatures.size() != 1) {
    return absl::DataLossError("it has more than one signature");
  }
  RETURN_IF_ERROR(crypto::VerifyNote(note, origin));
  ASSIGN_OR_RETURN(const crypto::Digest digest, bundle.Sha256(kManifest));
  if (note.text != absl::StrCat(kBundleLine, "\n", digest.ToString(), "\n")) {
    return absl::DataLossError(absl::StrCat("it is not over the digest of ", kManifest));
  }
  return absl::OkStatus();
}

void CheckFile(const Bundle& bundle, const std::string& path, const nlohmann::json& stated,
               Check& check) {
  Members members(stated);
  const crypto::Digest digest = members.Typed<crypto::Digest>("sha256");
  const int64_t size = members.Int("size");
  if (!check.Need(members.Done(), absl::StrCat(kManifest, " on ", path))) return;
  check.Need(HasPlace(path), path, "no file of a bundle has this place");
  if (absl::StartsWith(path, "blobs/")) {
    check.Need(path == absl::StrCat("blobs/", digest.ToString()), path,
               "a blob is called by its SHA-256");
  }
  const auto found = bundle.files().find(path);
  if (found == bundle.files().end()) {
    check.Fail(path, "it is missing");
    return;
  }
  if (!check.Need(size >= 0 && found->second.size == static_cast<uint64_t>(size), path,
                  absl::StrCat("it has ", found->second.size, " bytes, not ", size))) {
    return;
  }
  const auto actual = bundle.Sha256(path);
  if (!check.Need(actual.status(), path)) return;
  check.Need(*actual == digest, path,
             absl::StrCat("its SHA-256 is ", actual->ToString(), ", not ", digest.ToString()));
}

}  // namespace

absl::StatusOr<crypto::NoteKey> ParseKeyFile(absl::string_view text) {
  return crypto::NoteKey::Parse(absl::StripSuffix(text, "\n"));
}

absl::StatusOr<crypto::NoteKey> OriginKey(const Bundle& bundle, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, bundle.Read(path, 4096));
  return ParseKeyFile(text);
}

CooperativeId CheckManifest(const Bundle& bundle, const crypto::NoteKey& origin, Report& report) {
  Check& signature = report.Begin("manifest-signature");
  signature.Say("signed by the log's key");
  signature.Need(CheckSignature(bundle, origin), kSignature);
  Check& check = report.Begin("manifest");
  const auto bytes = bundle.Read(kManifest, kManifestBytesMax);
  if (!check.Need(bytes.status(), kManifest)) return {};
  const auto json = ParseCanonicalObject(*bytes);
  if (!check.Need(json.status(), kManifest)) return {};
  Members members(*json);
  if (members.Int("format") != 1) members.Fail("format");
  const CooperativeId cooperative = members.Typed<CooperativeId>("cooperative_id");
  const nlohmann::json& files = members.Object("files");
  if (!check.Need(members.Done(), kManifest)) return {};
  for (const auto& [path, stated] : files.items()) {
    if (!IsBundlePath(path) || path == kManifest || path == kSignature) {
      check.Fail(kManifest, absl::StrCat("it names ", path));
      continue;
    }
    CheckFile(bundle, path, stated, check);
  }
  for (const auto& [path, file] : bundle.files()) {
    if (path != kManifest && path != kSignature && !files.contains(path)) {
      check.Fail(path, "it is not in the manifest");
    }
  }
  check.Say(absl::StrCat(files.size(), " files"));
  return cooperative;
}

}  // namespace rochdale::verify
