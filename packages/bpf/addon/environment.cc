// SPDX-License-Identifier: Apache-2.0
#include "environment.h"

#include <unistd.h>

#include <cerrno>
#include <new>

namespace plumbline {

std::shared_ptr<Environment> Environment::of(napi_env env) {
  void* data = nullptr;
  check(napi_get_instance_data(env, &data));
  if (!data) throw Mistake{"the addon is not initialised in this thread"};
  return *static_cast<std::shared_ptr<Environment>*>(data);
}

Handle::Handle(std::shared_ptr<Environment> environment) : environment_(std::move(environment)) {
  environment_->handles.insert(this);
}

Handle::~Handle() { environment_->handles.erase(this); }

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void FileDescriptor::reset() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

int FdHandle::fd() const {
  if (fd_.get() < 0) throw Failure{"use of a closed handle", EBADF};
  return fd_.get();
}

void check(napi_status status) {
  if (status == napi_ok) return;
  if (status == napi_pending_exception) throw Pending{};
  throw Mistake{"value of an unexpected type"};
}

// ---- Call ----

Call::Call(napi_env env, napi_callback_info info) : env(env), environment(Environment::of(env)) {
  size_t passed = kMaxArguments;
  check(napi_get_cb_info(env, info, &passed, arguments_, nullptr, nullptr));
  count_ = passed < kMaxArguments ? passed : kMaxArguments;
}

bool Call::given(size_t index) const {
  napi_valuetype type;
  check(napi_typeof(env, argument(index), &type));
  return type != napi_undefined && type != napi_null;
}

bool Call::boolean(size_t index) const {
  bool value;
  check(napi_get_value_bool(env, argument(index), &value));
  return value;
}

int32_t Call::int32(size_t index) const {
  int32_t value;
  check(napi_get_value_int32(env, argument(index), &value));
  return value;
}

uint32_t Call::uint32(size_t index) const {
  uint32_t value;
  check(napi_get_value_uint32(env, argument(index), &value));
  return value;
}

uint64_t Call::uint64(size_t index) const {
  uint64_t value;
  bool lossless;
  check(napi_get_value_bigint_uint64(env, argument(index), &value, &lossless));
  return value;
}

std::string Call::string(size_t index) const {
  size_t length;
  check(napi_get_value_string_utf8(env, argument(index), nullptr, 0, &length));
  std::string value(length, '\0');
  check(napi_get_value_string_utf8(env, argument(index), value.data(), length + 1, &length));
  return value;
}

Bytes Call::bytes(size_t index) const {
  napi_typedarray_type type;
  size_t length;
  void* data;
  check(napi_get_typedarray_info(env, argument(index), &type, &length, &data, nullptr, nullptr));
  static constexpr size_t kWidth[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};  // in the order of napi_typedarray_type
  if (static_cast<size_t>(type) >= sizeof(kWidth) / sizeof(kWidth[0])) throw Mistake{"unknown typed array"};
  return {static_cast<uint8_t*>(data), length * kWidth[type]};
}

Handle* Call::handle_at(size_t index) const {
  void* data;
  check(napi_get_value_external(env, argument(index), &data));
  // Externals of other addons, and handles of other threads, are not in the set: never dereferenced.
  auto* candidate = static_cast<Handle*>(data);
  if (!environment->handles.count(candidate)) throw Mistake{"not a handle of this addon and thread"};
  return candidate;
}

napi_value Call::undefined() const {
  napi_value value;
  check(napi_get_undefined(env, &value));
  return value;
}

napi_value Call::boolean_value(bool boolean) const {
  napi_value value;
  check(napi_get_boolean(env, boolean, &value));
  return value;
}

napi_value Call::number(double number) const {
  napi_value value;
  check(napi_create_double(env, number, &value));
  return value;
}

napi_value Call::text(const std::string& text) const {
  napi_value value;
  check(napi_create_string_utf8(env, text.data(), text.size(), &value));
  return value;
}

napi_value Call::copy(const void* data, size_t size) const {
  napi_value value;
  check(napi_create_buffer_copy(env, size, data, nullptr, &value));
  return value;
}

napi_value Call::array() const {
  napi_value value;
  check(napi_create_array(env, &value));
  return value;
}

void Call::append(napi_value array, napi_value value) const {
  uint32_t length;
  check(napi_get_array_length(env, array, &length));
  check(napi_set_element(env, array, length, value));
}

napi_value Call::object() const {
  napi_value value;
  check(napi_create_object(env, &value));
  return value;
}

void Call::set(napi_value object, const char* name, napi_value value) const {
  check(napi_set_named_property(env, object, name, value));
}

napi_value Call::external(std::unique_ptr<Handle> handle) const {
  napi_value value;
  auto finalize = [](napi_env, void* data, void*) {
    auto* handle = static_cast<Handle*>(data);
    handle->close();
    delete handle;
  };
  check(napi_create_external(env, handle.get(), finalize, nullptr, &value));
  handle.release();
  return value;
}

// ---- From exceptions of C++ to exceptions of JavaScript ----

void throw_failure(Environment& environment, const Failure& failure) {
  napi_env env = environment.env;
  napi_value error_class, options, error;
  auto text = [&](const char* name, const std::string& content) {
    napi_value value;
    check(napi_create_string_utf8(env, content.data(), content.size(), &value));
    check(napi_set_named_property(env, options, name, value));
  };
  check(napi_get_reference_value(env, environment.error_class, &error_class));
  check(napi_create_object(env, &options));
  text("operation", failure.operation);
  text("verifierLog", failure.verifier_log);
  text("libbpfLog", failure.libbpf_log);
  napi_value number;
  check(napi_create_int32(env, failure.error, &number));
  check(napi_set_named_property(env, options, "errno", number));
  check(napi_new_instance(env, error_class, 1, &options, &error));
  check(napi_throw(env, error));
}

napi_value invoke(Function function, napi_env env, napi_callback_info info) {
  try {
    Call call(env, info);
    try {
      return function(call);
    } catch (const Failure& failure) {
      throw_failure(*call.environment, failure);
    }
  } catch (const Mistake& mistake) {
    napi_throw_type_error(env, nullptr, mistake.message);
  } catch (const Pending&) {
  } catch (const std::bad_alloc&) {
    napi_throw_error(env, "ENOMEM", "out of memory");
  }
  return nullptr;
}

void define(napi_env env, napi_value exports, std::initializer_list<Export> functions) {
  for (const Export& function : functions) {
    napi_value value;
    check(napi_create_function(env, function.name, NAPI_AUTO_LENGTH, function.callback, nullptr, &value));
    check(napi_set_named_property(env, exports, function.name, value));
  }
}

}  // namespace plumbline
