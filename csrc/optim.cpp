#include "chunks.h"
#include "isa.h"
#include "nn.h"
#include "scratch.h"

namespace tapwise {
namespace {

// Calls body(slot, begin, end) for the parts of slots behind one another that [begin, end) covers.
template <class Body>
void for_each_part(const Slot* slots, Index begin, Index end, const Body& body) {
  Index first = 0;
  for (const Slot* s = slots; first < end; first += s->size, ++s)
    if (first + s->size > begin) body(*s, std::max<Index>(0, begin - first), std::min(s->size, end - first));
}

}  // namespace

void optimizer_update(const Update& u, const Slot* slots, Index count) {
  const Table& t = table();
  Index total = 0;
  for (Index i = 0; i < count; ++i) total += slots[i].size;
  split(total, 1, [&](Index begin, Index end) {
    for_each_part(slots, begin, end,
                  [&](const Slot& s, Index first, Index last) { t.optimizer_update(u, s, first, last); });
  });
}

double square_sum(Index size, const float* x) {
  const Table& t = table();
  const Index chunks = (size + kChunk - 1) / kChunk;
  double* const sums = reinterpret_cast<double*>(scratch(Scratch::shared, 2 * chunks));
  split(size, 1, [&](Index begin, Index end) { sums[begin / kChunk] = t.square_sum(x, begin, end); });
  double sum = 0;
  for (Index i = 0; i < chunks; ++i) sum += sums[i];
  return sum;
}

void moving_average(Index size, double momentum, const float* value, float* average) {
  const float kept = static_cast<float>(momentum), taken = static_cast<float>(1 - momentum);
  for (Index i = 0; i < size; ++i) average[i] = kept * average[i] + taken * value[i];
}

}  // namespace tapwise
