// SPDX-License-Identifier: Apache-2.0
// A thread with a stack of known shape that keeps a CPU busy, for the profiler to walk before it is trusted: a recursion of
// a given depth, so that all return addresses but those at both ends are the same.
#include "environment.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <future>
#include <system_error>
#include <thread>

namespace plumbline {
namespace {

// Ends the thread if nobody does: some tens of seconds.
constexpr uint64_t kMaxTurns = 1ull << 34;

// Nothing is called at the leaf: the stack has the recursion's frames alone.
void stay(const std::atomic<bool>& ended) {
  for (uint64_t turn = 0; turn < kMaxTurns && !ended.load(std::memory_order_relaxed); turn++)
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) void descend(uint32_t left, const std::atomic<bool>& ended) {
  if (left > 1)
    descend(left - 1, ended);
  else
    stay(ended);
  __asm__ volatile("" ::: "memory");  // keeps the call from becoming a jump
}

class KnownStack final : public Handle {
 public:
  KnownStack(std::shared_ptr<Environment> environment, uint32_t depth) : Handle(std::move(environment)) {
    std::promise<pid_t> started;
    auto tid = started.get_future();
    try {
      thread_ = std::thread([this, depth, &started] {
        started.set_value(static_cast<pid_t>(syscall(SYS_gettid)));
        descend(depth, ended_);
      });
    } catch (const std::system_error& error) {
      throw Failure{"start a thread", error.code().value()};
    }
    tid_ = tid.get();
  }
  ~KnownStack() override { close(); }
  void close() noexcept override {
    ended_ = true;
    if (thread_.joinable()) thread_.join();
  }
  pid_t tid() const { return tid_; }

 private:
  std::atomic<bool> ended_ = false;
  std::thread thread_;
  pid_t tid_ = 0;
};

// knownStackStart(depth): KnownStack
napi_value known_stack_start(Call& call) {
  return call.external(std::make_unique<KnownStack>(call.environment, call.uint32(0)));
}

// knownStackThread(stack): number
napi_value known_stack_thread(Call& call) { return call.number(call.handle<KnownStack>(0).tid()); }

}  // namespace

void define_known_stack(napi_env env, napi_value exports) {
  define(env, exports,
         {
             {"knownStackStart", guard<known_stack_start>},
             {"knownStackThread", guard<known_stack_thread>},
         });
}

}  // namespace plumbline
