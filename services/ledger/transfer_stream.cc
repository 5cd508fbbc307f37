#include "services/ledger/transfer_stream.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/server_context.h>

#include <algorithm>
#include <utility>

#include "libs/base/errors.h"
#include "libs/base/status_macros.h"
#include "libs/rpc/task_threads.h"
#include "rochdale/ledger/v1/ledger.pb.h"
#include "services/ledger/convert.h"

namespace rochdale::ledger {

bool StreamRoom::Take(size_t bytes, std::function<void()> ready) {
  bytes = std::min(bytes, kBytesMax);
  std::lock_guard lock(mutex_);
  if (waiting_.empty() && taken_ + bytes <= kBytesMax) {
    taken_ += bytes;
    return true;
  }
  waiting_.push_back({bytes, std::move(ready)});
  return false;
}

void StreamRoom::GiveBack(size_t bytes) {
  std::deque<Waiting> admitted;
  {
    std::lock_guard lock(mutex_);
    taken_ -= std::min(bytes, kBytesMax);
    while (!waiting_.empty() && taken_ + waiting_.front().bytes <= kBytesMax) {
      taken_ += waiting_.front().bytes;
      admitted.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
  }
  for (const Waiting& one : admitted) one.ready();
}

TransferStream::TransferStream(rpc::Calls& calls, const Clock& clock, Writer& writer,
                               StreamRoom& room, std::function<absl::Status()> check)
    : calls_(calls), clock_(clock), writer_(writer), room_(room), check_(std::move(check)) {}

TransferStream* TransferStream::Begin(const grpc::CallbackServerContext& context,
                                      rpc::Calls& calls, const Clock& clock, Writer& writer,
                                      StreamRoom& room, std::function<absl::Status()> check) {
  std::shared_ptr<TransferStream> stream(
      new TransferStream(calls, clock, writer, room, std::move(check)));
  TransferStream* const reactor = stream.get();
  stream->self_ = stream;
  const std::weak_ptr<TransferStream> weak = stream;
  rpc::OpenCall::Hooks hooks;
  hooks.opened = [weak](const absl::Status& status) {
    if (const auto alive = weak.lock()) alive->Opened(status);
  };
  hooks.ended = [weak](const absl::Status& why) {
    if (const auto alive = weak.lock()) alive->Ended(why);
  };
  std::shared_ptr<rpc::OpenCall> call = rpc::OpenCall::Begin(calls, context, std::move(hooks));
  bool opened;
  {
    std::lock_guard lock(stream->mutex_);
    stream->call_ = std::move(call);
    opened = !stream->opening_;
  }
  if (opened) stream->PumpLater();  // it was admitted before it knew its call
  return reactor;
}

void TransferStream::Opened(const absl::Status& status) {
  const absl::Status checked = status.ok() ? check_() : status;
  {
    std::lock_guard lock(mutex_);
    opening_ = false;
    if (!checked.ok() && !end_.has_value()) end_ = checked;
    if (!checked.ok()) no_more_ = true;
  }
  Pump();
}

void TransferStream::Ended(const absl::Status& why) {
  {
    std::lock_guard lock(mutex_);
    if (!end_.has_value()) end_ = why;
    no_more_ = true;
  }
  PumpLater();
}

void TransferStream::OnReadDone(bool ok) {
  bool accept = false;
  {
    std::lock_guard lock(mutex_);
    reading_ = false;
    if (!ok) no_more_ = true;
    accept = accepting_ = ok && !no_more_;
  }
  if (!accept) return Pump();
  auto self = shared_from_this();
  // A person's signature takes time and its key may have to be asked for; not in gRPC's threads.
  auto go = [self] {
    if (self->call_->call().identity.IsPerson()) {
      self->calls_.patient().Run([self] { self->Accept(); });
    } else {
      self->Accept();
    }
  };
  if (room_.Take(read_.Length(), [self, go] { self->calls_.prompt().Run(go); })) go();
}

absl::StatusOr<PostTransfers> TransferStream::Parse(Slot& slot) {
  v1::PostTransfersRequest request;
  grpc::ByteBuffer bytes;
  bytes.Swap(&read_);
  if (!grpc::SerializationTraits<v1::PostTransfersRequest>::Deserialize(&bytes, &request).ok()) {
    return Error("BAD_REQUEST", "the message is not a PostTransfersRequest");
  }
  slot.request_id = request.request_id();
  const rpc::Identity& identity = call_->call().identity;
  if (identity.IsPerson()) RETURN_IF_ERROR(call_->Recheck());
  return ParsePostTransfers(request, identity, clock_.Now());
}

void TransferStream::Accept() {
  const size_t bytes = read_.Length();
  Slot slot;
  slot.items = 1;
  absl::StatusOr<PostTransfers> post = Parse(slot);
  if (post.ok()) slot.items = static_cast<int>(post->transfers.size());
  int64_t number = 0;
  {
    std::lock_guard lock(mutex_);
    number = first_ + static_cast<int64_t>(slots_.size());
    waiting_ += slot.items;
    if (!post.ok()) {
      slot.reply = post.status();
      no_more_ = true;
    }
    slots_.push_back(std::move(slot));
  }
  if (post.ok()) {
    const rpc::Call& call = call_->call();
    writer_.SubmitAsync({CallerOf(call.identity), *std::move(post)}, call.deadline,
                        [self = shared_from_this(), number, bytes](absl::StatusOr<Reply> reply) {
                          self->room_.GiveBack(bytes);
                          self->Answered(number, std::move(reply));
                        });
  } else {
    room_.GiveBack(bytes);
  }
  {
    // Only now may the next one be read: it must not overtake this one on the way to the writer.
    std::lock_guard lock(mutex_);
    accepting_ = false;
  }
  Pump();
}

void TransferStream::Answered(int64_t number, absl::StatusOr<Reply> reply) {
  {
    std::lock_guard lock(mutex_);
    if (number < first_ || number - first_ >= static_cast<int64_t>(slots_.size())) return;
    if (!reply.ok()) no_more_ = true;
    slots_[static_cast<size_t>(number - first_)].reply = std::move(reply);
    if (number != first_ || writing_) return;  // nothing to do before those before it
  }
  PumpLater();
}

void TransferStream::OnWriteDone(bool ok) {
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) {
      cancelled_ = true;
    } else {
      waiting_ -= slots_.front().items;
      slots_.pop_front();
      ++first_;
    }
  }
  Pump();
}

