// SPDX-License-Identifier: Apache-2.0
// Entry of the addon: one Environment per Node environment, closed with it.
#include "environment.h"
#include "libbpf_log.h"

#include <vector>

namespace plumbline {
namespace {

// initialise(BpfError): the class that failures are thrown as.
napi_value initialise(Call& call) {
  Environment& environment = *call.environment;
  if (environment.error_class) check(napi_delete_reference(call.env, environment.error_class));
  check(napi_create_reference(call.env, call.argument(0), 1, &environment.error_class));
  return call.undefined();
}

// close(handle)
napi_value close_handle(Call& call) {
  call.handle<Handle>(0).close();
  return call.undefined();
}

// fileDescriptor(handle): number
napi_value file_descriptor(Call& call) { return call.number(call.handle<FdHandle>(0).fd()); }

void close_all(void* data) {
  auto& environment = **static_cast<std::shared_ptr<Environment>*>(data);
  // Event readers first: their threads use descriptors of their own, but their buffers belong to this environment.
  std::vector<Handle*> handles(environment.handles.begin(), environment.handles.end());
  for (Handle* handle : handles) handle->close();
}

napi_value initialise_addon(napi_env env, napi_value exports) {
  try {
    auto* environment = new std::shared_ptr<Environment>(std::make_shared<Environment>(Environment{env, nullptr, {}}));
    auto finalize = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<Environment>*>(data); };
    check(napi_set_instance_data(env, environment, finalize, nullptr));
    check(napi_add_env_cleanup_hook(env, close_all, environment));
    capture_libbpf_messages();
    define(env, exports,
           {
               {"initialise", guard<initialise>},
               {"close", guard<close_handle>},
               {"fileDescriptor", guard<file_descriptor>},
           });
    define_object(env, exports);
    define_program(env, exports);
    define_map(env, exports);
    define_perf_event(env, exports);
    define_event_reader(env, exports);
    define_demangle(env, exports);
    define_known_stack(env, exports);
    define_memory(env, exports);
    return exports;
  } catch (...) {
    napi_throw_error(env, nullptr, "the addon could not be initialised");
    return nullptr;
  }
}

}  // namespace
}  // namespace plumbline

NAPI_MODULE_INIT() { return plumbline::initialise_addon(env, exports); }
