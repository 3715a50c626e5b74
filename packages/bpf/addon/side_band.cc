// SPDX-License-Identifier: Apache-2.0
#include "side_band.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace plumbline {
namespace {

constexpr size_t kTrailer = 24;  // pid, tid, time, cpu, reserved
constexpr size_t kTimeFromEnd = 16;
constexpr size_t kLostCountOffset = 16;  // header, id, lost

}  // namespace

SideBandRing::SideBandRing(int cpu, FileDescriptor event, size_t pages) : cpu(cpu), event_(std::move(event)) {
  const size_t page_size = sysconf(_SC_PAGESIZE);
  mapped_ = (1 + pages) * page_size;
  void* memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_SHARED, event_.get(), 0);
  if (memory == MAP_FAILED) throw Failure{"mmap ring of perf event", errno};
  page_ = static_cast<perf_event_mmap_page*>(memory);
  data_ = static_cast<const uint8_t*>(memory) + page_size;
  data_size_ = pages * page_size;
}

SideBandRing::~SideBandRing() { munmap(page_, mapped_); }

template <typename T>
T SideBandRing::at(uint64_t position) const {
  // Records are multiples of 8 bytes, so no aligned word wraps around the end.
  T value;
  memcpy(&value, data_ + (position & (data_size_ - 1)), sizeof value);
  return value;
}

void SideBandRing::refresh() {
  head_ = __atomic_load_n(&page_->data_head, __ATOMIC_ACQUIRE);
  look();
}

void SideBandRing::look() {
  size_ = 0;
  if (tail_ >= head_) return;
  size_t size = at<perf_event_header>(tail_).size;
  if (size < sizeof(perf_event_header) || size % 8 || size > head_ - tail_) {
    tail_ = head_;  // never seen; going on behind it is better than standing still
    return;
  }
  size_ = size;
  time_ = size >= sizeof(perf_event_header) + kTrailer ? at<uint64_t>(tail_ + size - kTimeFromEnd) : 0;
}

uint64_t SideBandRing::lost() const {
  bool is_lost = at<perf_event_header>(tail_).type == PERF_RECORD_LOST && size_ >= kLostCountOffset + 8;
  return is_lost ? at<uint64_t>(tail_ + kLostCountOffset) : 0;
}

void SideBandRing::take(uint8_t* room) {
  size_t start = tail_ & (data_size_ - 1);
  size_t first = std::min(size_, data_size_ - start);
  memcpy(room, data_ + start, first);
  memcpy(room + first, data_, size_ - first);
  tail_ += size_;
  look();
}

void SideBandRing::publish() { __atomic_store_n(&page_->data_tail, tail_, __ATOMIC_RELEASE); }

uint64_t SideBandRing::pending() const { return __atomic_load_n(&page_->data_head, __ATOMIC_ACQUIRE) - tail_; }

void SideBand::refresh() {
  for (auto& ring : rings) ring->refresh();
}

SideBand::Stop SideBand::drain(uint64_t until, Batch& batch, Counts& counts) {
  for (;;) {
    SideBandRing* oldest = nullptr;
    for (auto& ring : rings) {
      if (!ring->empty() && (!oldest || ring->time() < oldest->time())) oldest = ring.get();
    }
    if (!oldest) return Stop::kEnd;
    if (oldest->time() > until) return Stop::kLater;
    if (!batch.fits(oldest->size())) return Stop::kFull;  // at most 64 KiB, which an empty batch always holds
    counts.records++;
    counts.lost += oldest->lost();
    size_t size = oldest->size();
    oldest->take(batch.append(size));
  }
}

void SideBand::publish() {
  for (auto& ring : rings) ring->publish();
  rings.erase(std::remove_if(rings.begin(), rings.end(), [](auto& ring) { return ring->retired && ring->empty(); }),
              rings.end());
}

}  // namespace plumbline
