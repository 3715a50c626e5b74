// SPDX-License-Identifier: Apache-2.0
// bpf_object of libbpf: an ELF file with programs and maps, changed until it is loaded, then handed out piece by piece.
#include "environment.h"
#include "libbpf_log.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace plumbline {
namespace {

// A log that does not fit makes kernels before 6.4 refuse the program with ENOSPC. Untouched pages cost nothing.
constexpr size_t kVerifierLogSize = 16 << 20;

class VerifierLog {
 public:
  VerifierLog() {
    void* memory =
        mmap(nullptr, kVerifierLogSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) buffer_ = static_cast<char*>(memory);
  }
  ~VerifierLog() { release(); }
  VerifierLog(const VerifierLog&) = delete;
  char* buffer() { return buffer_; }
  size_t size() const { return buffer_ ? kVerifierLogSize : 0; }
  std::string text() const {
    return buffer_ ? std::string(buffer_, strnlen(buffer_, kVerifierLogSize)) : std::string();
  }
  void release() noexcept {
    if (buffer_) munmap(std::exchange(buffer_, nullptr), kVerifierLogSize);
  }

 private:
  char* buffer_ = nullptr;
};

class Object final : public Handle {
 public:
  using Handle::Handle;
  ~Object() override { close(); }
  void close() noexcept override {
    if (object_) bpf_object__close(std::exchange(object_, nullptr));
    log.release();
  }
  void open(Bytes file, const std::string& name, const char* btf_path, uint32_t log_level) {
    LibbpfLog warnings;
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name.c_str());
    options.btf_custom_path = btf_path;
    options.kernel_log_buf = log.buffer();
    options.kernel_log_size = log.size();
    options.kernel_log_level = log_level;
    object_ = bpf_object__open_mem(file.data, file.size, &options);
    if (!object_) throw Failure{"open object " + name, errno, "", warnings.text};
  }
  void load() {
    LibbpfLog warnings;
    int error = bpf_object__load(get());
    if (error)
      throw Failure{"load object " + std::string(bpf_object__name(object_)), -error, log.text(), warnings.text};
    loaded_log = log.text();
    log.release();
    // libbpf kept a pointer to the log, but uses it in load alone, which cannot be called twice.
  }
  bpf_object* get() const {
    if (!object_) throw Failure{"use of a closed object", EBADF};
    return object_;
  }
  bpf_program* program(const std::string& name) const {
    bpf_program* found = bpf_object__find_program_by_name(get(), name.c_str());
    if (!found) throw Failure{"find program " + name, ENOENT};
    return found;
  }
  bpf_map* map(const std::string& name) const {
    bpf_map* found = bpf_object__find_map_by_name(get(), name.c_str());
    if (!found) throw Failure{"find map " + name, ENOENT};
    return found;
  }

  VerifierLog log;
  std::string loaded_log;

 private:
  bpf_object* object_ = nullptr;
};

