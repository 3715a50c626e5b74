// SPDX-License-Identifier: Apache-2.0
// libbpf prints its warnings through one function of the whole process; here they are kept for the error instead.
#ifndef PLUMBLINE_LIBBPF_LOG_H
#define PLUMBLINE_LIBBPF_LOG_H

#include <string>

namespace plumbline {

// Routes libbpf's messages to the LibbpfLog of the thread that calls libbpf. Idempotent.
void capture_libbpf_messages();

// Collects the warnings that libbpf prints in this thread while it lives.
class LibbpfLog {
 public:
  LibbpfLog();
  ~LibbpfLog();
  LibbpfLog(const LibbpfLog&) = delete;
  std::string text;

 private:
  LibbpfLog* outer_;
};

}  // namespace plumbline

#endif
