// SPDX-License-Identifier: Apache-2.0
// Names of C++ in readable form, by the demangler of libstdc++ under limits: symbol tables are hostile input, and a
// mangled name of a few dozen bytes can stand for gigabytes.
#include "environment.h"

#include <csetjmp>
#include <string>

// Part of libstdc++.a (libiberty's cp-demangle.c), which is linked statically. It hands out the text in pieces and
// allocates nothing on the heap, so leaving it by longjmp leaks nothing.
extern "C" int __gcclibcxx_demangle_callback(const char* mangled, void (*callback)(const char*, size_t, void*),
                                             void* data);

namespace plumbline {
namespace {

struct Output {
  char* text;
  size_t size;
  size_t used;
  jmp_buf overflow;
};

void collect(const char* text, size_t length, void* data) {
  auto* output = static_cast<Output*>(data);
  if (length > output->size - output->used) longjmp(output->overflow, 1);
  __builtin_memcpy(output->text + output->used, text, length);
  output->used += length;
}

// False if `name` is not a mangled name, or the readable form does not fit.
bool demangle_one(const char* name, Output& output) {
  output.used = 0;
  if (setjmp(output.overflow)) return false;
  return __gcclibcxx_demangle_callback(name, collect, &output) == 0;
}

// demangle(names, maxInput, maxOutput): (string | null)[]
napi_value demangle(Call& call) {
  size_t max_input = call.uint32(1);
  std::string text(call.uint32(2), '\0');
  Output output = {text.data(), text.size(), 0, {}};
  std::string name(max_input + 1, '\0');
  uint32_t count;
  napi_value results, null;
  check(napi_get_array_length(call.env, call.argument(0), &count));
  check(napi_create_array_with_length(call.env, count, &results));
  check(napi_get_null(call.env, &null));
  for (uint32_t i = 0; i < count; i++) {
    napi_handle_scope scope;
    check(napi_open_handle_scope(call.env, &scope));
    napi_value item, result = null;
    size_t length;
    check(napi_get_element(call.env, call.argument(0), i, &item));
    check(napi_get_value_string_utf8(call.env, item, nullptr, 0, &length));
    if (length <= max_input) {
      check(napi_get_value_string_utf8(call.env, item, name.data(), max_input + 1, &length));
      if (demangle_one(name.c_str(), output))
        check(napi_create_string_utf8(call.env, output.text, output.used, &result));
    }
    check(napi_set_element(call.env, results, i, result));
    check(napi_close_handle_scope(call.env, scope));
  }
  return results;
}

}  // namespace

void define_demangle(napi_env env, napi_value exports) { define(env, exports, {{"demangle", guard<demangle>}}); }

}  // namespace plumbline
