// SPDX-License-Identifier: Apache-2.0
// Loaded programs: what the kernel says of them, where they hang, and single runs; and loading of raw bytecode for
// probes.
#include "environment.h"

#include <bpf/bpf.h>
#include <sys/ioctl.h>
#include <linux/perf_event.h>

#include <cerrno>
#include <cstring>

namespace plumbline {
namespace {

// Holds a program where it hangs. Closing detaches it.
class Link final : public FdHandle {
 public:
  Link(std::shared_ptr<Environment> environment, FileDescriptor fd, bool is_perf_event)
      : FdHandle(std::move(environment), std::move(fd)), is_perf_event_(is_perf_event) {}
  ~Link() override { close(); }
  void close() noexcept override {
    // Without a link object (kernels before 5.15) a program hangs on the event itself until that is closed.
    if (is_perf_event_ && fd_.get() >= 0) ioctl(fd_.get(), PERF_EVENT_IOC_DISABLE, 0);
    FdHandle::close();
  }

 private:
  const bool is_perf_event_;
};

// programInfo(program): { name, id, type, runTimeNs, runs, recursionMisses, verifiedInstructions, instructions,
// jitedBytes }
napi_value program_info(Call& call) {
  bpf_prog_info info = {};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(call.handle<Program>(0).fd(), &info, &size)) throw Failure{"read program info", errno};
  napi_value result = call.object();
  call.set(result, "name", call.text(std::string(info.name, strnlen(info.name, sizeof info.name))));
  call.set(result, "id", call.number(info.id));
  call.set(result, "type", call.number(info.type));
  call.set(result, "runTimeNs", call.number(info.run_time_ns));
  call.set(result, "runs", call.number(info.run_cnt));
  call.set(result, "recursionMisses", call.number(info.recursion_misses));
  call.set(result, "verifiedInstructions", call.number(info.verified_insns));
  call.set(result, "instructions", call.number(info.xlated_prog_len / 8));
  call.set(result, "jitedBytes", call.number(info.jited_prog_len));
  return result;
}

// programAttachRawTracepoint(program, name | null): Link. Without a name: a program that names its target by BTF
// (tp_btf).
napi_value program_attach_raw_tracepoint(Call& call) {
  bool named = call.given(1);
  std::string name = named ? call.string(1) : "";
  int fd = bpf_raw_tracepoint_open(named ? name.c_str() : nullptr, call.handle<Program>(0).fd());
  if (fd < 0) throw Failure{"attach to raw tracepoint" + (named ? " " + name : ""), errno};
  return call.external(std::make_unique<Link>(call.environment, FileDescriptor(fd), false));
}

// programAttachPerfEvent(program, event, cookie: bigint): Link
napi_value program_attach_perf_event(Call& call) {
  int program = call.handle<Program>(0).fd();
  int event = call.handle<PerfEvent>(1).fd();
  LIBBPF_OPTS(bpf_link_create_opts, options);
  options.perf_event.bpf_cookie = call.uint64(2);
  FileDescriptor link(bpf_link_create(program, event, BPF_PERF_EVENT, &options));
  if (link.get() >= 0) return call.external(std::make_unique<Link>(call.environment, std::move(link), false));
  // Kernels before 5.15 have no link for perf events and answer EINVAL; a cookie cannot be had there.
  if (errno != EINVAL || options.perf_event.bpf_cookie != 0) throw Failure{"attach to perf event", errno};
  FileDescriptor copy(dup(event));
  if (copy.get() < 0 || ioctl(event, PERF_EVENT_IOC_SET_BPF, program)) throw Failure{"attach to perf event", errno};
  return call.external(std::make_unique<Link>(call.environment, std::move(copy), true));
}

// programTestRun(program, context | null, data | null, dataOut | null, repeat, flags): { returnValue, durationNs,
// dataLength }
napi_value program_test_run(Call& call) {
  LIBBPF_OPTS(bpf_test_run_opts, options);
  if (call.given(1)) {
    Bytes context = call.bytes(1);
    options.ctx_in = context.data;
    options.ctx_size_in = context.size;
  }
  if (call.given(2)) {
    Bytes data = call.bytes(2);
    options.data_in = data.data;
    options.data_size_in = data.size;
  }
  if (call.given(3)) {
    Bytes data = call.bytes(3);
    options.data_out = data.data;
    options.data_size_out = data.size;
  }
  options.repeat = call.int32(4);
  options.flags = call.uint32(5);
  if (bpf_prog_test_run_opts(call.handle<Program>(0).fd(), &options)) throw Failure{"test run", errno};
  napi_value result = call.object();
  call.set(result, "returnValue", call.number(options.retval));
  call.set(result, "durationNs", call.number(options.duration));
  call.set(result, "dataLength", call.number(options.data_size_out));
  return result;
}

// enableStats(): StatsSwitch. The kernel measures run times of all programs while it is open.
napi_value enable_stats(Call& call) {
  FileDescriptor fd(bpf_enable_stats(BPF_STATS_RUN_TIME));
  if (fd.get() < 0) throw Failure{"enable run-time statistics", errno};
  return call.external(std::make_unique<StatsSwitch>(call.environment, std::move(fd)));
}

// programLoadRaw(type, instructions, log: Uint8Array, license): Program | errno. `log` is filled with the verifier's
// words.
napi_value program_load_raw(Call& call) {
  Bytes instructions = call.bytes(1);
  Bytes log = call.bytes(2);
  std::string license = call.string(3);
  LIBBPF_OPTS(bpf_prog_load_opts, options);
  options.log_buf = reinterpret_cast<char*>(log.data);
  options.log_size = log.size;
  options.log_level = 1;
  FileDescriptor fd(bpf_prog_load(static_cast<bpf_prog_type>(call.uint32(0)), "plumbline_probe", license.c_str(),
                                  reinterpret_cast<const bpf_insn*>(instructions.data),
                                  instructions.size / sizeof(bpf_insn), &options));
  if (fd.get() < 0) return call.number(errno);
  return call.external(std::make_unique<Program>(call.environment, std::move(fd)));
}

}  // namespace

void define_program(napi_env env, napi_value exports) {
  define(env, exports,
         {
             {"programInfo", guard<program_info>},
             {"programAttachRawTracepoint", guard<program_attach_raw_tracepoint>},
             {"programAttachPerfEvent", guard<program_attach_perf_event>},
             {"programTestRun", guard<program_test_run>},
             {"programLoadRaw", guard<program_load_raw>},
             {"enableStats", guard<enable_stats>},
         });
}

}  // namespace plumbline
