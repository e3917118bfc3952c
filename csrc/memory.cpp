#include "memory.h"

#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tapwise {
namespace {

constexpr Index kLine = 64, kHugePage = Index{2} << 20;

std::align_val_t alignment(Index bytes) {
  return std::align_val_t(static_cast<std::size_t>(bytes < kHugePage ? kLine : kHugePage));
}

}  // namespace

Memory::Memory(Index floats) : bytes_(floats * static_cast<Index>(sizeof(float))) {
  data_ = static_cast<float*>(::operator new(static_cast<std::size_t>(bytes_), alignment(bytes_)));
#if defined(__linux__)
  // First touches of 4 KiB pages cost more than packing does. Advice that is refused changes nothing.
  if (bytes_ >= kHugePage) madvise(data_, static_cast<std::size_t>(bytes_), MADV_HUGEPAGE);
#endif
}

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  Memory former(std::move(*this));
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Memory::~Memory() {
  if (data_) ::operator delete(data_, alignment(bytes_));
}

}  // namespace tapwise
