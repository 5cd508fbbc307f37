#include "tests/bench/ledger/grpc_streams.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace rochdale::bench {
namespace {

constexpr int32_t kWindow = 16 << 20;  // bytes: of a stream and of the connection
constexpr size_t kFrameHead = 5;       // of a gRPC message: a flag and the length

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "HTTP/2: %s\n", what.c_str());
  std::exit(1);
}

void Check(bool ok, const std::string& what) {
  if (!ok) Die(what);
}

nghttp2_nv Header(absl::string_view name, absl::string_view value) {
  const auto bytes = [](absl::string_view text) {
    return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

TlsContext ClientTls(const std::string& roots, const std::string& certificate,
                     const std::string& key) {
  TlsContext tls(SSL_CTX_new(TLS_client_method()));
  Check(tls != nullptr, "no TLS");
  Check(SSL_CTX_load_verify_locations(tls.get(), roots.c_str(), nullptr) == 1, roots);
  SSL_CTX_set_verify(tls.get(), SSL_VERIFY_PEER, nullptr);
  if (!certificate.empty()) {
    Check(SSL_CTX_use_certificate_chain_file(tls.get(), certificate.c_str()) == 1, certificate);
    Check(SSL_CTX_use_PrivateKey_file(tls.get(), key.c_str(), SSL_FILETYPE_PEM) == 1, key);
  }
  static constexpr uint8_t kProtocols[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(tls.get(), kProtocols, sizeof kProtocols);
  SSL_CTX_set_mode(tls.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return tls;
}

GrpcStreams::GrpcStreams(int port, SSL_CTX* tls, Events events)
    : events_(std::move(events)),
      fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      tls_(SSL_new(tls)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  Check(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "no connection");
  const int one = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  SSL_set_fd(tls_.get(), fd_);
  Check(SSL_connect(tls_.get()) == 1, "no TLS connection");
  fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);

  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
      callbacks, [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size,
                    void* self) {
        auto* streams = static_cast<GrpcStreams*>(self);
        if (Stream* stream = streams->Find(id)) {
          streams->TakeMessages(*stream, {reinterpret_cast<const char*>(data), size});
        }
        return 0;
      });
  nghttp2_session_callbacks_set_on_header_callback(
      callbacks, [](nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                    size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                    void* self) {
        Stream* stream = static_cast<GrpcStreams*>(self)->Find(frame->hd.stream_id);
        if (stream == nullptr) return 0;
        const absl::string_view key(reinterpret_cast<const char*>(name), name_size);
        const absl::string_view text(reinterpret_cast<const char*>(value), value_size);
        if (key == "grpc-status" && !absl::SimpleAtoi(text, &stream->status)) stream->status = -1;
        if (key == "grpc-message") stream->status_message = std::string(text);
        return 0;
      });
  nghttp2_session_callbacks_set_on_stream_close_callback(
      callbacks, [](nghttp2_session*, int32_t id, uint32_t, void* self) {
        auto* streams = static_cast<GrpcStreams*>(self);
        if (Stream* stream = streams->Find(id)) {
          streams->events_.closed(stream->number, stream->status, stream->status_message);
        }
        return 0;
      });
  nghttp2_session_client_new(&session_, callbacks, this);
  nghttp2_session_callbacks_del(callbacks);
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindow}};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, 1);
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kWindow);
}

GrpcStreams::~GrpcStreams() {
  nghttp2_session_del(session_);
  close(fd_);
}

int GrpcStreams::Open(const std::string& path, const std::string& authorization) {
  auto stream = std::make_unique<Stream>();
  stream->number = static_cast<int>(streams_.size());
  std::vector<nghttp2_nv> headers = {
      Header(":method", "POST"),           Header(":scheme", "https"),
      Header(":path", path),               Header(":authority", "localhost"),
      Header("te", "trailers"),            Header("content-type", "application/grpc"),
      Header("grpc-timeout", "10M")};
  if (!authorization.empty()) headers.push_back(Header("authorization", authorization));
  nghttp2_data_provider provider{};
  provider.source.ptr = stream.get();
  provider.read_callback = &GrpcStreams::Provide;
  stream->id = nghttp2_submit_request(session_, nullptr, headers.data(), headers.size(), &provider,
                                      stream.get());
  Check(stream->id > 0, "no stream");
  streams_.push_back(std::move(stream));
  return streams_.back()->number;
}

