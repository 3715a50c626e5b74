// SPDX-License-Identifier: Apache-2.0
// A thread that empties the BPF ring buffer and perf's side band into buffers lent by JavaScript.
//
// In one pass: note how far the ring has been written; move all side-band records that are older than now; then move
// the ring's records up to the note. So whatever the side band said before a sample was taken reaches JavaScript
// before that sample.
//
// The thread never waits for JavaScript: without a free buffer it leaves the records where they are, the rings fill,
// and the kernel counts what does not fit.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include "batch.h"
#include "bpf_ring.h"
#include "environment.h"
#include "side_band.h"

namespace plumbline {
namespace {

constexpr uint64_t kMillisecond = 1000000;
constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

uint64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000000000 + time.tv_nsec;
}

// What the thread tells JavaScript. The numbers are those of src/event-reader.ts.
struct Message {
  enum Type : uint32_t { kRing = 0, kSideBand = 1, kFlushed = 2, kClosed = 3 };
  Type type;
  uint32_t slot_or_flush;
  uint32_t count_or_complete;
};

struct Flush {
  uint32_t id;
  uint64_t deadline;
  uint64_t ring_end = 0;
  bool side_band_done = false;
};

struct Statistics {
  std::atomic<uint64_t> ring_records{0}, ring_bytes{0}, ring_discarded{0}, ring_oversized{0};
  std::atomic<uint64_t> side_band_records{0}, side_band_lost{0};
  std::atomic<uint64_t> batches{0}, passes{0}, stalls{0}, undelivered_bytes{0};
};

class EventReader final : public Handle {
 public:
  struct Settings {
    uint64_t interval;  // ns: longest time that a record waits in the ring
    uint64_t spacing;   // ns: shortest time between two passes
  };

  EventReader(std::shared_ptr<Environment> environment, Settings settings)
      : Handle(std::move(environment)),
        settings_(settings),
        control_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    if (control_.get() < 0 || epoll_.get() < 0) throw Failure{"create event reader", errno};
    watch(control_.get());
  }
  ~EventReader() override { close(); }

  // ---- Called by JavaScript's thread ----

  void lend(napi_env env, napi_value records, napi_value offsets, const Slot& slot) {
    for (napi_value value : {records, offsets}) {
      napi_ref reference;
      check(napi_create_reference(env, value, 1, &reference));
      references_.push_back(reference);
    }
    free_.push_back(slots_.size());
    slots_.push_back(slot);
  }

  void attach_ring(FileDescriptor map, size_t size) {
    ring_ = std::make_unique<BpfRing>(std::move(map), size);
    watch(ring_->fd());
  }

