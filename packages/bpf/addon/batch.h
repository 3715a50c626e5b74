// SPDX-License-Identifier: Apache-2.0
// Records on their way to JavaScript: copied one after the other into a buffer that JavaScript lent.
#ifndef PLUMBLINE_BATCH_H
#define PLUMBLINE_BATCH_H

#include <cstddef>
#include <cstdint>

namespace plumbline {

constexpr size_t align8(size_t size) { return (size + 7) & ~size_t{7}; }

// One lent buffer. Record i lies at offsets[i]; offsets[count] is the end of the last.
struct Slot {
  uint8_t* records;
  size_t records_size;
  uint32_t* offsets;
  size_t offsets_size;
};

class Batch {
 public:
  explicit Batch(const Slot& slot) : slot_(slot) { slot_.offsets[0] = 0; }
  // Size of the largest record that an empty batch can take.
  size_t capacity() const { return slot_.records_size; }
  bool can_ever_hold(size_t size) const { return align8(size) <= capacity(); }
  bool fits(size_t size) const { return count_ + 1 < slot_.offsets_size && align8(size) <= slot_.records_size - used_; }
  // Room for a record of `size` bytes, which fits. Each record starts at a multiple of 8.
  uint8_t* append(size_t size) {
    uint8_t* room = slot_.records + used_;
    used_ += align8(size);
    slot_.offsets[++count_] = static_cast<uint32_t>(used_);
    return room;
  }
  uint32_t count() const { return count_; }
  size_t used() const { return used_; }

 private:
  const Slot slot_;
  uint32_t count_ = 0;
  size_t used_ = 0;
};

}  // namespace plumbline

#endif
