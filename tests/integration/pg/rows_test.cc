#include "libs/pg/rows.h"

#include <catch2/catch.hpp>
#include <limits>

#include "libs/base/clock.h"
#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/crypto/sha256.h"
#include "tests/support/postgres.h"

namespace rochdale::pg {
namespace {

template <typename Fn>
void InTransaction(Database& db, Fn fn) {
  const absl::Status status = db.Transact(absl::Seconds(20), [&](Transaction& tx) -> absl::Status {
    fn(tx);
    return absl::OkStatus();
  });
  INFO(status.ToString());
  REQUIRE(status.ok());
}

TEST_CASE("every kind of value comes back as it went") {
  testing::TestDatabase database;
  const Uuid id = *Uuid::Parse("0190a5b4-0000-7000-8000-0123456789ab");
  const std::string binary("\x00\x01\\x'\"\xff", 7);
  const crypto::Digest digest = crypto::Sha256("x");
  const absl::Time time = absl::FromUnixMicros(1'700'000'000'000'001);
  InTransaction(database.Admin(), [&](Transaction& tx) {
    const auto row = tx.ExecOne(
        "SELECT $1::bigint AS wide, $2::uuid AS id, $3::bytea AS bytes, $4::bytea AS digest, "
        "$5::bigint AS time, $6::text AS text, $7::boolean AS truth, $8::float8 AS real, "
        "$9::bigint[] AS numbers, $10::uuid[] AS ids, $11::bytea[] AS chunks, "
        "$12::text[] AS texts, "
        "$13::bigint AS nothing",
        std::numeric_limits<int64_t>::min(), AccountId{id}, Bytes{binary}, digest, time,
        "it's \"text\"\n\\", true, 0.1, std::vector<int64_t>{3, -1}, std::vector<Uuid>{id},
        std::vector<Bytes>{{binary}, {""}}, std::vector<std::string>{"a,b", "", "NULL"},
        std::optional<int64_t>());
    REQUIRE(row.ok());
    CHECK(row->Get<int64_t>("wide") == std::numeric_limits<int64_t>::min());
    CHECK(row->Get<AccountId>("id").value == id);
    CHECK(row->GetBytes("bytes") == binary);
    CHECK(row->Get<crypto::Digest>("digest") == digest);
    CHECK(row->Get<absl::Time>("time") == time);
    CHECK(row->Get<std::string>("text") == "it's \"text\"\n\\");
    CHECK(row->Get<bool>("truth"));
    CHECK(row->Get<double>("real") == 0.1);
    CHECK(row->Get<std::vector<int64_t>>("numbers") == std::vector<int64_t>{3, -1});
    CHECK(row->Get<std::vector<Uuid>>("ids") == std::vector<Uuid>{id});
    CHECK(row->GetBytesArray("chunks") == std::vector<std::string>{binary, ""});
    CHECK(row->Get<std::vector<std::string>>("texts") ==
          std::vector<std::string>{"a,b", "", "NULL"});
    CHECK(row->IsNull("nothing"));
    CHECK_FALSE(row->Get<std::optional<int64_t>>("nothing").has_value());
    CHECK_FALSE(row->GetOptionalBytes("nothing").has_value());
    const auto [wide, same_id] = row->As<int64_t, Uuid>();
    CHECK(wide == std::numeric_limits<int64_t>::min());
    CHECK(same_id == id);
  });
}

TEST_CASE("arrays in the binary format come back as they went") {
  testing::TestDatabase database;
  const Uuid id = *Uuid::Parse("0190a5b4-0000-7000-8000-0123456789ab");
  const std::string binary("\x00\x01\\x'\"\xff", 7);
  const crypto::Digest digest = crypto::Sha256("x");
  const std::vector<int64_t> wide = {std::numeric_limits<int64_t>::min(), -1, 0,
                                     std::numeric_limits<int64_t>::max()};
  const std::vector<std::string> texts = {"a,b", "", "NULL", "{\"}", "\u00e9"};
  constexpr char kEcho[] =
      "SELECT $1::uuid[] AS ids, $2::bytea[] AS chunks, $3::bytea[] AS digests, "
      "$4::text[] AS texts, $5::int[] AS numbers, $6::bigint[] AS wide";
  InTransaction(database.Admin(), [&](Transaction& tx) {
    const auto rows = tx.ExecArrays(
        kEcho, std::vector<AccountId>{{id}, {}}, std::vector<Bytes>{{binary}, {""}},
        std::vector<crypto::Digest>{digest}, texts, std::vector<int32_t>{7, -7}, wide);
    REQUIRE(rows.ok());
    const Row row = (*rows)[0];
    CHECK(row.Get<std::vector<Uuid>>("ids") == std::vector<Uuid>{id, Uuid()});
    CHECK(row.GetBytesArray("chunks") == std::vector<std::string>{binary, ""});
    CHECK(row.GetBytesArray("digests") == std::vector<std::string>{std::string(digest.AsBytes())});
    CHECK(row.Get<std::vector<std::string>>("texts") == texts);
    CHECK(row.Get<std::vector<int64_t>>("numbers") == std::vector<int64_t>{7, -7});
    CHECK(row.Get<std::vector<int64_t>>("wide") == wide);
    const auto none = tx.ExecArrays("SELECT cardinality($1::uuid[])", std::vector<Uuid>());
    REQUIRE(none.ok());
    CHECK((*none)[0].Get<int64_t>(0) == 0);
  });
  const absl::Status wrong =
      database.Admin().Transact(absl::Seconds(20), [&](Transaction& tx) -> absl::Status {
        return tx.ExecArrays("SELECT $1::bigint[]", std::vector<int32_t>{1}).status();
      });
  CHECK(absl::IsInternal(wrong));
}

TEST_CASE("rows outlive their transaction and count what was touched") {
  testing::TestDatabase database;
  std::optional<Rows> kept;
  InTransaction(database.Admin(), [&](Transaction& tx) {
    REQUIRE(tx.ExecScript("CREATE TABLE t (a bigint)").ok());
    CHECK(*tx.ExecAffected("INSERT INTO t SELECT generate_series(1, $1::bigint)", 5) == 5);
    CHECK(*tx.ExecAffected("UPDATE t SET a = a + 10 WHERE a > $1", 3) == 2);
    CHECK(*tx.ExecAffected("DELETE FROM t WHERE a = $1", 99) == 0);
    kept = *tx.Exec("SELECT a FROM t ORDER BY a");
  });
  std::vector<int64_t> values;
  for (const Row& row : *kept) values.push_back(row.Get<int64_t>(0));
  CHECK(values == std::vector<int64_t>{1, 2, 3, 14, 15});
}

TEST_CASE("COPY takes nulls, binary and awkward text, and refuses what does not fit") {
  testing::TestDatabase database;
  const std::string awkward = "tab\t newline\n backslash\\ \\N quote' end";
  const std::string binary("\x00\t\n\\\xff", 5);
  Database& db = database.Admin();
  InTransaction(db, [&](Transaction& tx) {
    REQUIRE(
        tx.ExecScript("CREATE TABLE c (id bigint, text text, bytes bytea, list bigint[])").ok());
    const absl::Status copied = tx.CopyIn(
        "c", {"id", "text", "bytes", "list"}, [&](CopyWriter& writer) -> absl::Status {
          RETURN_IF_ERROR(writer.Write({1, awkward, Bytes{binary}, std::vector<int64_t>{1, 2}}));
          for (int i = 2; i <= 5000; ++i) {
            RETURN_IF_ERROR(writer.Write({i, std::nullopt, std::nullopt, std::nullopt}));
          }
          return absl::OkStatus();
        });
    INFO(copied.ToString());
    REQUIRE(copied.ok());
    const auto row = tx.ExecOne("SELECT text, bytes, list FROM c WHERE id = $1", 1);
    REQUIRE(row.ok());
    CHECK(row->Get<std::string>(0) == awkward);
    CHECK(row->GetBytes(1) == binary);
    CHECK(row->Get<std::vector<int64_t>>(2) == std::vector<int64_t>{1, 2});
    CHECK(tx.ExecOne("SELECT count(*) FROM c WHERE text IS NULL")->Get<int64_t>(0) == 4999);
  });

  const auto copy = [&](auto fill) {
    return db.Transact(absl::Seconds(20), [&](Transaction& tx) {
      return tx.CopyIn("c", {"id", "text"}, fill);
    });
  };
  CHECK(ReasonOf(copy([](CopyWriter& writer) { return writer.Write({1}); })) == "INTERNAL");
  CHECK(ReasonOf(copy([](CopyWriter& writer) { return writer.Write({"x", "y"}); })) == "INTERNAL");
  CHECK(ReasonOf(copy([](CopyWriter& writer) {
          return writer.Write({1, std::string("a\0b", 3)});
        })) == "BAD_REQUEST");
  CHECK(ReasonOf(copy([](CopyWriter& writer) -> absl::Status {
          RETURN_IF_ERROR(writer.Write({77, "half"}));
          return Error("NOT_FOUND", "stopped in the middle");
        })) == "NOT_FOUND");
  // Nothing of these stayed, and the connection still works.
  InTransaction(db, [&](Transaction& tx) {
    CHECK(tx.ExecOne("SELECT count(*) FROM c")->Get<int64_t>(0) == 5000);
  });
}

}  // namespace
}  // namespace rochdale::pg