void GrpcStreams::Send(int number, absl::string_view message) {
  Stream& stream = *streams_[static_cast<size_t>(number)];
  char head[kFrameHead] = {};
  for (size_t i = 0; i < 4; ++i) head[1 + i] = static_cast<char>(message.size() >> (8 * (3 - i)));
  stream.out.append(head, sizeof head).append(message.data(), message.size());
  Resume(stream);
}

void GrpcStreams::Finish(int number) {
  Stream& stream = *streams_[static_cast<size_t>(number)];
  stream.finished = true;
  Resume(stream);
}

void GrpcStreams::Resume(Stream& stream) {
  if (!stream.deferred) return;
  stream.deferred = false;
  nghttp2_session_resume_data(session_, stream.id);
}

ssize_t GrpcStreams::Provide(nghttp2_session*, int32_t, uint8_t* out, size_t size, uint32_t* flags,
                             nghttp2_data_source* source, void*) {
  Stream& stream = *static_cast<Stream*>(source->ptr);
  const size_t given = std::min(size, stream.out.size() - stream.taken);
  if (given == 0 && !stream.finished) {
    stream.deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  std::memcpy(out, stream.out.data() + stream.taken, given);
  stream.taken += given;
  if (stream.taken == stream.out.size()) {
    stream.out.clear();
    stream.taken = 0;
    if (stream.finished) *flags |= NGHTTP2_DATA_FLAG_EOF;
  }
  return static_cast<ssize_t>(given);
}

GrpcStreams::Stream* GrpcStreams::Find(int32_t id) {
  return static_cast<Stream*>(nghttp2_session_get_stream_user_data(session_, id));
}

void GrpcStreams::TakeMessages(Stream& stream, absl::string_view bytes) {
  stream.in.append(bytes.data(), bytes.size());
  size_t at = 0;
  while (stream.in.size() - at >= kFrameHead) {
    size_t size = 0;
    for (size_t i = 1; i < kFrameHead; ++i) {
      size = size << 8 | static_cast<uint8_t>(stream.in[at + i]);
    }
    if (stream.in.size() - at - kFrameHead < size) break;
    events_.message(stream.number, absl::string_view(stream.in).substr(at + kFrameHead, size));
    at += kFrameHead + size;
  }
  stream.in.erase(0, at);
}

void GrpcStreams::Read() {
  char buffer[64 << 10];
  while (true) {
    const int got = SSL_read(tls_.get(), buffer, sizeof buffer);
    if (got > 0) {
      const ssize_t taken = nghttp2_session_mem_recv(
          session_, reinterpret_cast<const uint8_t*>(buffer), static_cast<size_t>(got));
      Check(taken == got, "the server breaks the protocol");
      continue;
    }
    const int error = SSL_get_error(tls_.get(), got);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return;
    Die("the server closed the connection");
  }
}

bool GrpcStreams::Write() {
  while (true) {
    const uint8_t* data = nullptr;
    ssize_t size = 0;
    while (out_.size() < (64u << 10) && (size = nghttp2_session_mem_send(session_, &data)) > 0) {
      out_.append(reinterpret_cast<const char*>(data), static_cast<size_t>(size));
    }
    if (out_.empty()) return false;
    const int sent = SSL_write(tls_.get(), out_.data(), static_cast<int>(out_.size()));
    if (sent > 0) {
      out_.erase(0, static_cast<size_t>(sent));
      continue;
    }
    const int error = SSL_get_error(tls_.get(), sent);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return true;
    Die("the server closed the connection");
  }
}

}  // namespace rochdale::bench
