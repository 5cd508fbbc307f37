// One StreamTransfers call: many small requests on one stream, without a thread of its own.
//
// Requests go to the writer as they come, so that what many streams send becomes one batch; the
// responses leave in the order of the requests. A request that is refused as a whole ends the
// stream, after the responses before it.
//
// Bounds: a stream stops reading while 8,190 of its transfers wait, for the writer or for a client
// that does not read; and all streams together hold at most kBytesMax of parsed requests
// (StreamRoom). What is beyond waits unparsed in gRPC's own, bounded memory.
//
// Threads: reactions of gRPC and answers of the writer come from anywhere. They note what happened
// under the lock; Pump alone starts operations, one thread at a time, without the lock.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/rpc/handle.h"
#include "libs/rpc/open_call.h"
#include "services/ledger/writer.h"

namespace rochdale::ledger {

// Room for requests between their parsing and the writer's answer, for all streams together; given
// out in order of asking. Thread-safe.
class StreamRoom {
 public:
  static constexpr size_t kBytesMax = 8u << 20;  // fewer transfers than the writer's queue holds

  // True: taken. False: `ready` is called once it is, from a thread that gives room back.
  // A request larger than everything gets everything.
  bool Take(size_t bytes, std::function<void()> ready);
  void GiveBack(size_t bytes);

 private:
  struct Waiting {
    size_t bytes;
    std::function<void()> ready;
  };
  std::mutex mutex_;
  size_t taken_ = 0;
  std::deque<Waiting> waiting_;  // at most one of each stream
};

class TransferStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                             public std::enable_shared_from_this<TransferStream> {
 public:
  // Lives until the call is done. All outlive it.
  static TransferStream* Begin(const grpc::CallbackServerContext& context, rpc::Calls& calls,
                               const Clock& clock, Writer& writer, StreamRoom& room,
                               std::function<absl::Status()> check);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // A request that was read, until its response is written.
  struct Slot {
    std::string request_id;
    int items = 0;
    std::optional<absl::StatusOr<Reply>> reply;
  };
  static bool IsWritable(const Slot& slot) { return slot.reply.has_value() && slot.reply->ok(); }
  enum class Step { kNothing, kRead, kWrite, kFinish };

  TransferStream(rpc::Calls& calls, const Clock& clock, Writer& writer, StreamRoom& room,
                 std::function<absl::Status()> check);
  void Opened(const absl::Status& status);
  void Ended(const absl::Status& why);
  // Parses and submits what was read; the room for it is taken.
  void Accept();
  absl::StatusOr<PostTransfers> Parse(Slot& slot);
  void Answered(int64_t number, absl::StatusOr<Reply> reply);
  void PumpLater();
  void Pump();
  Step NextStep();
  grpc::ByteBuffer FrontResponse();

  rpc::Calls& calls_;
  const Clock& clock_;
  Writer& writer_;
  StreamRoom& room_;
  // Whether this replica takes streams; asked once.
  const std::function<absl::Status()> check_;
  std::shared_ptr<TransferStream> self_;  // until OnDone
  std::shared_ptr<rpc::OpenCall> call_;
  grpc::ByteBuffer read_, written_;

  std::mutex mutex_;
  std::deque<Slot> slots_;
  int64_t first_ = 0;   // number of slots_.front()
  int waiting_ = 0;     // items of slots_
  bool opening_ = true;     // until Opened
  bool reading_ = false;    // a read is under way
  bool accepting_ = false;  // what was read waits for room, or is parsed
  bool writing_ = false;
  bool no_more_ = false;    // the client sends no more, or nothing more is taken
  bool finished_ = false;
  bool cancelled_ = false;
  std::optional<absl::Status> end_;  // what the stream ends with once its slots are written
  bool pumping_ = false;
  bool queued_ = false;    // PumpLater has been called
};

}  // namespace rochdale::ledger