  void start(napi_env env, napi_value on_message) {
    napi_value name;
    check(napi_create_string_utf8(env, "plumbline event reader", NAPI_AUTO_LENGTH, &name));
    check(napi_create_threadsafe_function(env, on_message, nullptr, name, 0, 1, nullptr, nullptr, nullptr, deliver,
                                          &function_));
    // Hooks run in reverse order: this one stops the thread before Node tears down the function that it calls.
    check(napi_add_env_cleanup_hook(env, stop_with_environment, this));
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error& error) {
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      throw Failure{"start thread of event reader", error.code().value()};
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void add_side_band(std::unique_ptr<SideBandRing> ring) {
    std::lock_guard lock(mutex_);
    arrived_.push_back(std::move(ring));
    wake();
  }

  void release(uint32_t slot) {
    std::lock_guard lock(mutex_);
    if (slot >= slots_.size() || std::find(free_.begin(), free_.end(), slot) != free_.end())
      throw Mistake{"buffer was not lent"};
    free_.push_back(slot);
    // The thread looks for free buffers by itself unless it ran out of them.
    if (starved_) wake();
  }

  void flush(uint32_t id, uint64_t timeout) {
    std::lock_guard lock(mutex_);
    flushes_.push_back({id, now() + timeout});
    wake();
  }

  void unref(napi_env env) {
    if (function_) check(napi_unref_threadsafe_function(env, function_));
  }

  // Ends the thread; what it had handed over still reaches JavaScript, `closed` last.
  void close() noexcept override {
    if (thread_.joinable()) {
      {
        std::lock_guard lock(mutex_);
        stopping_ = true;
        wake();
      }
      thread_.join();
    }
    if (function_) {
      napi_remove_env_cleanup_hook(environment_->env, stop_with_environment, this);
      napi_release_threadsafe_function(std::exchange(function_, nullptr), napi_tsfn_release);
    }
    for (napi_ref reference : references_) napi_delete_reference(environment_->env, reference);
    references_.clear();
    ring_.reset();
    side_band_.rings.clear();
    arrived_.clear();
    control_.reset();
    epoll_.reset();
  }

  bool open() const { return function_ != nullptr; }

  Statistics statistics;

 private:
  static void stop_with_environment(void* data) { static_cast<EventReader*>(data)->close(); }

  // Runs in JavaScript's thread. Without `env` the environment is ending and nobody listens.
  static void deliver(napi_env env, napi_value on_message, void*, void* data) {
    std::unique_ptr<Message> message(static_cast<Message*>(data));
    if (!env) return;
    napi_value receiver, arguments[3];
    if (napi_get_undefined(env, &receiver) || napi_create_uint32(env, message->type, &arguments[0]) ||
        napi_create_uint32(env, message->slot_or_flush, &arguments[1]) ||
        napi_create_uint32(env, message->count_or_complete, &arguments[2])) {
      return;
    }
    if (napi_call_function(env, receiver, on_message, 3, arguments, nullptr) != napi_pending_exception) return;
    // Nobody is above to catch it.
    napi_value exception;
    if (napi_get_and_clear_last_exception(env, &exception) == napi_ok) napi_fatal_exception(env, exception);
  }

  void wake() { eventfd_write(control_.get(), 1); }

  void watch(int fd) {
    epoll_event event = {};
    event.events = EPOLLIN | EPOLLET;
    event.data.fd = fd;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event)) throw Failure{"watch ring", errno};
  }

  // ---- Called by the thread ----

  void send(Message::Type type, uint32_t first, uint32_t second) {
    // The queue has no limit of its own: lent buffers and flushes bound it.
    napi_call_threadsafe_function(function_, new Message{type, first, second}, napi_tsfn_nonblocking);
  }

  void run() {
    pthread_setname_np(pthread_self(), "plumbline-ring");
    uint64_t last = now();  // end of the last pass
    uint64_t due = last;    // when the next one should be
    bool noticed = false;   // something woke the thread since the last pass
    for (;;) {
      noticed |= wait(due, noticed || starved());
      if (take_commands()) break;
      if (noticed) due = std::min(due, last + settings_.spacing);
      if (!taken_.empty() || (due == kNever && !starved())) due = 0;
      if (now() < due) continue;
      bool more = pass();
      last = now();
      noticed = false;
      due = last + (more ? settings_.spacing : settings_.interval);
      if (starved()) due = kNever;  // until a buffer comes back
      finish_flushes(last, due);
    }
    leave();
  }

  // Waits until `until` or for a reason to look. True if a ring has something.
  bool wait(uint64_t until, bool control_only) {
    uint64_t time = now();
    int timeout = until == kNever ? -1
                  : until <= time
                      ? 0
                      : static_cast<int>(std::min<uint64_t>((until - time + kMillisecond - 1) / kMillisecond, 1 << 30));
    bool ring = false;
    if (control_only) {
      pollfd control = {control_.get(), POLLIN, 0};
      poll(&control, 1, timeout);
    } else {
      epoll_event events[64];
      int count = epoll_wait(epoll_.get(), events, 64, timeout);
      for (int i = 0; i < count; i++) ring |= events[i].data.fd != control_.get();
    }
    eventfd_t ignored;
    eventfd_read(control_.get(), &ignored);
    return ring;
  }

  bool starved() {
    std::lock_guard lock(mutex_);
    return starved_ && free_.empty();
  }

  // Takes what JavaScript asked for. True if the reader is to end.
  bool take_commands() {
    std::lock_guard lock(mutex_);
    for (auto& ring : arrived_) {
      for (auto& old : side_band_.rings) old->retired |= old->cpu == ring->cpu;
      try {
        watch(ring->fd());
      } catch (const Failure&) {
        // Out of epoll watches: its records still come with every pass.
      }
      side_band_.rings.push_back(std::move(ring));
    }
    arrived_.clear();
    for (Flush& flush : flushes_) {
      if (ring_) flush.ring_end = ring_->written();
      taken_.push_back(flush);
    }
    flushes_.clear();
    return stopping_;
  }

  // Index of a free buffer; false if JavaScript has them all.
  bool take_slot(uint32_t& slot) {
    std::lock_guard lock(mutex_);
    starved_ = free_.empty();
    if (starved_) return false;
    slot = free_.back();
    free_.pop_back();
    return true;
  }

  // Lets `fill` move records into buffer after buffer until it says that it is done. False if buffers ran out.
  template <typename Fill>
  bool fill_slots(Message::Type type, Fill fill) {
    for (bool done = false; !done;) {
      uint32_t slot;
      if (!take_slot(slot)) {
        statistics.stalls++;
        return false;
      }
      Batch batch(slots_[slot]);
      done = fill(batch);
      if (batch.count()) {
        statistics.batches++;
        send(type, slot, batch.count());
      } else {
        std::lock_guard lock(mutex_);
        free_.push_back(slot);
      }
    }
    return true;
  }

  // One pass over all rings. True if something was left that should not wait for the timer.
  bool pass() {
    statistics.passes++;
    const uint64_t ring_end = ring_ ? ring_->written() : 0;
    const uint64_t time = now();
    bool more = false;

    side_band_.refresh();
    SideBand::Stop stop = SideBand::Stop::kEnd;
    SideBand::Counts side_band;
    bool filled = true;
    if (std::any_of(side_band_.rings.begin(), side_band_.rings.end(), [](auto& ring) { return !ring->empty(); })) {
      filled = fill_slots(Message::kSideBand, [&](Batch& batch) {
        stop = side_band_.drain(time, batch, side_band);
        return stop != SideBand::Stop::kFull;
      });
    }
    side_band_.publish();
    statistics.side_band_records += side_band.records;
    statistics.side_band_lost += side_band.lost;
    if (!filled) return true;
    more |= stop == SideBand::Stop::kLater;
    for (Flush& flush : taken_) flush.side_band_done = true;

    if (ring_ && ring_->consumed() < ring_end) {
      BpfRing::Counts counts;
      fill_slots(Message::kRing,
                 [&](Batch& batch) { return ring_->drain(ring_end, batch, counts) != BpfRing::Stop::kFull; });
      statistics.ring_records += counts.records;
      statistics.ring_bytes += counts.bytes;
      statistics.ring_discarded += counts.discarded;
      statistics.ring_oversized += counts.oversized;
      // The kernel wakes nobody for a record that comes while an older one waits, so what came meanwhile has no
      // wake-up of its own.
      more |= ring_->consumed() < ring_->written();
    }
    return more;
  }

  void finish_flushes(uint64_t time, uint64_t& due) {
    auto finished = [&](const Flush& flush) {
      bool complete = flush.side_band_done && (!ring_ || ring_->consumed() >= flush.ring_end);
      if (!complete && time < flush.deadline) return false;
      send(Message::kFlushed, flush.id, complete);
      return true;
    };
    taken_.erase(std::remove_if(taken_.begin(), taken_.end(), finished), taken_.end());
    // A record that is reserved but not submitted yet, or no free buffer: look again soon.
    if (!taken_.empty()) due = std::min(due, time + kMillisecond);
  }

  void leave() {
    uint64_t pending = ring_ ? ring_->written() - ring_->consumed() : 0;
    for (auto& ring : side_band_.rings) pending += ring->pending();
    statistics.undelivered_bytes += pending;
    for (const Flush& flush : taken_) send(Message::kFlushed, flush.id, false);
    send(Message::kClosed, 0, 0);
  }

  const Settings settings_;
  FileDescriptor control_, epoll_;
  napi_threadsafe_function function_ = nullptr;
  std::vector<napi_ref> references_;
  std::vector<Slot> slots_;
  std::thread thread_;

  // Of the thread, once it runs.
  std::unique_ptr<BpfRing> ring_;
  SideBand side_band_;
  std::vector<Flush> taken_;

  // Between the two.
  std::mutex mutex_;
  std::vector<uint32_t> free_;
  std::vector<Flush> flushes_;
  std::vector<std::unique_ptr<SideBandRing>> arrived_;
  bool starved_ = false;
  bool stopping_ = false;
};

