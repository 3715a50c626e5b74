// SPDX-License-Identifier: Apache-2.0
// Perf's side band: what happens to processes (exec, fork, exit, executable mappings), from one ring per CPU, merged
// by time.
#ifndef PLUMBLINE_SIDE_BAND_H
#define PLUMBLINE_SIDE_BAND_H

#include <linux/perf_event.h>

#include <memory>
#include <vector>

#include "batch.h"
#include "environment.h"

namespace plumbline {

// The ring of one CPU. The event was opened with sample_id_all and TID | TIME | CPU, so that each record ends in
// { u32 pid, tid; u64 time; u32 cpu, reserved }.
class SideBandRing {
 public:
  SideBandRing(int cpu, FileDescriptor event, size_t pages);
  ~SideBandRing();
  SideBandRing(const SideBandRing&) = delete;

  const int cpu;
  bool retired = false;  // another ring serves the CPU by now; this one goes once it is empty

  int fd() const { return event_.get(); }
  void refresh();  // looks for what the kernel wrote since
  bool empty() const { return size_ == 0; }
  uint64_t time() const { return time_; }  // of the first record: ns, CLOCK_MONOTONIC
  size_t size() const { return size_; }    // of the first record; 0 if there is none
  uint64_t lost() const;                   // records that the first record says were lost
  void take(uint8_t* room);                // copies the first record and goes on to the next
  void publish();                          // gives the room of what was taken back to the kernel
  uint64_t pending() const;                // bytes that were not taken

 private:
  void look();
  template <typename T>
  T at(uint64_t position) const;

  FileDescriptor event_;
  perf_event_mmap_page* page_ = nullptr;
  size_t mapped_ = 0;
  const uint8_t* data_ = nullptr;
  size_t data_size_ = 0;
  uint64_t head_ = 0, tail_ = 0;  // positions: of the kernel as last seen, and ours
  uint64_t time_ = 0;
  size_t size_ = 0;
};

class SideBand {
 public:
  struct Counts {
    uint64_t records = 0, lost = 0;
  };
  enum class Stop {
    kEnd,    // nothing is left
    kLater,  // what is left is younger than the limit
    kFull,   // the batch holds no more
  };

  std::vector<std::unique_ptr<SideBandRing>> rings;

  void refresh();
  // Moves records that are not younger than `until` into `batch`, oldest first.
  Stop drain(uint64_t until, Batch& batch, Counts& counts);
  void publish();
};

}  // namespace plumbline

#endif
