// SPDX-License-Identifier: Apache-2.0
#include "libbpf_log.h"

#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>

namespace plumbline {
namespace {

constexpr size_t kMaxLog = 64 << 10;
thread_local LibbpfLog* current = nullptr;

int collect(enum libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN || !current || current->text.size() >= kMaxLog) return 0;
  char line[2048];
  int length = vsnprintf(line, sizeof line, format, arguments);
  if (length > 0) current->text.append(line, std::min<size_t>(length, sizeof line - 1));
  return length;
}

}  // namespace

void capture_libbpf_messages() { libbpf_set_print(collect); }

LibbpfLog::LibbpfLog() : outer_(current) { current = this; }
LibbpfLog::~LibbpfLog() { current = outer_; }

}  // namespace plumbline
