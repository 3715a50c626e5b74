// SPDX-License-Identifier: Apache-2.0
// Perf events: opened from attributes that src/perf-event.ts lays out, and steered by ioctl.
#include "environment.h"

#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace plumbline {
namespace {

// perfEventOpen(attributes, pid, cpu): PerfEvent
napi_value perf_event_open(Call& call) {
  Bytes attributes = call.bytes(0);
  auto* header = reinterpret_cast<perf_event_attr*>(attributes.data);
  if (attributes.size < PERF_ATTR_SIZE_VER0 || header->size != attributes.size)
    throw Mistake{"attributes of another size than they say"};
  FileDescriptor fd(
      syscall(SYS_perf_event_open, attributes.data, call.int32(1), call.int32(2), -1, PERF_FLAG_FD_CLOEXEC));
  if (fd.get() < 0) throw Failure{"perf_event_open", errno};
  return call.external(std::make_unique<PerfEvent>(call.environment, std::move(fd)));
}

// perfEventEnable(event), perfEventDisable(event)
napi_value perf_event_enable(Call& call) {
  if (ioctl(call.handle<PerfEvent>(0).fd(), PERF_EVENT_IOC_ENABLE, 0)) throw Failure{"enable perf event", errno};
  return call.undefined();
}

napi_value perf_event_disable(Call& call) {
  if (ioctl(call.handle<PerfEvent>(0).fd(), PERF_EVENT_IOC_DISABLE, 0)) throw Failure{"disable perf event", errno};
  return call.undefined();
}

// perfEventSetPeriod(event, periodOrFrequency: bigint)
napi_value perf_event_set_period(Call& call) {
  uint64_t value = call.uint64(1);
  if (ioctl(call.handle<PerfEvent>(0).fd(), PERF_EVENT_IOC_PERIOD, &value))
    throw Failure{"set period of perf event", errno};
  return call.undefined();
}

// perfEventRead(event): number
napi_value perf_event_read(Call& call) {
  uint64_t count = 0;
  if (read(call.handle<PerfEvent>(0).fd(), &count, sizeof count) != sizeof count)
    throw Failure{"read perf event", errno};
  return call.number(static_cast<double>(count));
}

}  // namespace

void define_perf_event(napi_env env, napi_value exports) {
  define(env, exports,
         {
             {"perfEventOpen", guard<perf_event_open>},
             {"perfEventEnable", guard<perf_event_enable>},
             {"perfEventDisable", guard<perf_event_disable>},
             {"perfEventSetPeriod", guard<perf_event_set_period>},
             {"perfEventRead", guard<perf_event_read>},
         });
}

}  // namespace plumbline
