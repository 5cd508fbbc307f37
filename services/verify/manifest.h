// manifest.json and manifest.sig: what the bundle consists of, and that the log's key says so.
#pragma once

#include "absl/status/statusor.h"
#include "libs/base/ids.h"
#include "libs/crypto/note.h"
#include "services/verify/bundle.h"
#include "services/verify/report.h"

namespace rochdale::verify {

// The first line of manifest.sig.
inline constexpr char kBundleLine[] = "rochdale evidence bundle v1";

// The key in log/origin.vkey. INVALID_ARGUMENT.
absl::StatusOr<crypto::NoteKey> OriginKey(const Bundle& bundle, const std::string& path);
// A verifier key, with or without a newline at its end. INVALID_ARGUMENT.
absl::StatusOr<crypto::NoteKey> ParseKeyFile(absl::string_view text);

// Checks "manifest-signature" and "manifest" (every file's digest and size, none missing, none
// too many). Gives the cooperative; zero where that could not be read.
CooperativeId CheckManifest(const Bundle& bundle, const crypto::NoteKey& origin, Report& report);

}  // namespace rochdale::verify
