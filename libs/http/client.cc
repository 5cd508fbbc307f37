#include "libs/http/client.h"

#include <curl/curl.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace rochdale::http {
namespace {

struct Sink {
  std::string bytes;
  size_t bytes_max;
};

size_t Append(char* data, size_t size, size_t count, void* closure) {
  auto* sink = static_cast<Sink*>(closure);
  if (sink->bytes.size() + size * count > sink->bytes_max) return 0;  // ends the transfer
  sink->bytes.append(data, size * count);
  return size * count;
}

// Once per process, before any handle.
void InitialiseCurl() {
  static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (done != CURLE_OK) std::abort();
}

}  // namespace

Client::Client(absl::Duration timeout, size_t body_bytes_max)
    : timeout_(timeout), body_bytes_max_(body_bytes_max) {
  InitialiseCurl();
  curl_ = curl_easy_init();
  if (curl_ == nullptr) std::abort();  // no memory
}

Client::~Client() { curl_easy_cleanup(static_cast<CURL*>(curl_)); }

absl::StatusOr<Reply> Client::Get(const std::string& url) { return Perform(url, nullptr); }

absl::StatusOr<Reply> Client::Post(const std::string& url, absl::string_view body) {
  return Perform(url, &body);
}

absl::StatusOr<Reply> Client::Perform(const std::string& url, const absl::string_view* body) {
  auto* curl = static_cast<CURL*>(curl_);
  Sink sink{{}, body_bytes_max_};
  char error[CURL_ERROR_SIZE] = {};
  curl_easy_reset(curl);  // keeps connections
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(timeout_)));
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, Append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sink);
  curl_slist* headers = nullptr;
  if (body != nullptr) {
    headers = curl_slist_append(headers, "Content-Type: text/plain; charset=utf-8");
    headers = curl_slist_append(headers, "Expect:");  // no round trip before the body
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body->size()));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body->data());
  }
  const CURLcode done = curl_easy_perform(curl);
  curl_slist_free_all(headers);
  if (done == CURLE_URL_MALFORMAT || done == CURLE_UNSUPPORTED_PROTOCOL) {
    return absl::InvalidArgumentError(absl::StrCat(url, " is not an http or https URL"));
  }
  if (done != CURLE_OK) {
    return absl::UnavailableError(
        absl::StrCat(url, ": ", error[0] != 0 ? error : curl_easy_strerror(done)));
  }
  Reply reply;
  long code = 0;
  const char* type = nullptr;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
  curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
  reply.code = static_cast<int>(code);
  if (type != nullptr) reply.type = type;
  reply.body = std::move(sink.bytes);
  return reply;
}

}  // namespace rochdale::http
