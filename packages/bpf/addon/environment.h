// SPDX-License-Identifier: Apache-2.0
// What every file of the addon stands on: handles that JavaScript holds, arguments, results, and failures.
//
// Division of labour: src/*.ts checks arguments, applies defaults and words messages; the functions here receive
// correct positional values and do one thing. They check again only what memory safety rests on.
#ifndef PLUMBLINE_ENVIRONMENT_H
#define PLUMBLINE_ENVIRONMENT_H

#define NAPI_VERSION 9
#include <node_api.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>

namespace plumbline {

class Handle;

// One per Node environment: the main thread and each worker have their own.
struct Environment {
  napi_env env;
  napi_ref error_class = nullptr;
  std::unordered_set<Handle*> handles;  // all that JavaScript may still name

  static std::shared_ptr<Environment> of(napi_env env);
};

// A thing of the kernel's that JavaScript holds. It is closed by close(), by the garbage collector, or when its
// environment ends, whichever comes first.
class Handle {
 public:
  explicit Handle(std::shared_ptr<Environment> environment);
  virtual ~Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  // Gives back all that the handle holds; may be called more than once.
  virtual void close() noexcept = 0;

 protected:
  std::shared_ptr<Environment> environment_;
};

// A file descriptor that closes itself.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { reset(); }
  void reset() noexcept;
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// A handle that is a file descriptor. The subclasses exist so that a map cannot be passed for a program.
class FdHandle : public Handle {
 public:
  FdHandle(std::shared_ptr<Environment> environment, FileDescriptor fd)
      : Handle(std::move(environment)), fd_(std::move(fd)) {}
  ~FdHandle() override = default;
  void close() noexcept override { fd_.reset(); }
  int fd() const;  // throws Failure EBADF once closed

 protected:
  FileDescriptor fd_;
};

struct Program final : FdHandle {
  using FdHandle::FdHandle;
};
struct Map final : FdHandle {
  using FdHandle::FdHandle;
};
struct PerfEvent final : FdHandle {
  using FdHandle::FdHandle;
};
struct StatsSwitch final : FdHandle {
  using FdHandle::FdHandle;
};

// ---- Failures: thrown in C++, turned into a JavaScript exception by guard() ----

// The kernel or libbpf refused. `error` is a positive errno.
struct Failure {
  std::string operation;
  int error = 0;
  std::string verifier_log = {};
  std::string libbpf_log = {};
};

// A value of the wrong type; src/*.ts let it through, so this is a fault of ours.
struct Mistake {
  const char* message;
};

// A JavaScript exception is pending already.
struct Pending {};

void check(napi_status status);

// ---- One call from JavaScript ----

struct Bytes {
  uint8_t* data;
  size_t size;
};

class Call {
 public:
  static constexpr size_t kMaxArguments = 12;
  Call(napi_env env, napi_callback_info info);

  const napi_env env;
  const std::shared_ptr<Environment> environment;

  napi_value argument(size_t index) const { return index < count_ ? arguments_[index] : undefined(); }
  bool given(size_t index) const;  // neither absent nor undefined nor null
  bool boolean(size_t index) const;
  int32_t int32(size_t index) const;
  uint32_t uint32(size_t index) const;
  uint64_t uint64(size_t index) const;  // from a bigint
  std::string string(size_t index) const;
  Bytes bytes(size_t index) const;  // of any typed array; valid until the call returns
  template <typename T>
  T& handle(size_t index) const {
    T* found = dynamic_cast<T*>(handle_at(index));
    if (!found) throw Mistake{"handle of another kind"};
    return *found;
  }

  napi_value undefined() const;
  napi_value boolean_value(bool value) const;
  napi_value number(double value) const;
  napi_value text(const std::string& value) const;
  napi_value copy(const void* data, size_t size) const;  // a Buffer
  napi_value array() const;
  void append(napi_value array, napi_value value) const;
  napi_value object() const;
  void set(napi_value object, const char* name, napi_value value) const;
  // Gives the handle to JavaScript, which owns it from here.
  napi_value external(std::unique_ptr<Handle> handle) const;

 private:
  Handle* handle_at(size_t index) const;
  size_t count_ = kMaxArguments;
  napi_value arguments_[kMaxArguments];
};

using Function = napi_value (*)(Call&);

// Throws in JavaScript what `failure` says, as the BpfError class that was given at init.
void throw_failure(Environment& environment, const Failure& failure);
napi_value invoke(Function function, napi_env env, napi_callback_info info);

// The form that Node-API calls, around the form that is pleasant to write.
template <Function function>
napi_value guard(napi_env env, napi_callback_info info) {
  return invoke(function, env, info);
}

struct Export {
  const char* name;
  napi_callback callback;
};
void define(napi_env env, napi_value exports, std::initializer_list<Export> functions);

// Each file of the addon adds its functions.
void define_object(napi_env env, napi_value exports);
void define_program(napi_env env, napi_value exports);
void define_map(napi_env env, napi_value exports);
void define_perf_event(napi_env env, napi_value exports);
void define_event_reader(napi_env env, napi_value exports);
void define_demangle(napi_env env, napi_value exports);
void define_known_stack(napi_env env, napi_value exports);
void define_memory(napi_env env, napi_value exports);

}  // namespace plumbline

#endif
