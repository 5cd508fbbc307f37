#include "services/verify/documents.h"

#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/base64.h"
#include "libs/crypto/entry_kinds.h"
#include "services/verify/json.h"

namespace rochdale::verify {
namespace {

namespace tag = crypto::tag;

constexpr uint64_t kFileBytesMax = 2 * crypto::kDocumentBodyMaxBytes;

absl::StatusOr<crypto::SignedDocument> ReadDocument(const Bundle& bundle, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, bundle.Read(path, kFileBytesMax));
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseCanonicalObject(bytes));
  Members members(json);
  const std::string type = members.Text("type");
  const std::string body64 = members.Text("body");
  const std::string key = members.Text("public_key");
  const std::string signature = members.Text("signature");
  RETURN_IF_ERROR(members.Done());
  ASSIGN_OR_RETURN(const std::string body,
                   crypto::Base64Decode(crypto::Base64::kStandard, body64));
  ASSIGN_OR_RETURN(const std::string key_bytes, crypto::HexDecode(key));
  ASSIGN_OR_RETURN(const std::string signature_bytes, crypto::HexDecode(signature));
  ASSIGN_OR_RETURN(crypto::SignedDocument document,
                   crypto::MakeSignedDocument(type, body, key_bytes, signature_bytes));
  RETURN_IF_ERROR(crypto::VerifyDocument(document));
  return document;
}

// The entry's own key and signature over the body that was found. (Several people may sign one
// body; the file holds one of them.)
bool SignsBody(const crypto::Entry& entry, const crypto::SignedDocument& document) {
  const auto type = entry.Text(tag::kDocumentType);
  const auto key_bytes = entry.Bytes(tag::kPublicKey);
  const auto signature_bytes = entry.Bytes(tag::kSignature);
  if (!type.ok() || !key_bytes.ok() || !signature_bytes.ok()) return false;
  const auto signed_here =
      crypto::MakeSignedDocument(*type, document.body, *key_bytes, *signature_bytes);
  return signed_here.ok() && *type == document.type && crypto::VerifyDocument(*signed_here).ok();
}

}  // namespace

Documents CheckDocuments(const Bundle& bundle, const Log& log, Report& report) {
  Check& check = report.Begin("documents");
  Documents documents;
  for (const std::string& name : bundle.NamesIn("documents")) {
    const std::string path = absl::StrCat("documents/", name);
    auto document = ReadDocument(bundle, path);
    if (!check.Need(document.status(), path)) continue;
    const crypto::Digest digest = crypto::DocumentDigest(*document);
    if (!check.Need(name == absl::StrCat(digest.ToString(), ".json"), path,
                    absl::StrCat("the document's digest is ", digest.ToString()))) {
      continue;
    }
    documents.emplace(digest, *std::move(document));
  }
  std::set<crypto::Digest> named;
  size_t signed_entries = 0;
  for (const crypto::Entry& entry : log.entries()) {
    const auto digest = entry.DigestAt(tag::kDocumentDigest);
    if (!digest.ok()) continue;
    named.insert(*digest);
    const auto found = documents.find(*digest);
    if (found == documents.end()) continue;
    ++signed_entries;
    check.Need(SignsBody(entry, found->second), NameOf(log, entry),
               absl::StrCat("its signature does not verify over documents/", digest->ToString(),
                            ".json"));
  }
  size_t present = 0;
  for (const crypto::Digest& digest : named) present += documents.contains(digest) ? 1 : 0;
  check.Say(absl::StrCat(documents.size(), " documents, ", signed_entries,
                         " signatures of entries verified; ", present, " of ", named.size(),
                         " that entries name are there"));
  return documents;
}

}  // namespace rochdale::verify
