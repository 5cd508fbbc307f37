#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/http/client.h"
#include "libs/http/server.h"

namespace rochdale::http {
namespace {

// What the server answers to these very bytes, until it closes the connection.
std::string Raw(int port, const std::string& bytes) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  const timeval patience = {5, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  REQUIRE(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0);
  std::string answer;
  char part[4096];
  for (ssize_t n; (n = ::recv(fd, part, sizeof part, 0)) > 0;) answer.append(part, n);
  ::close(fd);
  return answer;
}

std::string RawGet(int port, const std::string& path, const std::string& method = "GET") {
  return Raw(port, absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n",
                                "\r\n"));
}

Response Echo(const Request& request) {
  return {200, absl::StrCat(request.method == Method::kPost ? "POST" : "GET", " ", request.path,
                            " ", request.body),
          kBytesType, kForEver};
}

TEST_CASE("endpoints have one spelling", "[http]") {
  CHECK(*Endpoint::Parse("127.0.0.1:7444") == Endpoint{"127.0.0.1", 7444});
  CHECK(*Endpoint::Parse("[::1]:0") == Endpoint{"::1", 0});
  CHECK(Endpoint::Parse("[::1]:9")->ToString() == "[::1]:9");
  for (const char* text : {"", ":", "127.0.0.1", "127.0.0.1:", ":80", "localhost:80", "::1:80",
                           "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:080", "127.0.0.1:8 "}) {
    CAPTURE(text);
    CHECK(Endpoint::Parse(text).status().code() == absl::StatusCode::kInvalidArgument);
  }
}

TEST_CASE("the handler sees paths as they were sent", "[http]") {
  const auto server = Server::Start({}, Echo);
  REQUIRE(server.ok());
  const int port = (*server)->port();
  struct Case {
    const char* path;
    const char* seen;
  };
  for (const Case& c : std::vector<Case>{{"/a", "/a"},
                                         {"/a?b=c", "/a"},
                                         {"/../../etc/passwd", "/../../etc/passwd"},
                                         {"/%2e%2e/x%00y", "/%2e%2e/x%00y"},
                                         {"//", "//"}}) {
    CAPTURE(c.path);
    const std::string answer = RawGet(port, c.path);
    CHECK(absl::StartsWith(answer, "HTTP/1.1 200"));
    CHECK(absl::EndsWith(answer, absl::StrCat("\r\n\r\nGET ", c.seen, " ")));
    CHECK(absl::StrContains(answer, "Content-Type: application/octet-stream\r\n"));
    CHECK(absl::StrContains(answer, "Cache-Control: public, max-age=31536000, immutable\r\n"));
  }
  const std::string head = RawGet(port, "/a", "HEAD");
  CHECK(absl::StartsWith(head, "HTTP/1.1 200"));
  CHECK(absl::EndsWith(head, "\r\n\r\n"));
  CHECK(absl::StrContains(head, "Content-Length: 7\r\n"));
}

TEST_CASE("other methods and bodies are refused", "[http]") {
  const auto server = Server::Start({}, Echo);
  REQUIRE(server.ok());
  const int port = (*server)->port();
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "BREW"}) {
    CAPTURE(method);
    const std::string answer = RawGet(port, "/a", method);
    CHECK(absl::StartsWith(answer, "HTTP/1.1 405"));
    CHECK(absl::StrContains(answer, "Allow: GET, HEAD\r\n"));
  }
  CHECK(absl::StartsWith(Raw(port, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"),
                         "HTTP/1.1 413"));
  // A body of undeclared length: the connection just ends.
  CHECK_FALSE(absl::StrContains(
      Raw(port, "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"),
      "200"));
  CHECK_FALSE(absl::StrContains(Raw(port, "nonsense\r\n\r\n"), "200"));
  CHECK_FALSE(absl::StrContains(RawGet(port, "/" + std::string(100'000, 'a')), " 200 "));
  CHECK(absl::StartsWith(RawGet(port, "/still"), "HTTP/1.1 200"));
}

TEST_CASE("a body is taken up to its bound", "[http]") {
  ServerOptions options;
  options.body_bytes_max = 100'000;
  const auto server = Server::Start(options, Echo);
  REQUIRE(server.ok());
  const std::string url = absl::StrCat("http://127.0.0.1:", (*server)->port(), "/p");
  Client client(absl::Seconds(5), 1 << 20);
  const auto posted = client.Post(url, "hello");
  REQUIRE(posted.ok());
  CHECK(posted->code == 200);
  CHECK(posted->type == kBytesType);
  CHECK(posted->body == "POST /p hello");
  const auto largest = client.Post(url, std::string(100'000, 'x'));
  REQUIRE(largest.ok());
  CHECK(largest->body.size() == 100'000 + 8);
  const auto larger = client.Post(url, std::string(100'001, 'x'));
  if (larger.ok()) CHECK(larger->code == 413);
  const std::string chunk = absl::StrCat("186A1\r\n", std::string(100'001, 'x'), "\r\n0\r\n\r\n");
  CHECK_FALSE(absl::StrContains(
      Raw((*server)->port(),
          absl::StrCat("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", chunk)),
      "200 OK"));
  const auto got = client.Get(url);
  REQUIRE(got.ok());
  CHECK(got->body == "GET /p ");
}

TEST_CASE("answers under way are bounded", "[http]") {
  ServerOptions options;
  options.unsent_bytes_max = 1'000;
  const auto server = Server::Start(options, [](const Request& request) {
    return Response{200, std::string(request.path == "/large" ? 1'001 : 1'000, 'x')};
  });
  REQUIRE(server.ok());
  const int port = (*server)->port();
  CHECK(absl::StartsWith(RawGet(port, "/large"), "HTTP/1.1 503"));
  // What was sent no longer counts.
  for (int i = 0; i < 5; ++i) CHECK(absl::StartsWith(RawGet(port, "/"), "HTTP/1.1 200"));
}

TEST_CASE("connections of one peer are bounded", "[http]") {
  ServerOptions options;
  options.threads = 1;
  options.connections_of_peer_max = 2;
  options.silent_seconds_max = 1;
  const auto server = Server::Start(options, Echo);
  REQUIRE(server.ok());
  std::vector<int> open;
  int refused = 0;
  for (int i = 0; i < 5; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>((*server)->port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to);
    const timeval patience = {0, 300'000};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    char byte;
    if (::recv(fd, &byte, 1, 0) == 0) ++refused;  // closed; one that is kept times out here
    open.push_back(fd);
  }
  CHECK(refused >= 2);
  for (const int fd : open) ::close(fd);
}

TEST_CASE("a taken port is an error, not a crash", "[http]") {
  const auto first = Server::Start({}, Echo);
  REQUIRE(first.ok());
  ServerOptions same;
  same.endpoint.port = (*first)->port();
  CHECK(Server::Start(same, Echo).status().code() == absl::StatusCode::kUnavailable);
}

TEST_CASE("the client gives up on what is too long, too late or not HTTP", "[http]") {
  const auto server = Server::Start({}, [](const Request& request) {
    if (request.path == "/slow") ::usleep(500'000);
    if (request.path == "/teapot") return Response{418, "short"};
    return Response{200, std::string(2'000, 'x')};
  });
  REQUIRE(server.ok());
  const std::string base = absl::StrCat("http://127.0.0.1:", (*server)->port());
  Client small(absl::Seconds(5), 1'999);
  CHECK(small.Get(base + "/").status().code() == absl::StatusCode::kUnavailable);
  CHECK(small.Get(base + "/teapot")->code == 418);
  Client hasty(absl::Milliseconds(100), 1 << 20);
  CHECK(hasty.Get(base + "/slow").status().code() == absl::StatusCode::kUnavailable);
  CHECK(hasty.Get(base + "/")->body.size() == 2'000);
  CHECK(hasty.Get("file:///etc/passwd").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(hasty.Get("http://127.0.0.1:1/").status().code() == absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace rochdale::http
