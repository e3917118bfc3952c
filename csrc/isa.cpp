// isa.cpp — decision 3: which ISA. Detected once; set_isa caps it, for tests and TAPWISE_ISA.
#include "isa.h"

#include <atomic>
#include <cstring>

namespace tapwise {

#define LEVEL(name)          \
  namespace name {           \
  extern const Table kTable; \
  }
TAPWISE_LEVELS
#undef LEVEL

namespace {

bool runs([[maybe_unused]] const char* isa) {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_cpu_init();  // __builtin_cpu_supports asks the operating system's support too
  if (!std::strcmp(isa, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (!std::strcmp(isa, "avx512-bf16"))
    return runs("avx512") && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  if (!std::strcmp(isa, "avx512"))
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#endif
  return true;
}

struct Levels {
  const Table* tables[8];
  int count = 0;

  Levels() {
#define LEVEL(name) \
  if (runs(name::kTable.isa)) tables[count++] = &name::kTable;
    TAPWISE_LEVELS
#undef LEVEL
  }

  const Table* find(const char* isa) const {
    for (int i = 0; i < count; ++i)
      if (!std::strcmp(tables[i]->isa, isa)) return tables[i];
    return nullptr;
  }
};

const Levels& levels() {
  static const Levels found;
  return found;
}

std::atomic<const Table*>& chosen() {
  static std::atomic<const Table*> table{levels().tables[levels().count - 1]};
  return table;
}

}  // namespace

const Table& table() {
  return *chosen().load(std::memory_order_relaxed);
}

void set_table(const Table& t) {
  chosen().store(&t, std::memory_order_relaxed);
}

bool set_isa(const char* name) {
  const Table* found = levels().find(name);
  if (found) set_table(*found);
  return found != nullptr;
}

int isa_count() {
  return levels().count;
}
const Table& isa_at(int index) {
  return *levels().tables[index];
}

}  // namespace tapwise
