// SPDX-License-Identifier: Apache-2.0
// Gives memory that this process does not use back to the kernel: it counts against the node, and nobody else takes it.
#include "environment.h"

#include <malloc.h>
#include <sys/mman.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>

namespace plumbline {
namespace {

// Smaller mappings are not worth the system call.
constexpr uint64_t kMinResidentKiB = 1024;

// One mapping of /proc/self/smaps.
struct Mapping {
  uintptr_t start = 0;
  uintptr_t end = 0;
  bool is_file_code = false;
  uint64_t resident_kib = 0;
  uint64_t anonymous_kib = 0;
};

// Pages that are nothing but the file's, and are read only, come back from the page cache when they are touched. Pages of
// our own (relocated data, what a debugger or a uprobe has written) would not.
void unmap_pages(const Mapping& mapping) {
  if (mapping.is_file_code && mapping.anonymous_kib == 0 && mapping.resident_kib >= kMinResidentKiB)
    madvise(reinterpret_cast<void*>(mapping.start), mapping.end - mapping.start, MADV_DONTNEED);
}

void release_file_pages() {
  std::unique_ptr<FILE, int (*)(FILE*)> smaps(fopen("/proc/self/smaps", "re"), fclose);
  if (!smaps) return;
  Mapping mapping;
  char line[512];
  while (fgets(line, sizeof(line), smaps.get())) {
    uintptr_t start, end;
    char flags[5], device[16];
    uint64_t offset, inode, kib;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %" SCNx64 " %15s %" SCNu64, &start, &end, flags, &offset, device,
               &inode) == 6) {
      unmap_pages(mapping);
      mapping = {start, end, strcmp(flags, "r-xp") == 0 && inode != 0, 0, 0};
    } else if (sscanf(line, "Rss: %" SCNu64, &kib) == 1) {
      mapping.resident_kib = kib;
    } else if (sscanf(line, "Anonymous: %" SCNu64, &kib) == 1) {
      mapping.anonymous_kib = kib;
    }
  }
  unmap_pages(mapping);
}

// releaseMemory()
napi_value release_memory(Call& call) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  release_file_pages();
  return call.undefined();
}

}  // namespace

void define_memory(napi_env env, napi_value exports) {
  define(env, exports, {{"releaseMemory", guard<release_memory>}});
}

}  // namespace plumbline
