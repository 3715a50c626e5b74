// SPDX-License-Identifier: Apache-2.0
// BPF maps: single entries, batches, and the memory of mmap-able arrays.
#include "environment.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace plumbline {
namespace {

// mapCreate(type, name, keySize, valueSize, maxEntries, flags, innerMap | null): Map
napi_value map_create(Call& call) {
  std::string name = call.string(1);
  LIBBPF_OPTS(bpf_map_create_opts, options);
  options.map_flags = call.uint32(5);
  if (call.given(6)) options.inner_map_fd = call.handle<Map>(6).fd();
  FileDescriptor fd(bpf_map_create(static_cast<bpf_map_type>(call.uint32(0)), name.empty() ? nullptr : name.c_str(),
                                   call.uint32(2), call.uint32(3), call.uint32(4), &options));
  if (fd.get() < 0) throw Failure{"create map" + (name.empty() ? "" : " " + name), errno};
  return call.external(std::make_unique<Map>(call.environment, std::move(fd)));
}

// mapInfo(map): { id, type, keySize, valueSize, maxEntries, flags, name }
napi_value map_info(Call& call) {
  bpf_map_info info = {};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(call.handle<Map>(0).fd(), &info, &size)) throw Failure{"read map info", errno};
  napi_value result = call.object();
  call.set(result, "id", call.number(info.id));
  call.set(result, "type", call.number(info.type));
  call.set(result, "keySize", call.number(info.key_size));
  call.set(result, "valueSize", call.number(info.value_size));
  call.set(result, "maxEntries", call.number(info.max_entries));
  call.set(result, "flags", call.number(info.map_flags));
  call.set(result, "name", call.text(std::string(info.name, strnlen(info.name, sizeof info.name))));
  return result;
}

// possibleCpus(): number
napi_value possible_cpus(Call& call) {
  int count = libbpf_num_possible_cpus();
  if (count < 0) throw Failure{"count CPUs", -count};
  return call.number(count);
}

// mapLookup(map, key, value): boolean. Fills `value`, which is as long as the kernel writes.
napi_value map_lookup(Call& call) {
  int fd = call.handle<Map>(0).fd();
  if (!bpf_map_lookup_elem(fd, call.bytes(1).data, call.bytes(2).data)) return call.boolean_value(true);
  if (errno != ENOENT) throw Failure{"look up in map", errno};
  return call.boolean_value(false);
}

// mapUpdate(map, key, value, flags: bigint)
napi_value map_update(Call& call) {
  int fd = call.handle<Map>(0).fd();
  if (bpf_map_update_elem(fd, call.bytes(1).data, call.bytes(2).data, call.uint64(3)))
    throw Failure{"update map", errno};
  return call.undefined();
}

// mapDelete(map, key): boolean
napi_value map_delete(Call& call) {
  int fd = call.handle<Map>(0).fd();
  if (!bpf_map_delete_elem(fd, call.bytes(1).data)) return call.boolean_value(true);
  if (errno != ENOENT) throw Failure{"delete from map", errno};
  return call.boolean_value(false);
}

// mapNextKey(map, key | null, next): boolean
napi_value map_next_key(Call& call) {
  int fd = call.handle<Map>(0).fd();
  if (!bpf_map_get_next_key(fd, call.given(1) ? call.bytes(1).data : nullptr, call.bytes(2).data))
    return call.boolean_value(true);
  if (errno != ENOENT) throw Failure{"iterate map", errno};
  return call.boolean_value(false);
}

// mapUpdateBatch(map, keys, values, count, flags: bigint): number of entries written in one system call; -1 if the
// kernel has no batches for this type of map
napi_value map_update_batch(Call& call) {
  int fd = call.handle<Map>(0).fd();
  uint32_t count = call.uint32(3);
  LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = call.uint64(4));
  if (!bpf_map_update_batch(fd, call.bytes(1).data, call.bytes(2).data, &count, &options)) return call.number(count);
  constexpr int kUnsupported = 524;  // ENOTSUPP of the kernel
  if (errno == kUnsupported || errno == EINVAL || errno == EOPNOTSUPP) return call.number(-1);
  throw Failure{"update map in a batch", errno};
}

// mapUpdateEach(map, keys, keySize, values, valueSize, count, flags: bigint)
napi_value map_update_each(Call& call) {
  int fd = call.handle<Map>(0).fd();
  Bytes keys = call.bytes(1), values = call.bytes(3);
  uint32_t key_size = call.uint32(2), value_size = call.uint32(4), count = call.uint32(5);
  uint64_t flags = call.uint64(6);
  if (keys.size / key_size < count || values.size / value_size < count) throw Mistake{"fewer entries than said"};
  for (size_t i = 0; i < count; i++) {
    if (bpf_map_update_elem(fd, keys.data + i * key_size, values.data + i * value_size, flags))
      throw Failure{"update map", errno};
  }
  return call.undefined();
}

