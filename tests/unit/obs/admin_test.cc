#include "libs/obs/admin.h"

#include <curl/curl.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <string>

#include "absl/strings/str_cat.h"

namespace rochdale::obs {
namespace {

struct Reply {
  long code = 0;
  std::string body;
};

size_t Append(char* data, size_t size, size_t count, void* out) {
  static_cast<std::string*>(out)->append(data, size * count);
  return size * count;
}

Reply Request(int port, const std::string& path, const char* method = "GET") {
  Reply reply;
  CURL* curl = curl_easy_init();
  const std::string url = absl::StrCat("http://127.0.0.1:", port, path);
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 5L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply.body);
  REQUIRE(curl_easy_perform(curl) == CURLE_OK);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.code);
  curl_easy_cleanup(curl);
  return reply;
}

TEST_CASE("the admin port serves metrics, health and readiness", "[obs]") {
  Metrics metrics;
  metrics.AddCounter("rochdale_things_total", "Things.").Add(7);
  std::atomic<bool> ready{false};
  const auto server = AdminServer::Start({}, metrics, [&] {
    return ready ? absl::OkStatus() : absl::UnavailableError("the database is away");
  });
  REQUIRE(server.ok());
  const int port = (*server)->port();
  REQUIRE(port > 0);

  CHECK(Request(port, "/healthz").code == 200);
  const Reply before = Request(port, "/readyz");
  CHECK(before.code == 503);
  CHECK(before.body == "not ready: the database is away\n");
  ready = true;
  CHECK(Request(port, "/readyz").code == 200);
  const Reply exposed = Request(port, "/metrics");
  CHECK(exposed.code == 200);
  CHECK(exposed.body.find("rochdale_things_total 7\n") != std::string::npos);
}

TEST_CASE("the admin port serves nothing else", "[obs]") {
  Metrics metrics;
  const auto server = AdminServer::Start({}, metrics, [] { return absl::OkStatus(); });
  REQUIRE(server.ok());
  const int port = (*server)->port();
  CHECK(Request(port, "/").code == 404);
  CHECK(Request(port, "/../../etc/passwd").code == 404);
  CHECK(Request(port, "/metrics/x").code == 404);
  CHECK(Request(port, "/metrics", "POST").code == 405);
  CHECK(Request(port, "/metrics", "DELETE").code == 405);
}

TEST_CASE("a taken admin port is an error, not a crash", "[obs]") {
  Metrics metrics;
  const auto first = AdminServer::Start({}, metrics, [] { return absl::OkStatus(); });
  REQUIRE(first.ok());
  AdminOptions same;
  same.port = (*first)->port();
  const auto second = AdminServer::Start(same, metrics, [] { return absl::OkStatus(); });
  CHECK(second.status().code() == absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace rochdale::obs