void TransferStream::OnCancel() {
  {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  PumpLater();
}

void TransferStream::OnDone() { self_.reset(); }

void TransferStream::PumpLater() {
  {
    std::lock_guard lock(mutex_);
    if (queued_) return;
    queued_ = true;
  }
  calls_.prompt().Run([self = shared_from_this()] {
    {
      std::lock_guard lock(self->mutex_);
      self->queued_ = false;
    }
    self->Pump();
  });
}

void TransferStream::Pump() {
  const auto self = shared_from_this();  // OnDone may come before this returns
  std::unique_lock lock(mutex_);
  if (pumping_) return;  // whoever pumps looks again before it stops
  pumping_ = true;
  grpc::WriteOptions options;
  for (;;) {
    const Step step = NextStep();
    if (step == Step::kNothing) break;
    if (step == Step::kRead) reading_ = true;
    if (step == Step::kWrite) {
      writing_ = true;
      written_ = FrontResponse();
      options.clear_buffer_hint();
      // The next one follows at once, so that they share a packet.
      if (slots_.size() > 1 && IsWritable(slots_[1])) options.set_buffer_hint();
    }
    absl::Status end;
    if (step == Step::kFinish) {
      finished_ = true;
      if (cancelled_) {
        end = Error("CANCELLED", "the caller cancelled the stream");
      } else if (!slots_.empty()) {
        end = slots_.front().reply->status();
      } else {
        end = end_.value_or(absl::OkStatus());
      }
    }
    lock.unlock();
    if (step == Step::kRead) StartRead(&read_);
    if (step == Step::kWrite) StartWrite(&written_, options);
    if (step == Step::kFinish) Finish(call_->Close(std::move(end)));
    lock.lock();
  }
  pumping_ = false;
}

TransferStream::Step TransferStream::NextStep() {
  if (finished_ || opening_ || call_ == nullptr) return Step::kNothing;
  // What Accept does needs the call's context, which goes with the call.
  const bool quiet = !writing_ && !accepting_;
  if (cancelled_) return quiet ? Step::kFinish : Step::kNothing;
  if (!writing_ && !slots_.empty() && slots_.front().reply.has_value()) {
    if (IsWritable(slots_.front())) return Step::kWrite;
    return quiet ? Step::kFinish : Step::kNothing;
  }
  if (!no_more_ && !reading_ && !accepting_ && waiting_ < kItemsMax) return Step::kRead;
  const bool over = no_more_ || end_.has_value();
  if (over && quiet && slots_.empty()) return Step::kFinish;
  return Step::kNothing;
}

grpc::ByteBuffer TransferStream::FrontResponse() {
  const Slot& slot = slots_.front();
  v1::StreamTransfersResponse response;
  response.set_request_id(slot.request_id);
  for (const Outcome& outcome : (*slot.reply)->outcomes) {
    ToProto(outcome, *response.add_outcomes());
  }
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  grpc::SerializationTraits<v1::StreamTransfersResponse>::Serialize(response, &bytes, &own_buffer)
      .ok();
  return bytes;
}

}  // namespace rochdale::ledger
