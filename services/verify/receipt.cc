#include "services/verify/receipt.h"

#include "absl/strings/str_cat.h"
#include "libs/crypto/entry.h"
#include "libs/crypto/entry_kinds.h"
#include "libs/crypto/tlog_proof.h"

namespace rochdale::verify {

void CheckReceipt(absl::string_view text, const crypto::NoteKey& origin,
                  const std::vector<crypto::NoteKey>& witnesses, Report& report) {
  Check& check = report.Begin("receipt");
  constexpr char kWhere[] = "receipt";
  const auto proof = crypto::TlogProof::Parse(text);
  if (!check.Need(proof.status(), kWhere)) return;
  if (!check.Need(!proof->extra.empty(), kWhere, "it does not hold its entry")) return;
  const auto checkpoint = crypto::VerifyTlogProof(*proof, proof->extra, origin);
  if (!check.Need(checkpoint.status(), kWhere)) return;
  const auto note = crypto::ParseNote(proof->checkpoint);
  if (!check.Need(note.status(), kWhere)) return;
  for (const crypto::NoteKey& witness : witnesses) {
    const auto cosigned = crypto::VerifyCosignature(*note, witness);
    check.Need(cosigned.ok(), kWhere, absl::StrCat("no cosignature of ", witness.name));
  }
  const auto entry = crypto::DecodeEntry(proof->extra);
  if (!check.Need(entry.status(), kWhere)) return;
  if (!check.Need(crypto::CheckKind(*entry), kWhere)) return;
  check.Say(absl::StrCat(crypto::FindKind(entry->kind)->name, " ", entry->event_id.ToString(),
                         " about ", entry->subject.ToString(), " is entry ", proof->index,
                         " of the ", checkpoint->size, " that ", checkpoint->origin, " signed"));
}

}  // namespace rochdale::verify
