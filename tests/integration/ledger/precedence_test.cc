// The documented order of results, and which of them burn an id. The tables' language: scene.h.
#include <catch2/catch.hpp>

#include "tests/integration/ledger/scene.h"

namespace rochdale::ledger::testing {
namespace {

// For each two neighbours in the order that ledger.proto documents, a transfer to which both apply.
// Neighbours that exclude each other are skipped, and the next two that do not are taken.
TEST_CASE("of two results that apply the first in the documented order is given", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    mandate m1 bot 1000 1000
    mandate m2 aide 1000000000000 1000000000000
    payout: fill1 supply->pool 1000            = POSTED
    payout: fill2 supply->ann 1000             = POSTED
    payout: fill3 supply->bob 1000000000       = POSTED
    payout: fill4 supply->eve 1000             = POSTED
    payout: fill5 gpusupply->anngpu 1000       = POSTED
    payout: fill6 supply->fund 1000            = POSTED

    # EXISTS, EXISTS_DIFFERENT and ID_ALREADY_FAILED exclude each other; each is before all others.
    payout: a1 pool->fund 10                   = POSTED
    status pool FROZEN
    payout: a1 pool->fund 10                   = EXISTS amount 10
    payout: a1 pool->pool 10                   = EXISTS_DIFFERENT
    payout: a1 nobody->fund 10                 = EXISTS_DIFFERENT
    status pool OPEN
    payout: a1 pool->fund 10 linked            = EXISTS_DIFFERENT
    payout: a2 pool->fund 5000                 = INSUFFICIENT_FUNDS

    # ID_ALREADY_FAILED before LINKED_CHAIN_OPEN
    payout: a2 pool->fund 5000 linked          = ID_ALREADY_FAILED
    # LINKED_CHAIN_OPEN before SAME_ACCOUNT
    payout: a3 pool->pool 1 linked             = LINKED_CHAIN_OPEN
    # SAME_ACCOUNT before PENDING_NOT_FOUND, and before accounts that are not there
    payout: a4 pool->pool post:never           = SAME_ACCOUNT
    payout: a5 nobody->nobody 1                = SAME_ACCOUNT
    # PENDING_NOT_FOUND before PENDING_DIFFERS (there is nothing to differ from)
    payout: a6 nobody->fund post:never         = PENDING_NOT_FOUND
    # PENDING_NOT_A_HOLD before PENDING_DIFFERS
    payout: a7 ann->fund post:a1               = PENDING_NOT_A_HOLD
    # PENDING_DIFFERS before DEBIT_ACCOUNT_NOT_FOUND
    payout: h1 pool->fund 100 hold:1000        = POSTED
    payout: a8 nobody->fund post:h1            = PENDING_DIFFERS
    payout: a9 pool->nobody post:h1            = PENDING_DIFFERS
    payout: a10 kind:SLASH post:h1             = PENDING_DIFFERS
    # DEBIT_ACCOUNT_NOT_FOUND before CREDIT_ACCOUNT_NOT_FOUND
    payout: a11 nobody->nobody2 1              = DEBIT_ACCOUNT_NOT_FOUND
    # CREDIT_ACCOUNT_NOT_FOUND before NOT_AUTHORISED
    payout: a12 ann->nobody 1                  = CREDIT_ACCOUNT_NOT_FOUND
    # ASSET_MISMATCH before NOT_AUTHORISED
    payout: a13 anngpu->pool 1                 = ASSET_MISMATCH
    # NOT_AUTHORISED before AGENT_PAUSED
    pause bot
    bot: a14 ann->bob 1                        = NOT_AUTHORISED
    # AGENT_PAUSED before PENDING_ALREADY_POSTED
    bob: h2 bob->ann 10 hold:1000              = POSTED
    bob: p2 post:h2                            = POSTED
    bot: a15 post:h2                           = AGENT_PAUSED
    resume bot
    # PENDING_ALREADY_POSTED, _VOIDED and PENDING_EXPIRED before PENDING_AMOUNT_EXCEEDED
    bob: a16 11 post:h2                        = PENDING_ALREADY_POSTED
    bob: h3 bob->ann 10 hold:1000              = POSTED
    bob: v3 void:h3                            = POSTED
    bob: a17 11 post:h3                        = PENDING_ALREADY_VOIDED
    bob: h4 bob->ann 10 hold:1                 = POSTED
    clock 2
    bob: a18 11 post:h4                        = PENDING_EXPIRED
    # PENDING_AMOUNT_EXCEEDED before DEBIT_ACCOUNT_NOT_OPEN
    bob: h5 bob->ann 10 hold:1000              = POSTED
    status bob FROZEN
    bob: a19 11 post:h5                        = PENDING_AMOUNT_EXCEEDED
    status bob OPEN
    # CORRECTED_NOT_FOUND and CORRECTION_NOT_ALLOWED before DEBIT_ACCOUNT_NOT_OPEN
    status fund FROZEN
    payout: a20 fund->pool 1 corrects:never    = CORRECTED_NOT_FOUND
    # CORRECTION_NOT_ALLOWED before CORRECTION_EXCEEDS
    payout: a21 fund->ann 11 corrects:a1       = CORRECTION_NOT_ALLOWED
    # CORRECTION_EXCEEDS before DEBIT_ACCOUNT_NOT_OPEN
    payout: a22 fund->pool 11 corrects:a1      = CORRECTION_EXCEEDS
    # DEBIT_ACCOUNT_NOT_OPEN before CREDIT_ACCOUNT_NOT_OPEN
    status pool CLOSING
    payout: a23 fund->pool 1                   = DEBIT_ACCOUNT_NOT_OPEN
    status fund OPEN
    # CREDIT_ACCOUNT_NOT_OPEN before INSUFFICIENT_FUNDS
    payout: a24 fund->pool 100000              = CREDIT_ACCOUNT_NOT_OPEN
    status pool OPEN
    # INSUFFICIENT_FUNDS before KYC_LEVEL_TOO_LOW
    eve: a25 eve->ann 1001                     = INSUFFICIENT_FUNDS
    # KYC_LEVEL_TOO_LOW before LIMIT_EXCEEDED (level 0 has a limit of nothing)
    eve: a26 eve->ann 1                        = KYC_LEVEL_TOO_LOW
    # LIMIT_EXCEEDED before MANDATE_EXCEEDED
    bot: a27 bob->ann 100000001                = LIMIT_EXCEEDED
    # MANDATE_EXCEEDED before OVERFLOW
    payout: full mint->brim 9223372036854775807 = POSTED
    bot: a28 bob->brim 1001                    = MANDATE_EXCEEDED
    bot: a29 bob->brim 1000                    = OVERFLOW
    # OVERFLOW before LINKED_FAILED; what was not looked at has the latter
    payout: a30 pool->ann 1 linked             = LINKED_FAILED
    + a31 pool->brim 1 linked                  = OVERFLOW
    + a32 nobody->ann 1                        = LINKED_FAILED
  )");
}

TEST_CASE("every result that burns an id does so, and no other", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    mandate m1 bot 10 10
    mandate m2 aide 1000 1000
    payout: fill1 supply->pool 1000            = POSTED
    payout: fill2 supply->bob 1000000000       = POSTED
    payout: fill3 supply->eve 10               = POSTED
    payout: fill4 supply->ann 10               = POSTED
    payout: full mint->brim 9223372036854775807 = POSTED
    payout: t1 pool->fund 10                   = POSTED

    payout: b1 nobody->pool 1                  = DEBIT_ACCOUNT_NOT_FOUND
    payout: b2 pool->nobody 1                  = CREDIT_ACCOUNT_NOT_FOUND
    status fund FROZEN
    payout: b3 fund->pool 1                    = DEBIT_ACCOUNT_NOT_OPEN
    payout: b4 pool->fund 1                    = CREDIT_ACCOUNT_NOT_OPEN
    status fund OPEN
    payout: b5 pool->fund 5000                 = INSUFFICIENT_FUNDS
    payout: b6 pool->brim 1                    = OVERFLOW
    payout: b7 post:never                      = PENDING_NOT_FOUND
    eve: b8 eve->ann 1                         = KYC_LEVEL_TOO_LOW
    bob: b9 bob->ann 100000001                 = LIMIT_EXCEEDED
    bot: b10 bob->ann 11                       = MANDATE_EXCEEDED
    pause aide
    aide: b11 ann->bob 1                       = AGENT_PAUSED
    resume aide
    payout: b12 fund->pool 1 corrects:never    = CORRECTED_NOT_FOUND
    payout: b13 fund->pool 11 corrects:t1      = CORRECTION_EXCEEDS

    # Asked again in a better world, even with other content.
    payout: b1 pool->fund 1                    = ID_ALREADY_FAILED
    payout: b2 pool->fund 1                    = ID_ALREADY_FAILED
    payout: b3 fund->pool 1                    = ID_ALREADY_FAILED
    payout: b4 pool->fund 1                    = ID_ALREADY_FAILED
    payout: b5 pool->fund 1                    = ID_ALREADY_FAILED
    payout: b6 pool->fund 1                    = ID_ALREADY_FAILED
    payout: b7 pool->fund 1                    = ID_ALREADY_FAILED
    kyc Eve 3
    eve: b8 eve->ann 1                         = ID_ALREADY_FAILED
    bob: b9 bob->ann 1                         = ID_ALREADY_FAILED
    bot: b10 bob->ann 1                        = ID_ALREADY_FAILED
    aide: b11 ann->bob 1                       = ID_ALREADY_FAILED
    payout: b12 fund->pool 1                   = ID_ALREADY_FAILED
    payout: b13 fund->pool 1                   = ID_ALREADY_FAILED

    # The others never pass, and leave their ids free.
    payout: n1 pool->pool 1                    = SAME_ACCOUNT
    payout: n1 pool->fund 1                    = POSTED
    payout: n2 gpupool->fund 1                 = ASSET_MISMATCH
    payout: n2 pool->fund 1                    = POSTED
    payout: n3 ann->fund 1                     = NOT_AUTHORISED
    payout: n3 pool->fund 1                    = POSTED
    payout: n4 pool->fund 1 linked             = LINKED_CHAIN_OPEN
    payout: n4 pool->fund 1                    = POSTED
    payout: n5 post:t1                         = PENDING_NOT_A_HOLD
    payout: n5 pool->fund 1                    = POSTED
    payout: n6 fund->pool 1 linked             = LINKED_FAILED
    + n7 pool->fund 5000                       = INSUFFICIENT_FUNDS
    payout: n6 fund->pool 1                    = POSTED
    payout: n7 pool->fund 1                    = ID_ALREADY_FAILED
    payout: n8 pool->fund 1 corrects:t1        = CORRECTION_NOT_ALLOWED
    payout: n8 pool->fund 1                    = POSTED
  )");
}

}  // namespace
}  // namespace rochdale::ledger::testing
