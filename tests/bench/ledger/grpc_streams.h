// gRPC streams over one HTTP/2 connection under TLS, by nghttp2 and OpenSSL alone: a tenth of what
// they cost through gRPC's own client, which on the server's machine would measure itself.
// Single-threaded: whoever waits for the socket calls Read and Write.
#pragma once

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace rochdale::bench {

struct FreeTls {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* connection) const { SSL_free(connection); }
};
using TlsContext = std::unique_ptr<SSL_CTX, FreeTls>;

// Checks servers against `roots`, shows the certificate where there is one. A file that cannot be
// read ends the program.
TlsContext ClientTls(const std::string& roots, const std::string& certificate,
                     const std::string& key);

class GrpcStreams {
 public:
  struct Events {
    // A whole message of the server's.
    std::function<void(int stream, absl::string_view message)> message;
    // The server ended the stream: grpc-status and its message.
    std::function<void(int stream, int status, const std::string& message)> closed;
  };

  // To 127.0.0.1; what fails ends the program.
  GrpcStreams(int port, SSL_CTX* tls, Events events);
  ~GrpcStreams();
  GrpcStreams(const GrpcStreams&) = delete;
  GrpcStreams& operator=(const GrpcStreams&) = delete;

  // Begins a call of `path`, for ten minutes; streams count from 0.
  int Open(const std::string& path, const std::string& authorization);
  void Send(int stream, absl::string_view message);
  // After the last message.
  void Finish(int stream);

  int fd() const { return fd_; }
  // Takes what has come.
  void Read();
  // Sends what waits; true where more waits than the socket takes now.
  bool Write();

 private:
  struct Stream {
    int number = 0;
    int32_t id = -1;
    std::string out;       // framed, not yet taken by nghttp2
    size_t taken = 0;      // of out
    bool finished = false;  // nothing follows out
    bool deferred = false;
    std::string in;        // of messages that are not whole yet
    int status = -1;
    std::string status_message;
  };
  static ssize_t Provide(nghttp2_session*, int32_t, uint8_t*, size_t, uint32_t*,
                         nghttp2_data_source*, void*);
  void Resume(Stream& stream);
  void TakeMessages(Stream& stream, absl::string_view bytes);
  Stream* Find(int32_t id);

  const Events events_;
  int fd_ = -1;
  std::unique_ptr<SSL, FreeTls> tls_;
  nghttp2_session* session_ = nullptr;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::string out_;  // TLS has not taken it yet
};

}  // namespace rochdale::bench
