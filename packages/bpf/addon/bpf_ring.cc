// SPDX-License-Identifier: Apache-2.0
#include "bpf_ring.h"

#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace plumbline {
BpfRing::BpfRing(FileDescriptor map, size_t size) : map_(std::move(map)), size_(size), page_(sysconf(_SC_PAGESIZE)) {
  void* consumer = mmap(nullptr, page_, PROT_READ | PROT_WRITE, MAP_SHARED, map_.get(), 0);
  if (consumer == MAP_FAILED) throw Failure{"mmap ring buffer", errno};
  void* producer = mmap(nullptr, page_, PROT_READ, MAP_SHARED, map_.get(), static_cast<off_t>(page_));
  if (producer == MAP_FAILED) {
    int error = errno;
    munmap(consumer, page_);
    throw Failure{"mmap ring buffer", error};
  }
  consumer_ = static_cast<uint64_t*>(consumer);
  producer_ = static_cast<const uint64_t*>(producer);
}

BpfRing::~BpfRing() {
  munmap(consumer_, page_);
  munmap(const_cast<uint64_t*>(producer_), page_);
}

uint64_t BpfRing::written() const { return __atomic_load_n(producer_, __ATOMIC_ACQUIRE); }
uint64_t BpfRing::consumed() const { return __atomic_load_n(consumer_, __ATOMIC_RELAXED); }

BpfRing::Stop BpfRing::drain(uint64_t end, Batch& batch, Counts& counts) {
  uint64_t position = consumed();
  Stop stop = Stop::kEnd;
  while (position < end && stop == Stop::kEnd) {
    // About what a batch takes, and never less than a record that it can hold. The data lie in the file twice in a
    // row, so a window may reach across their end.
    const uint64_t size = std::min<uint64_t>(end - position, batch.capacity() + batch.capacity() / 8);
    const uint64_t offset = position & (size_ - 1);
    const uint64_t slack = offset & (page_ - 1);
    void* memory =
        mmap(nullptr, slack + size, PROT_READ, MAP_SHARED, map_.get(), static_cast<off_t>(2 * page_ + offset - slack));
    if (memory == MAP_FAILED) return Stop::kFailed;
    stop = walk(static_cast<const uint8_t*>(memory) + slack, size, position, batch, counts);
    munmap(memory, slack + size);
  }
  __atomic_store_n(consumer_, position, __ATOMIC_RELEASE);
  return stop;
}

BpfRing::Stop BpfRing::walk(const uint8_t* window, uint64_t window_size, uint64_t& position, Batch& batch,
                            Counts& counts) {
  const uint64_t start = position;
  while (position - start + BPF_RINGBUF_HDR_SZ <= window_size) {
    auto* header = reinterpret_cast<const uint32_t*>(window + (position - start));
    const uint32_t word = __atomic_load_n(header, __ATOMIC_ACQUIRE);
    if (word & BPF_RINGBUF_BUSY_BIT) return Stop::kBusy;
    const size_t length = word & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
    if (word & BPF_RINGBUF_DISCARD_BIT) {
      counts.discarded++;
    } else if (!batch.can_ever_hold(length)) {
      counts.oversized++;
    } else if (!batch.fits(length)) {
      return Stop::kFull;
    } else if (position - start + BPF_RINGBUF_HDR_SZ + length > window_size) {
      break;  // the next window starts with it
    } else {
      memcpy(batch.append(length), reinterpret_cast<const uint8_t*>(header) + BPF_RINGBUF_HDR_SZ, length);
      counts.records++;
      counts.bytes += length;
    }
    position += align8(length + BPF_RINGBUF_HDR_SZ);
  }
  return Stop::kEnd;
}

}  // namespace plumbline
