// partials.cu — the end of every weight gradient: what blocks have summed, added up in order.
#include "conv.h"
#include "division.h"

namespace tapwise::cuda {
namespace {

// How an element's number in a partial sum (groups, taps, ci, co) is taken apart.
struct Numbering {
  Divisor co, ci, columns, rows, planes;
  Index group;
};

__global__ __launch_bounds__(kThreads) void add_in_order(const Numbering by, const Index size, const Index splits,
                                                         const float* __restrict__ partial, Index w_d, Index w_h,
                                                         Index w_w, Index w_ci, Index w_co, float* __restrict__ dw) {
  for (Index i = first_element(); i < size; i += all_threads()) {
    float sum = 0;
    for (Index split = 0; split < splits; ++split) sum += partial[split * size + i];
    Index rest = i;
    Index to = by.co.take(rest) * w_co;
    to += by.ci.take(rest) * w_ci;
    to += by.columns.take(rest) * w_w;
    to += by.rows.take(rest) * w_h;
    to += by.planes.take(rest) * w_d;
    dw[to + rest * by.group * w_co] = sum;
  }
}

}  // namespace

void add_partials(const Conv& c, Index splits, const float* partial, float* dw, Stream stream) {
  const Index ci = c.ci / c.groups, co = c.co / c.groups, size = c.kd * c.kh * c.kw * ci * c.co;
  const Numbering by{Divisor(co), Divisor(ci), Divisor(c.kw), Divisor(c.kh), Divisor(c.kd), co};
  launch(add_in_order, element_blocks(size), kThreads, stream, by, size, splits, partial, c.w_d, c.w_h, c.w_w, c.w_ci,
         c.w_co, dw);
}

}  // namespace tapwise::cuda
