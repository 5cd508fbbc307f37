// What is answered, case by case: holds, chains, balancing, repetition, limits, mandates, floors.
// The language of the tables is in scene.h.
#include <catch2/catch.hpp>

#include "tests/integration/ledger/scene.h"

namespace rochdale::ledger::testing {
namespace {

TEST_CASE("holds: set aside, posted in full or part, voided, expired", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->pool 100              = POSTED debit -100 credit 100
    # In full, by leaving the amount out.
    payout: h1 pool->fund 60 hold:100          = POSTED amount 60 debit 100 credit 0
    balance pool 100 held 60
    balance fund 0 held 0
    payout: p1 post:h1                         = POSTED amount 60 debit 40 credit 60
    balance pool 40 held 0
    payout: p1 post:h1                         = EXISTS amount 60 debit 40 credit 60
    payout: p1b post:h1                        = PENDING_ALREADY_POSTED
    payout: v1 void:h1                         = PENDING_ALREADY_POSTED
    # In part: the rest is free again, and there is no second part.
    payout: h2 pool->fund 30 hold:100          = POSTED
    payout: p2 10 post:h2                      = POSTED amount 10 debit 30 credit 70
    balance pool 30 held 0
    payout: p2b 20 post:h2                     = PENDING_ALREADY_POSTED
    # More than was set aside.
    payout: h3 pool->fund 30 hold:100          = POSTED
    payout: p3 31 post:h3                      = PENDING_AMOUNT_EXCEEDED
    payout: p3 30 post:h3                      = POSTED amount 30 debit 0 credit 100
    # Voided.
    payout: h4 fund->pool 50 hold:100          = POSTED
    payout: v4 void:h4                         = POSTED debit 100 credit 0
    balance fund 100 held 0
    payout: v4 void:h4                         = EXISTS
    payout: v4b void:h4                        = PENDING_ALREADY_VOIDED
    payout: p4 post:h4                         = PENDING_ALREADY_VOIDED
    # Expired: at the second, not before.
    payout: h5 fund->pool 50 hold:10           = POSTED
    clock 9
    balance fund 100 held 50
    payout: t5 fund->pool 51                   = INSUFFICIENT_FUNDS
    clock 1
    payout: t5b fund->pool 51                  = POSTED debit 49 credit 51
    payout: p5 post:h5                         = PENDING_EXPIRED
    payout: v5 void:h5                         = PENDING_EXPIRED
    balance fund 49 held 0
    # A hold is not a transfer that can be corrected; what posts it is.
    payout: h6 fund->pool 9 hold:100           = POSTED
    payout: c6 pool->fund 9 corrects:h6        = CORRECTION_NOT_ALLOWED
    payout: p6 post:h6                         = POSTED debit 40 credit 60
    payout: c6b pool->fund 9 corrects:p6       = POSTED debit 51 credit 49
    # Given accounts must be the hold's.
    payout: h7 fund->pool 9 hold:100           = POSTED
    payout: p7 fund->ann post:h7               = PENDING_DIFFERS
    payout: p7 pool->fund post:h7              = PENDING_DIFFERS
    payout: p7 fund->pool kind:REWARD post:h7  = POSTED amount 9
    # What a step of two names is a hold, not another step.
    payout: p8 post:p7                         = PENDING_NOT_A_HOLD
    payout: v8 void:fill                       = PENDING_NOT_A_HOLD
    payout: p9 post:v8                         = PENDING_NOT_FOUND
  )");
}

TEST_CASE("a hold meets frozen, closing and closed accounts", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->pool 100              = POSTED
    payout: h1 pool->fund 10 hold:100          = POSTED
    payout: h2 pool->fund 10 hold:100          = POSTED
    status fund FROZEN
    payout: p1 post:h1                         = CREDIT_ACCOUNT_NOT_OPEN
    # Nothing moves where a hold is voided: it always can be.
    payout: v1 void:h1                         = POSTED
    status fund OPEN
    status pool FROZEN
    payout: p2 post:h2                         = DEBIT_ACCOUNT_NOT_OPEN
    payout: v2 void:h2                         = POSTED
    status pool OPEN
    payout: h3 pool->fund 10 hold:100          = POSTED
    # A closing account sends what it has.
    status pool CLOSING
    payout: p3 post:h3                         = POSTED
    payout: h4 fund->pool 1 hold:100           = CREDIT_ACCOUNT_NOT_OPEN
  )");
}