// mapReadBatch(map, cursor | null, nextCursor, keys, values, count, remove): number
// n >= 0 entries and there may be more; ~n (negative) when those n were the last; throws ENOTSUPP without batches
napi_value map_read_batch(Call& call) {
  int fd = call.handle<Map>(0).fd();
  void* cursor = call.given(1) ? call.bytes(1).data : nullptr;
  uint32_t count = call.uint32(5);
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  auto* read = call.boolean(6) ? bpf_map_lookup_and_delete_batch : bpf_map_lookup_batch;
  if (!read(fd, cursor, call.bytes(2).data, call.bytes(3).data, call.bytes(4).data, &count, &options))
    return call.number(count);
  if (errno == ENOENT) return call.number(-static_cast<double>(count) - 1);
  throw Failure{"read map in a batch", errno};
}

// A part of a map's memory, mapped while it lives.
class MappedRange {
 public:
  MappedRange(int fd, uint64_t offset, size_t size, int protection) {
    const uint64_t page = sysconf(_SC_PAGESIZE);
    uint64_t start = offset & ~(page - 1);
    slack_ = offset - start;
    size_ = (size + slack_ + page - 1) & ~(page - 1);
    memory_ = mmap(nullptr, size_, protection, MAP_SHARED, fd, static_cast<off_t>(start));
    if (memory_ == MAP_FAILED) throw Failure{"mmap memory of map", errno};
  }
  ~MappedRange() { munmap(memory_, size_); }
  MappedRange(const MappedRange&) = delete;
  uint8_t* data() const { return static_cast<uint8_t*>(memory_) + slack_; }

 private:
  void* memory_;
  size_t slack_, size_;
};

// mapWrite(map, offset: bigint, bytes), mapRead(map, offset: bigint, bytes): transient, so that the map's memory is
// not counted as this process's. The caller has checked the range; the kernel refuses what lies beyond the map.
napi_value map_write(Call& call) {
  Bytes bytes = call.bytes(2);
  MappedRange range(call.handle<Map>(0).fd(), call.uint64(1), bytes.size, PROT_READ | PROT_WRITE);
  memcpy(range.data(), bytes.data, bytes.size);
  return call.undefined();
}

napi_value map_read(Call& call) {
  Bytes bytes = call.bytes(2);
  MappedRange range(call.handle<Map>(0).fd(), call.uint64(1), bytes.size, PROT_READ);
  memcpy(bytes.data, range.data(), bytes.size);
  return call.undefined();
}

// mapView(map, size): ArrayBuffer over the map's memory. Detaching it, or its end by the garbage collector, unmaps it.
napi_value map_view(Call& call) {
  size_t size = call.uint32(1);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, call.handle<Map>(0).fd(), 0);
  if (memory == MAP_FAILED) throw Failure{"mmap memory of map", errno};
  auto unmap = [](napi_env, void* data, void* hint) { munmap(data, reinterpret_cast<size_t>(hint)); };
  napi_value view;
  napi_status status =
      napi_create_external_arraybuffer(call.env, memory, size, unmap, reinterpret_cast<void*>(size), &view);
  if (status != napi_ok) {
    munmap(memory, size);
    check(status);
  }
  return view;
}

// detach(view: ArrayBuffer)
napi_value detach(Call& call) {
  check(napi_detach_arraybuffer(call.env, call.argument(0)));
  return call.undefined();
}

}  // namespace

void define_map(napi_env env, napi_value exports) {
  define(env, exports,
         {
             {"mapCreate", guard<map_create>},
             {"mapInfo", guard<map_info>},
             {"possibleCpus", guard<possible_cpus>},
             {"mapLookup", guard<map_lookup>},
             {"mapUpdate", guard<map_update>},
             {"mapDelete", guard<map_delete>},
             {"mapNextKey", guard<map_next_key>},
             {"mapUpdateBatch", guard<map_update_batch>},
             {"mapUpdateEach", guard<map_update_each>},
             {"mapReadBatch", guard<map_read_batch>},
             {"mapWrite", guard<map_write>},
             {"mapRead", guard<map_read>},
             {"mapView", guard<map_view>},
             {"detach", guard<detach>},
         });
}

}  // namespace plumbline
