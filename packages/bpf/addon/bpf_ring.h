// SPDX-License-Identifier: Apache-2.0
// The consumer's side of a BPF ring buffer (kernel/bpf/ringbuf.c), walked without libbpf: its consumer publishes a
// position per record and keeps the data mapped twice, this one publishes per batch and maps what it reads while it
// reads, so that a ring of many megabytes is not counted as this process's memory.
#ifndef PLUMBLINE_BPF_RING_H
#define PLUMBLINE_BPF_RING_H

#include "batch.h"
#include "environment.h"

namespace plumbline {

class BpfRing {
 public:
  struct Counts {
    uint64_t records = 0, bytes = 0, discarded = 0, oversized = 0;
  };
  enum class Stop {
    kEnd,     // all up to the end was taken
    kBusy,    // a record is reserved but not yet submitted
    kFull,    // the batch holds no more
    kFailed,  // the data could not be mapped; another time it may
  };

  // `size` is the map's max_entries, in bytes.
  BpfRing(FileDescriptor map, size_t size);
  ~BpfRing();
  BpfRing(const BpfRing&) = delete;

  int fd() const { return map_.get(); }
  uint64_t written() const;   // position of the producer
  uint64_t consumed() const;  // position of the consumer
  // Moves records up to the position `end` into `batch`.
  Stop drain(uint64_t end, Batch& batch, Counts& counts);

 private:
  // Moves the records that lie wholly in the mapped window, from `position` on.
  Stop walk(const uint8_t* window, uint64_t window_size, uint64_t& position, Batch& batch, Counts& counts);

  FileDescriptor map_;
  const size_t size_;
  const size_t page_;
  uint64_t* consumer_ = nullptr;        // a page, writable
  const uint64_t* producer_ = nullptr;  // a page, read-only; the data follow it in the map's file, twice in a row
};

}  // namespace plumbline

#endif