TEST_CASE("who posts and voids a hold", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    mandate m2 aide 1000 1000 bob
    payout: fill1 supply->ann 1000             = POSTED
    payout: fill2 supply->pool 1000            = POSTED
    ann: h1 ann->bob 10 hold:100               = POSTED
    bob: p1 post:h1                            = NOT_AUTHORISED
    payout: p1 post:h1                         = NOT_AUTHORISED
    eve: v1 void:h1                            = NOT_AUTHORISED
    # The one who would receive may let it go.
    bob: v1 void:h1                            = POSTED
    ann: h2 ann->pool 10 hold:100              = POSTED
    payout: p2 post:h2                         = NOT_AUTHORISED
    payout: v2 void:h2                         = POSTED
    payout: h3 pool->ann 10 hold:100           = POSTED
    ann: p3 post:h3                            = NOT_AUTHORISED
    ann: v3 void:h3                            = POSTED
    aide: h4 ann->bob 10 hold:100              = POSTED
    aide: h5 ann->eve 10 hold:100              = NOT_AUTHORISED
    ann: h6 ann->eve 10 hold:100               = POSTED
    aide: p6 post:h6                           = NOT_AUTHORISED
    aide: p4 post:h4                           = POSTED
  )");
}

TEST_CASE("chains succeed or fail together", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->pool 100              = POSTED
    payout: a1 pool->fund 100 linked           = POSTED debit 0 credit 100
    + a2 fund->pool 50 linked                  = POSTED debit 50 credit 50
    + a3 pool->ann 50                          = POSTED debit 0 credit 50
    # All of it again: the first results, with the balances of then.
    payout: a1 pool->fund 100 linked           = EXISTS debit 0 credit 100
    + a2 fund->pool 50 linked                  = EXISTS debit 50 credit 50
    + a3 pool->ann 50                          = EXISTS debit 0 credit 50
    # The last fails: nothing of it is there.
    payout: b1 fund->pool 10 linked            = LINKED_FAILED
    + b2 pool->ann 10 linked                   = LINKED_FAILED
    + b3 fund->pool 41                         = INSUFFICIENT_FUNDS
    balance fund 50 held 0
    balance pool 0 held 0
    # The first fails: the others are not looked at, and their ids stay free.
    payout: c1 pool->fund 1 linked             = INSUFFICIENT_FUNDS
    + c2 nobody->fund 1                        = LINKED_FAILED
    payout: c2 fund->pool 1                    = POSTED
    # Chains next to each other do not touch.
    payout: d1 fund->pool 1 linked             = LINKED_FAILED
    + d2 nobody->pool 1                        = DEBIT_ACCOUNT_NOT_FOUND
    + d3 fund->pool 1                          = POSTED
    + d4 fund->pool 1 linked                   = POSTED
    + d5 fund->pool 1                          = POSTED
    balance fund 46 held 0
    # A request that ends inside a chain.
    payout: e1 fund->pool 1                    = POSTED
    + e2 fund->pool 1 linked                   = LINKED_FAILED
    + e3 fund->pool 1 linked                   = LINKED_CHAIN_OPEN
    balance fund 45 held 0
    # Holds, their ends, limits and corrections are taken back too.
    payout: h1 fund->pool 5 hold:100           = POSTED
    payout: f1 post:h1 linked                  = LINKED_FAILED
    + f2 fund->pool 5 hold:100 linked          = LINKED_FAILED
    + f3 pool->fund 1 corrects:e1 linked       = LINKED_FAILED
    + f4 fund->pool 1000                       = INSUFFICIENT_FUNDS
    balance fund 45 held 5
    payout: g1 post:h1                         = POSTED
    payout: g2 pool->fund 1 corrects:e1        = POSTED
    payout: g3 post:f2                         = PENDING_NOT_FOUND
    # Of a chain that is posted in part, the rest fails.
    payout: i1 fund->pool 1 linked             = POSTED
    + i2 fund->pool 1                          = POSTED
    payout: i1 fund->pool 1 linked             = EXISTS
    + i3 fund->pool 1                          = LINKED_FAILED
    payout: i3 fund->pool 1                    = POSTED
    # A member that burned its id keeps the chain from ever succeeding.
    payout: b1 fund->pool 10 linked            = LINKED_FAILED
    + b3 fund->pool 1                          = ID_ALREADY_FAILED
  )");
}

TEST_CASE("a limit that a failed chain used is free again", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->bob 1000000000        = POSTED
    bob: a1 bob->ann 60000000 linked           = LINKED_FAILED
    + a2 bob->ann 60000000                     = LIMIT_EXCEEDED
    bob: a3 bob->ann 100000000                 = POSTED
    bob: a4 bob->ann 1                         = LIMIT_EXCEEDED
  )");
}

