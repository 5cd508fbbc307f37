// A proxy between a process and its PostgreSQL that cuts the connection at a chosen step: for what
// a crash of either side, or of the network, leaves behind.
//
//   PgProxy proxy(TestCluster().socket_dir());
//   options.connection = proxy.Through(options.connection);
//   proxy.LoseAnswerOfCommit();       // the next commit is made, and nobody hears of it
//
// It reads the wire protocol (types, lengths, statements; no TLS, as over any unix socket). One
// thread of its own. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace rochdale::testing {

class PgProxy {
 public:
  // `server_dir`: the folder of the server's unix socket. `marker`: part of a statement by which
  // the transactions that matter are known, for the cuts at a commit. Empty: all.
  explicit PgProxy(const std::string& server_dir, std::string marker = "");
  ~PgProxy();  // cuts everything
  PgProxy(const PgProxy&) = delete;
  PgProxy& operator=(const PgProxy&) = delete;

  // The same connection string with this proxy as its host.
  std::string Through(const std::string& connection) const;

  // What breaks then. kOnce: the connection concerned. kForGood: all, and no new one can be made
  // until Heal: as if this process were alone in the world, or dead.
  enum class Then { kOnce, kForGood };

  // When `messages` more have gone to the server, on all connections together.
  void CutAfter(int messages, Then then);
  // The next commit of a transaction that matters does not reach the server.
  void CutBeforeCommit(Then then);
  // It does, and is made, but the answer does not come back.
  void LoseAnswerOfCommit(Then then);
  // All connections, now.
  void CutNow(Then then);
  // New connections are possible, and no cut is due.
  void Heal();

  // Cuts so far.
  int cuts() const { return cuts_; }

 private:
  struct Link;  // one connection
  enum class Due { kNothing, kMessages, kBeforeCommit, kAfterCommit };

  void Loop();
  void Arm(Due due, int messages, Then then);
  void Accept();
  // Bytes from the client or the server; false where the link is to go.
  bool FromClient(Link& link);
  bool FromServer(Link& link);
  bool Message(Link& link, char type, const std::string& body);
  void Cut(Then then, const Link* only);
  void Wake();

  const std::string server_path_;
  const std::string marker_;
  std::string dir_;
  int listen_ = -1;
  int wake_[2] = {-1, -1};
  std::atomic<int> cuts_{0};

  std::mutex mutex_;
  bool stopping_ = false, refusing_ = false, cut_asked_ = false;
  Due due_ = Due::kNothing;
  int messages_ = 0;
  Then then_ = Then::kOnce;

  std::vector<std::unique_ptr<Link>> links_;  // the thread's alone
  std::thread thread_;
};

}  // namespace rochdale::testing
