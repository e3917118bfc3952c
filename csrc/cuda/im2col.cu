// im2col.cu — convolution as a product whose left matrix is never stored: y (pixels, co) = a (pixels, taps ci) w.
//
//   x (n, ih, iw, ci)  -> a, 8 columns of a tile at a time, into shared memory: zeros where a tap meets padding
//   w                  -> rows (tap, ci) of co, in place or packed by pack_weights
//   a, w               -> y, with b, the residual and the activation, or dx for each phase of the strides
//
// Each thread copies one column of a, whose tap and channel it carries from step to step, for some pixels, whose
// addresses it keeps: no division in the loop. With channels last, four columns are one copy where sizes and addresses
// are multiples of four.
#include <algorithm>

#include "activation.h"
#include "conv.h"
#include "fours.h"
#include "gemm.h"
#include "im2col.h"

namespace tapwise::cuda {
namespace {

template <class T, int kVector>
__global__ __launch_bounds__(T::kThreads, 2) void im2col_product(const Walk s, const float* __restrict__ x,
                                                                 const Matrix<float> w, const Epilogue e,
                                                                 float* __restrict__ y) {
  CU_SHARED(float, a, [T::kStages][T::kM][kRowPitch<T>]);
  CU_SHARED(float, b, [T::kStages][T::kDepth][T::kN]);
  const Place at = place_of<T>(s);
  Loader<T, float, kVector> loader(s, x, w, at);
  Sums<T> sums;
  pipelined<T>(
      loader.steps(), [&](int stage) { loader.load(a[stage], b[stage]); },
      [&](int stage) { add_product<T>(a[stage], b[stage], sums); });
  __pipeline_wait_prior(0);
#pragma unroll
  for (int i = 0; i < T::kRows; ++i) {
    const Index pixel = at.row + Sums<T>::row(i);
    if (pixel >= s.pixels()) continue;
    const Index to = output_at(s, pixel_of(s, pixel));
#pragma unroll
    for (int j = 0; j < T::kColumns; ++j) {
      const int column = at.column + Sums<T>::column(j);
      if (column >= s.co) continue;
      const Index channel = at.group * s.co + column, offset = to + channel * s.to_channel;
      y[offset] = finished(e, sums.c[i][j], channel, offset);
    }
  }
}

// u (groups, taps, ci, co) of a walk's taps, from w with any strides.
__global__ void pack_weights(const Walk s, const float* __restrict__ w, Index w_d, Index w_h, Index w_w, Index w_ci,
                             Index w_co, Index w_group, float* __restrict__ u) {
  const Index size = s.groups * s.taps() * s.ci * s.co;
  for (Index i = Index{blockIdx.x} * blockDim.x + threadIdx.x; i < size; i += Index{gridDim.x} * blockDim.x) {
    const Index co = i % s.co, row = i / s.co, ci = row % s.ci, place = row / s.ci;
    const Index tap = place % s.taps(), group = place / s.taps();
    const Index kw = tap % s.w.taps, kh = tap / s.w.taps % s.h.taps, kd = tap / s.w.taps / s.h.taps;
    u[i] = w[(s.d.w_first + kd * s.d.w_step) * w_d + (s.h.w_first + kh * s.h.w_step) * w_h +
             (s.w.w_first + kw * s.w.w_step) * w_w + ci * w_ci + co * w_co + group * w_group];
  }
}

bool takes_fours(const Walk& s, const float* x, const Matrix<float>& w) {
  return s.from_channel == 1 && s.ci % 4 == 0 && s.co % 4 == 0 && s.w.from % 4 == 0 && w.row % 4 == 0 &&
         w.group % 4 == 0 && is_aligned(x) && is_aligned(w.data);
}

template <class T, int kVector>
void launch_product(const Walk& s, const float* x, const Matrix<float>& w, const Epilogue& e, float* y, Stream stream) {
  const Index blocks = ceil_div(s.pixels(), T::kM) * ceil_div(s.co, T::kN) * s.groups;
  launch(im2col_product<T, kVector>, blocks, T::kThreads, stream, s, x, w, e, y);
}

template <class T>
void multiply(const Walk& s, const float* x, const Matrix<float>& w, const Epilogue& e, float* y, Stream stream) {
  const auto product = takes_fours(s, x, w) ? launch_product<T, 4> : launch_product<T, 1>;
  product(s, x, w, e, y, stream);
}

void multiply(int tile, const Walk& s, const float* x, const Matrix<float>& w, const Epilogue& e, float* y,
              Stream stream) {
  if (tile == 16) return multiply<Tile16>(s, x, w, e, y, stream);
  if (tile == 32) return multiply<Tile32>(s, x, w, e, y, stream);
  // Without copies of four columns the addresses of 128 rows don't fit into registers.
  if (tile == 64 || !takes_fours(s, x, w)) return multiply<Tile64>(s, x, w, e, y, stream);
  launch_product<Tile128, 4>(s, x, w, e, y, stream);
}

// The weights of a walk, packed into `u`.
Matrix<float> packed(const Conv& c, const Walk& s, bool backward, const float* w, float* u, Stream stream) {
  const Index co = c.co / c.groups, size = s.groups * s.taps() * s.ci * s.co;
  launch(pack_weights, std::min<Index>(ceil_div(size, 256), 4096), 256, stream, s, w, c.w_d, c.w_h, c.w_w,
         backward ? c.w_co : c.w_ci, backward ? c.w_ci : c.w_co, co * c.w_co, u);
  return {u, s.co, s.taps() * s.ci * s.co, s.co};
}

}  // namespace

Index im2col_packed_floats(const Conv& s) {
  return s.kd * s.kh * s.kw * (s.ci / s.groups) * s.co;
}

bool takes_fours(const Conv& s, Pass pass) {
  return s.layout == Layout::channels_last && s.ci / s.groups % 4 == 0 && s.co / s.groups % 4 == 0 &&
         pass != Pass::grad_weight;
}

void im2col_forward(const Conv& c, int tile, const float* x, const float* w, const Epilogue& e, float* y,
                    Stream stream) {
  const Walk s = forward_walk(c);
  const bool is_matrix = c.w_co == 1 && c.w_ci == c.co && (c.kw == 1 || c.w_w == c.w_ci * s.ci) &&
                         (c.kh == 1 || c.w_h == c.kw * c.w_ci * s.ci) &&
                         (c.kd == 1 || c.w_d == c.kh * c.kw * c.w_ci * s.ci);
  const Scratch u(is_matrix ? 0 : im2col_packed_floats(c), stream);
  const Matrix<float> m = is_matrix ? Matrix<float>{w, c.co, s.co, s.co} : packed(c, s, false, w, u.floats(), stream);
  multiply(tile, s, x, m, e, y, stream);
}

void im2col_grad_input(const Conv& c, int tile, const float* dy, const float* w, const Epilogue& e, float* dx,
                       Stream stream) {
  const Scratch u(im2col_packed_floats(c), stream);
  for (Index phase = 0; phase < phases(c); ++phase) {
    const Walk s = grad_input_walk(c, phase);
    if (s.pixels() == 0) continue;
    multiply(tile, s, dy, packed(c, s, true, w, u.floats(), stream), e, dx, stream);
  }
}

}  // namespace tapwise::cuda