TEST_CASE("balancing moves at most what is there", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->pool 100              = POSTED
    payout: b1 pool->fund 30 balancing         = POSTED amount 30 debit 70 credit 30
    payout: b2 pool->fund 100 balancing        = POSTED amount 70 debit 0 credit 100
    payout: b3 pool->fund 1 balancing          = INSUFFICIENT_FUNDS
    # Holds are not there to be moved.
    payout: h1 fund->pool 90 hold:100          = POSTED
    payout: b4 fund->pool 100 balancing        = POSTED amount 10 debit 90 credit 10
    # A hold can be balancing too.
    payout: v1 void:h1                         = POSTED
    payout: b5 fund->pool 500 balancing hold:100 = POSTED amount 90
    balance fund 90 held 90
    payout: p5 post:b5                         = POSTED amount 90 debit 0 credit 100
    # Down to the floor, whatever it is.
    floor fund -50
    payout: b6 fund->pool 500 balancing        = POSTED amount 50 debit -50 credit 150
    floor pool 149
    payout: b7 pool->fund 500 balancing        = POSTED amount 1 debit 149 credit -49
    # A floor above the balance leaves nothing.
    floor pool 200
    payout: b8 pool->fund 500 balancing        = INSUFFICIENT_FUNDS
    # An unlimited account gives all that is asked for.
    payout: b9 supply->pool 500 balancing      = POSTED amount 500
    # In a chain each sees what the one before it left.
    floor pool 0
    payout: c1 pool->fund 100000 balancing linked = POSTED amount 649 debit 0 credit 600
    + c2 fund->pool 100000 balancing           = POSTED amount 650 debit -50 credit 650
  )");
}

TEST_CASE("one id, one effect", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->pool 100              = POSTED
    payout: t1 pool->fund 10 code:7 ref:x      = POSTED amount 10 debit 90 credit 10
    # Twice in one call, and again later.
    payout: t2 pool->fund 10                   = POSTED debit 80 credit 20
    + t2 pool->fund 10                         = EXISTS debit 80 credit 20
    + t2 pool->fund 11                         = EXISTS_DIFFERENT
    payout: t2 pool->fund 10                   = EXISTS debit 80 credit 20
    # Every part of the content counts.
    payout: t1 pool->fund 10 code:7 ref:x      = EXISTS debit 90 credit 10
    payout: t1 pool->ann 10 code:7 ref:x       = EXISTS_DIFFERENT
    payout: t1 supply->fund 10 code:7 ref:x    = EXISTS_DIFFERENT
    payout: t1 pool->fund 11 code:7 ref:x      = EXISTS_DIFFERENT
    payout: t1 pool->fund 10 code:8 ref:x      = EXISTS_DIFFERENT
    payout: t1 pool->fund 10 ref:x             = EXISTS_DIFFERENT
    payout: t1 pool->fund 10 code:7 ref:xx     = EXISTS_DIFFERENT
    payout: t1 pool->fund 10 code:7            = EXISTS_DIFFERENT
    payout: t1 pool->fund 10 code:7 ref:x kind:FEE = EXISTS_DIFFERENT
    payout: t1 pool->fund 10 code:7 ref:x balancing = EXISTS_DIFFERENT
    payout: t1 pool->fund 10 code:7 ref:x hold:5 = EXISTS_DIFFERENT
    payout: t1 pool->fund 10 code:7 ref:x corrects:t2 = EXISTS_DIFFERENT
    payout: t1 post:t2                         = EXISTS_DIFFERENT
    payout: h1 pool->fund 5 hold:50            = POSTED
    payout: h1 pool->fund 5 hold:51            = EXISTS_DIFFERENT
    payout: h2 pool->fund 5 hold:50            = POSTED
    payout: p1 post:h1                         = POSTED
    payout: p1 post:h2                         = EXISTS_DIFFERENT
    payout: p1 void:h1                         = EXISTS_DIFFERENT
    # A burned id, twice in one call.
    payout: b1 pool->fund 5000                 = INSUFFICIENT_FUNDS
    + b1 pool->fund 5000                       = ID_ALREADY_FAILED
    balance pool 75 held 5
  )");
}