EventReader& open_reader(Call& call) {
  auto& reader = call.handle<EventReader>(0);
  if (!reader.open()) throw Failure{"use of a closed event reader", EBADF};
  return reader;
}

// readerOpen(ring: Map | null, ringSize, records: Uint8Array[], offsets: Uint32Array[], intervalMs, spacingMs,
// onMessage): EventReader
napi_value reader_open(Call& call) {
  auto reader = std::make_unique<EventReader>(
      call.environment, EventReader::Settings{call.uint32(4) * kMillisecond, call.uint32(5) * kMillisecond});
  uint32_t count;
  check(napi_get_array_length(call.env, call.argument(2), &count));
  for (uint32_t i = 0; i < count; i++) {
    napi_value records, offsets;
    Slot slot;
    check(napi_get_element(call.env, call.argument(2), i, &records));
    check(napi_get_element(call.env, call.argument(3), i, &offsets));
    check(napi_get_typedarray_info(call.env, records, nullptr, &slot.records_size,
                                   reinterpret_cast<void**>(&slot.records), nullptr, nullptr));
    check(napi_get_typedarray_info(call.env, offsets, nullptr, &slot.offsets_size,
                                   reinterpret_cast<void**>(&slot.offsets), nullptr, nullptr));
    reader->lend(call.env, records, offsets, slot);
  }
  if (call.given(0)) {
    FileDescriptor map(fcntl(call.handle<Map>(0).fd(), F_DUPFD_CLOEXEC, 3));
    if (map.get() < 0) throw Failure{"create event reader", errno};
    reader->attach_ring(std::move(map), call.uint32(1));
  }
  reader->start(call.env, call.argument(6));
  return call.external(std::move(reader));
}

