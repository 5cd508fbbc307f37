#include "tests/support/pg_proxy.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <stdexcept>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace rochdale::testing {
namespace {

constexpr char kSocket[] = "/.s.PGSQL.5432";

sockaddr_un AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("socket path too long");
  ::memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

uint32_t LengthAt(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}

// The whole of `bytes`; the other side is a process of ours or a local server, which reads.
bool SendAll(int socket, const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

// Adds what can be read now; false at the end.
bool ReadSome(int socket, std::string& into) {
  char buffer[65'536];
  const ssize_t n = ::recv(socket, buffer, sizeof buffer, 0);
  if (n <= 0) return false;
  into.append(buffer, static_cast<size_t>(n));
  return true;
}

std::string CString(const std::string& body, size_t from) {
  return from >= body.size() ? "" : std::string(body.c_str() + from);
}

bool IsCommit(const std::string& sql) {
  return absl::StartsWithIgnoreCase(absl::StripLeadingAsciiWhitespace(sql), "commit");
}

}  // namespace

struct PgProxy::Link {
  ~Link() {
    ::close(client);
    ::close(server);
  }
  int client, server;
  bool started = false;  // the startup message, which has no type, has passed
  std::string from_client, from_server;  // read, not yet a whole message
  std::map<std::string, std::string> prepared;
  bool matters = false;  // the transaction under way has a statement with the marker
};

PgProxy::PgProxy(const std::string& server_dir, std::string marker)
    : server_path_(server_dir + kSocket), marker_(std::move(marker)) {
  char pattern[] = "/tmp/rochdale-proxy-XXXXXX";
  if (::mkdtemp(pattern) == nullptr) throw std::runtime_error("no folder for a socket");
  dir_ = pattern;
  listen_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = AddressOf(dir_ + kSocket);
  if (::bind(listen_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listen_, 64) != 0 || ::pipe2(wake_, O_CLOEXEC) != 0) {
    throw std::runtime_error("the proxy cannot listen");
  }
  thread_ = std::thread([this] { Loop(); });
}

PgProxy::~PgProxy() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
  ::close(listen_);
  ::close(wake_[0]);
  ::close(wake_[1]);
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

std::string PgProxy::Through(const std::string& connection) const {
  std::vector<std::string> parts = absl::StrSplit(connection, ' ', absl::SkipEmpty());
  std::erase_if(parts, [](const std::string& part) { return absl::StartsWith(part, "host="); });
  parts.push_back("host=" + dir_);
  return absl::StrJoin(parts, " ");
}

void PgProxy::Wake() {
  const char byte = 0;
  (void)!::write(wake_[1], &byte, 1);
}

void PgProxy::Arm(Due due, int messages, Then then) {
  std::lock_guard lock(mutex_);
  due_ = due;
  messages_ = messages;
  then_ = then;
}

void PgProxy::CutAfter(int messages, Then then) { Arm(Due::kMessages, messages, then); }
void PgProxy::CutBeforeCommit(Then then) { Arm(Due::kBeforeCommit, 0, then); }
void PgProxy::LoseAnswerOfCommit(Then then) { Arm(Due::kAfterCommit, 0, then); }

void PgProxy::CutNow(Then then) {
  {
    std::lock_guard lock(mutex_);
    cut_asked_ = true;
    then_ = then;
  }
  Wake();
}

void PgProxy::Heal() {
  std::lock_guard lock(mutex_);
  refusing_ = false;
  due_ = Due::kNothing;
}

void PgProxy::Cut(Then then, const Link* only) {
  std::erase_if(links_, [&](const auto& link) {
    return then == Then::kForGood || only == nullptr || link.get() == only;
  });
  refusing_ = then == Then::kForGood;
  due_ = Due::kNothing;
  ++cuts_;
}

void PgProxy::Accept() {
  const int client = ::accept4(listen_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) return;
  const int server = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = AddressOf(server_path_);
  if (refusing_ ||
      ::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(client);
    ::close(server);
    return;
  }
  auto link = std::make_unique<Link>();
  link->client = client;
  link->server = server;
  links_.push_back(std::move(link));
}

// False where the message must not go on, since a cut is due.
bool PgProxy::Message(Link& link, char type, const std::string& body) {
  std::string sql;
  if (type == 'Q') sql = CString(body, 0);
  if (type == 'P') {
    const std::string name = CString(body, 0);
    sql = CString(body, name.size() + 1);
    link.prepared[name] = sql;
  }
  if (type == 'B') sql = link.prepared[CString(body, CString(body, 0).size() + 1)];
  if (marker_.empty() || absl::StrContains(sql, marker_)) link.matters = true;
  if (due_ == Due::kBeforeCommit && link.matters && type != 'B' && IsCommit(sql)) return false;
  return true;
}

bool PgProxy::FromClient(Link& link) {
  if (!ReadSome(link.client, link.from_client)) return false;
  while (link.from_client.size() >= 5) {
    const size_t head = link.started ? 1 : 0;
    const size_t size = head + LengthAt(link.from_client, head);
    if (link.from_client.size() < size) break;
    const std::string message = link.from_client.substr(0, size);
    link.from_client.erase(0, size);
    if (link.started && !Message(link, message[0], message.substr(5))) {
      Cut(then_, &link);
      return true;
    }
    link.started = true;
    if (!SendAll(link.server, message)) return false;
    if (due_ == Due::kMessages && --messages_ <= 0) {
      Cut(then_, &link);
      return true;
    }
  }
  return true;
}

bool PgProxy::FromServer(Link& link) {
  if (!ReadSome(link.server, link.from_server)) return false;
  std::string& bytes = link.from_server;
  size_t whole = 0;
  while (bytes.size() - whole >= 5) {
    const size_t size = 1 + LengthAt(bytes, whole + 1);
    if (bytes.size() - whole < size) break;
    const std::string done = bytes[whole] == 'C' ? CString(bytes, whole + 5) : "";
    if (done == "COMMIT" && due_ == Due::kAfterCommit && link.matters) {
      Cut(then_, &link);
      return true;
    }
    if (done == "COMMIT" || done == "ROLLBACK") link.matters = false;
    whole += size;
  }
  const bool sent = SendAll(link.client, bytes.substr(0, whole));
  bytes.erase(0, whole);
  return sent;
}

void PgProxy::Loop() {
  while (true) {
    std::vector<pollfd> polled = {{wake_[0], POLLIN, 0}, {listen_, POLLIN, 0}};
    for (const auto& link : links_) {
      polled.push_back({link->client, POLLIN, 0});
      polled.push_back({link->server, POLLIN, 0});
    }
    if (::poll(polled.data(), polled.size(), -1) < 0) continue;
    std::lock_guard lock(mutex_);
    if (polled[0].revents != 0) {
      char bytes[16];
      (void)!::read(wake_[0], bytes, sizeof bytes);
    }
    if (stopping_) break;
    if (cut_asked_) {
      cut_asked_ = false;
      Cut(then_, nullptr);
      continue;
    }
    const int before = cuts_;
    const size_t linked = links_.size();
    std::vector<const Link*> gone;
    for (size_t i = 0; i < linked && cuts_ == before; ++i) {
      Link& link = *links_[i];
      if ((polled[2 + 2 * i].revents != 0 && !FromClient(link)) ||
          (cuts_ == before && polled[3 + 2 * i].revents != 0 && !FromServer(link))) {
        gone.push_back(&link);
      }
    }
    if (cuts_ == before) {
      std::erase_if(links_, [&](const auto& link) {
        return std::find(gone.begin(), gone.end(), link.get()) != gone.end();
      });
    }
    if (polled[1].revents != 0) Accept();
  }
  links_.clear();
}

}  // namespace rochdale::testing