// A descriptor of our own, so that a map or program may outlive its object.
FileDescriptor duplicate(int fd, const std::string& operation) {
  if (fd < 0) throw Failure{operation, EBADF};
  FileDescriptor copy(fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (copy.get() < 0) throw Failure{operation, errno};
  return copy;
}

// objectOpen(file, name, btfPath | null, verifierLogLevel): Object
napi_value object_open(Call& call) {
  auto object = std::make_unique<Object>(call.environment);
  std::string btf_path = call.given(2) ? call.string(2) : "";
  object->open(call.bytes(0), call.string(1), btf_path.empty() ? nullptr : btf_path.c_str(), call.uint32(3));
  return call.external(std::move(object));
}

// objectLoad(object): string, the verifier's log where a level was asked for
napi_value object_load(Call& call) {
  auto& object = call.handle<Object>(0);
  object.load();
  return call.text(object.loaded_log);
}

// objectBtf(object): Buffer, with the offsets of variables filled in
napi_value object_btf(Call& call) {
  auto& object = call.handle<Object>(0);
  const struct btf* btf = bpf_object__btf(object.get());
  uint32_t size = 0;
  const void* data = btf ? btf__raw_data(btf, &size) : nullptr;
  if (!data) throw Failure{"read BTF of object", ENODATA};
  return call.copy(data, size);
}

// objectPrograms(object): [name, section, type][]
napi_value object_programs(Call& call) {
  napi_value programs = call.array();
  bpf_program* program;
  bpf_object__for_each_program(program, call.handle<Object>(0).get()) {
    napi_value entry = call.array();
    call.append(entry, call.text(bpf_program__name(program)));
    call.append(entry, call.text(bpf_program__section_name(program)));
    call.append(entry, call.number(bpf_program__type(program)));
    call.append(programs, entry);
  }
  return programs;
}

// objectMaps(object): [name, size of the initial value or 0][]
napi_value object_maps(Call& call) {
  napi_value maps = call.array();
  bpf_map* map;
  bpf_object__for_each_map(map, call.handle<Object>(0).get()) {
    size_t size = 0;
    const void* initial = bpf_map__is_internal(map) ? bpf_map__initial_value(map, &size) : nullptr;
    napi_value entry = call.array();
    call.append(entry, call.text(bpf_map__name(map)));
    call.append(entry, call.number(initial ? size : 0));
    call.append(maps, entry);
  }
  return maps;
}

// objectWriteInitial(object, map, offset, bytes)
napi_value object_write_initial(Call& call) {
  std::string name = call.string(1);
  uint32_t offset = call.uint32(2);
  Bytes bytes = call.bytes(3);
  size_t size = 0;
  auto* value =
      static_cast<uint8_t*>(const_cast<void*>(bpf_map__initial_value(call.handle<Object>(0).map(name), &size)));
  if (!value || offset > size || bytes.size > size - offset) throw Failure{"set initial value of map " + name, ERANGE};
  memcpy(value + offset, bytes.data, bytes.size);
  return call.undefined();
}

// objectReadInitial(object, map, offset, bytes): fills bytes
napi_value object_read_initial(Call& call) {
  std::string name = call.string(1);
  uint32_t offset = call.uint32(2);
  Bytes bytes = call.bytes(3);
  size_t size = 0;
  auto* value = static_cast<const uint8_t*>(bpf_map__initial_value(call.handle<Object>(0).map(name), &size));
  if (!value || offset > size || bytes.size > size - offset) throw Failure{"read initial value of map " + name, ERANGE};
  memcpy(bytes.data, value + offset, bytes.size);
  return call.undefined();
}

// objectSetAutoload(object, program, load)
napi_value object_set_autoload(Call& call) {
  std::string name = call.string(1);
  int error = bpf_program__set_autoload(call.handle<Object>(0).program(name), call.boolean(2));
  if (error) throw Failure{"set autoload of program " + name, -error};
  return call.undefined();
}

// objectSetMaxEntries(object, map, entries)
napi_value object_set_max_entries(Call& call) {
  std::string name = call.string(1);
  int error = bpf_map__set_max_entries(call.handle<Object>(0).map(name), call.uint32(2));
  if (error) throw Failure{"set size of map " + name, -error};
  return call.undefined();
}

// objectProgram(object, name): Program
napi_value object_program(Call& call) {
  std::string name = call.string(1);
  int fd = bpf_program__fd(call.handle<Object>(0).program(name));
  return call.external(
      std::make_unique<Program>(call.environment, duplicate(fd, "take program " + name + ", which is not loaded")));
}

// objectMap(object, name): Map
napi_value object_map(Call& call) {
  std::string name = call.string(1);
  int fd = bpf_map__fd(call.handle<Object>(0).map(name));
  return call.external(
      std::make_unique<Map>(call.environment, duplicate(fd, "take map " + name + ", which is not loaded")));
}

// libbpfVersion(): string
napi_value libbpf_version(Call& call) {
  return call.text(std::to_string(libbpf_major_version()) + "." + std::to_string(libbpf_minor_version()));
}

}  // namespace

void define_object(napi_env env, napi_value exports) {
  define(env, exports,
         {
             {"objectOpen", guard<object_open>},
             {"objectLoad", guard<object_load>},
             {"objectBtf", guard<object_btf>},
             {"objectPrograms", guard<object_programs>},
             {"objectMaps", guard<object_maps>},
             {"objectWriteInitial", guard<object_write_initial>},
             {"objectReadInitial", guard<object_read_initial>},
             {"objectSetAutoload", guard<object_set_autoload>},
             {"objectSetMaxEntries", guard<object_set_max_entries>},
             {"objectProgram", guard<object_program>},
             {"objectMap", guard<object_map>},
             {"libbpfVersion", guard<libbpf_version>},
         });
}

}  // namespace plumbline