// readerAddSideBand(reader, event: PerfEvent, cpu, pages). The reader keeps the event alive.
napi_value reader_add_side_band(Call& call) {
  auto& reader = open_reader(call);
  FileDescriptor event(fcntl(call.handle<PerfEvent>(1).fd(), F_DUPFD_CLOEXEC, 3));
  if (event.get() < 0) throw Failure{"create event reader", errno};
  reader.add_side_band(std::make_unique<SideBandRing>(call.int32(2), std::move(event), call.uint32(3)));
  return call.undefined();
}

// readerRelease(reader, slot)
napi_value reader_release(Call& call) {
  auto& reader = call.handle<EventReader>(0);
  if (reader.open()) reader.release(call.uint32(1));
  return call.undefined();
}

// readerFlush(reader, id, timeoutMs)
napi_value reader_flush(Call& call) {
  open_reader(call).flush(call.uint32(1), call.uint32(2) * kMillisecond);
  return call.undefined();
}

// readerUnref(reader)
napi_value reader_unref(Call& call) {
  open_reader(call).unref(call.env);
  return call.undefined();
}

// readerStatistics(reader): object of counts since it was opened; also after close()
napi_value reader_statistics(Call& call) {
  const Statistics& statistics = call.handle<EventReader>(0).statistics;
  napi_value result = call.object();
  call.set(result, "ringRecords", call.number(statistics.ring_records));
  call.set(result, "ringBytes", call.number(statistics.ring_bytes));
  call.set(result, "ringDiscarded", call.number(statistics.ring_discarded));
  call.set(result, "ringOversized", call.number(statistics.ring_oversized));
  call.set(result, "sideBandRecords", call.number(statistics.side_band_records));
  call.set(result, "sideBandLost", call.number(statistics.side_band_lost));
  call.set(result, "batches", call.number(statistics.batches));
  call.set(result, "passes", call.number(statistics.passes));
  call.set(result, "stalls", call.number(statistics.stalls));
  call.set(result, "undeliveredBytes", call.number(statistics.undelivered_bytes));
  return result;
}

}  // namespace

void define_event_reader(napi_env env, napi_value exports) {
  define(env, exports,
         {
             {"readerOpen", guard<reader_open>},
             {"readerAddSideBand", guard<reader_add_side_band>},
             {"readerRelease", guard<reader_release>},
             {"readerFlush", guard<reader_flush>},
             {"readerUnref", guard<reader_unref>},
             {"readerStatistics", guard<reader_statistics>},
         });
}

}  // namespace plumbline
