// memory.h — the engine's own memory: whole cache lines, in huge pages where it is large.
#pragma once

#include "shape.h"

namespace tapwise {

class Memory {
 public:
  Memory() = default;
  explicit Memory(Index floats);  // contents are not defined; throws std::bad_alloc
  Memory(Memory&&) noexcept;
  Memory& operator=(Memory&&) noexcept;
  ~Memory();

  float* data() const { return data_; }
  Index bytes() const { return bytes_; }

 private:
  float* data_ = nullptr;
  Index bytes_ = 0;
};

}  // namespace tapwise
