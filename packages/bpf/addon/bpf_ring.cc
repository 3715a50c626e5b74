// SPDX-License-Identifier: Apache-2.0
#include "bpf_ring.h"

#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace plumbline {

BpfRing::BpfRing(FileDescriptor map, size_t size) : map_(std::move(map)), size_(size), page_(sysconf(_SC_PAGESIZE)) {
  void* consumer = mmap(nullptr, page_, PROT_READ | PROT_WRITE, MAP_SHARED, map_.get(), 0);
  if (consumer == MAP_FAILED) throw Failure{"mmap ring buffer", errno};
  void* producer = mmap(nullptr, page_ + 2 * size_, PROT_READ, MAP_SHARED, map_.get(), static_cast<off_t>(page_));
  if (producer == MAP_FAILED) {
    int error = errno;
    munmap(consumer, page_);
    throw Failure{"mmap ring buffer", error};
  }
  consumer_ = static_cast<uint64_t*>(consumer);
  producer_ = static_cast<const uint64_t*>(producer);
  data_ = static_cast<const uint8_t*>(producer) + page_;
}

BpfRing::~BpfRing() {
  munmap(consumer_, page_);
  munmap(const_cast<uint64_t*>(producer_), page_ + 2 * size_);
}

uint64_t BpfRing::written() const { return __atomic_load_n(producer_, __ATOMIC_ACQUIRE); }
uint64_t BpfRing::consumed() const { return __atomic_load_n(consumer_, __ATOMIC_RELAXED); }

BpfRing::Stop BpfRing::drain(uint64_t end, Batch& batch, Counts& counts) {
  uint64_t position = consumed();
  Stop stop = Stop::kEnd;
  while (position < end) {
    auto* header = reinterpret_cast<const uint32_t*>(data_ + (position & (size_ - 1)));
    uint32_t word = __atomic_load_n(header, __ATOMIC_ACQUIRE);
    if (word & BPF_RINGBUF_BUSY_BIT) {
      stop = Stop::kBusy;
      break;
    }
    size_t length = word & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
    if (word & BPF_RINGBUF_DISCARD_BIT) {
      counts.discarded++;
    } else if (!batch.can_ever_hold(length)) {
      counts.oversized++;
    } else if (!batch.fits(length)) {
      stop = Stop::kFull;
      break;
    } else {
      memcpy(batch.append(length), reinterpret_cast<const uint8_t*>(header) + BPF_RINGBUF_HDR_SZ, length);
      counts.records++;
      counts.bytes += length;
    }
    position += align8(length + BPF_RINGBUF_HDR_SZ);
  }
  __atomic_store_n(consumer_, position, __ATOMIC_RELEASE);
  return stop;
}

}  // namespace plumbline