TEST_CASE("limits of KYC levels count everything that leaves, holds included", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill1 supply->bob 100000000000     = POSTED
    payout: fill2 supply->eve 1000             = POSTED
    # Level 1: 100 tokens a day.
    bob: t1 bob->ann 40000000                  = POSTED
    bob: h1 bob->ann 40000000 hold:400000      = POSTED
    bob: t2 bob->ann 20000001                  = LIMIT_EXCEEDED
    bob: t3 bob->ann 20000000                  = POSTED
    bob: t4 bob->ann 1                         = LIMIT_EXCEEDED
    # To post it is no second outflow; what is not posted of it is free again.
    bob: p1 10000000 post:h1                   = POSTED
    bob: t5 bob->ann 30000001                  = LIMIT_EXCEEDED
    bob: h2 bob->ann 30000000 hold:400000      = POSTED
    bob: t6 bob->ann 1                         = LIMIT_EXCEEDED
    bob: v2 void:h2                            = POSTED
    bob: t7 bob->ann 30000000                  = POSTED
    # What comes in does not count, nor what a service moves.
    payout: in supply->bob 1                   = POSTED
    # The next day is another day, and what expires counts on the day it was set aside.
    clock 86400
    bob: h3 bob->ann 100000000 hold:86400      = POSTED
    bob: t8 bob->ann 1                         = LIMIT_EXCEEDED
    clock 86400
    bob: t9 bob->ann 100000000                 = POSTED
    # A higher level allows more at once, and a lower one less.
    kyc Bob 2
    bob: t10 bob->ann 9900000000               = POSTED
    bob: t11 bob->ann 1                        = LIMIT_EXCEEDED
    kyc Bob 3
    bob: t12 bob->ann 80000000000              = POSTED
    kyc Bob 0
    bob: t13 bob->ann 1                        = KYC_LEVEL_TOO_LOW
    # Level 0 receives only; so does one whose attestation has expired.
    eve: t14 eve->ann 1                        = KYC_LEVEL_TOO_LOW
    kyc Eve 3 100
    eve: t15 eve->ann 1                        = POSTED
    clock 100
    eve: t16 eve->ann 1                        = KYC_LEVEL_TOO_LOW
    ann: t17 ann->eve 1                        = POSTED
    ann: t18 ann->ann2 1                       = POSTED
  )");
}

TEST_CASE("an agent spends within its mandate", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill1 supply->ann 100000           = POSTED
    payout: fill2 gpusupply->anngpu 100        = POSTED
    aide: t0 ann->bob 1                        = NOT_AUTHORISED
    mandate m1 aide 100 250
    aide: t1 ann->bob 60                       = POSTED
    aide: t2 ann->bob 41                       = MANDATE_EXCEEDED
    aide: h1 ann->bob 40 hold:400000           = POSTED
    aide: t3 ann->bob 1                        = MANDATE_EXCEEDED
    aide: p1 10 post:h1                        = POSTED
    aide: t4 ann->bob 30                       = POSTED
    # Its principal is not bound by it.
    ann: t5 ann->bob 1000                      = POSTED
    # The next day: up to the total.
    clock 86400
    aide: t6 ann->bob 100                      = POSTED
    clock 86400
    aide: t7 ann->bob 51                       = MANDATE_EXCEEDED
    aide: t8 ann->bob 50                       = POSTED
    aide: t9 ann->bob 1                        = MANDATE_EXCEEDED
    # One that names whom it may pay: it takes the place of the one before.
    mandate m2 aide 1000 1000 pool
    aide: t10 ann->pool 5                      = POSTED
    aide: t12 ann->eve 1                       = NOT_AUTHORISED
    # Tokens only, its principal's only, and no kinds of the services.
    aide: t13 anngpu->gpupool 1                = NOT_AUTHORISED
    aide: t14 bob->pool 1                      = NOT_AUTHORISED
    aide: t15 ann->pool 1 kind:REWARD          = NOT_AUTHORISED
    pause aide
    aide: t16 ann->pool 1                      = AGENT_PAUSED
    ann: t17 ann->pool 1                       = POSTED
    resume aide
    aide: t18 ann->pool 1                      = POSTED
    revoke m2
    aide: t19 ann->pool 1                      = NOT_AUTHORISED
  )");
}

TEST_CASE("floors count holds; closing and frozen accounts", "[ledger]") {
  Scene scene;
  scene.Play(R"(
    payout: fill supply->pool 100              = POSTED
    floor pool 40
    payout: t1 pool->fund 61                   = INSUFFICIENT_FUNDS
    payout: t2 pool->fund 30 hold:100          = POSTED
    payout: t3 pool->fund 31                   = INSUFFICIENT_FUNDS
    payout: t4 pool->fund 30                   = POSTED
    floor pool -10
    payout: t5 pool->fund 50                   = POSTED debit 20 credit 80
    payout: t6 pool->fund 1                    = INSUFFICIENT_FUNDS
    # A floor that was raised above the balance does not stop what comes in, nor a hold's post.
    floor pool 1000
    payout: t7 supply->pool 1                  = POSTED
    payout: t8 post:t2                         = POSTED
    status fund FROZEN
    payout: t9 fund->pool 1                    = DEBIT_ACCOUNT_NOT_OPEN
    payout: t10 supply->fund 1                 = CREDIT_ACCOUNT_NOT_OPEN
    status fund OPEN
    status fund CLOSING
    payout: t11 supply->fund 1                 = CREDIT_ACCOUNT_NOT_OPEN
    payout: t12 fund->pool 110                 = POSTED debit 0
    status fund CLOSED
    payout: t13 fund->pool 1                   = DEBIT_ACCOUNT_NOT_OPEN
    payout: t14 pool->fund 1                   = CREDIT_ACCOUNT_NOT_OPEN
  )");
}

}  // namespace
}  // namespace rochdale::ledger::testing
