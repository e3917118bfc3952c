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
#include "gemm.h"

namespace tapwise::cuda {
namespace {

// The weights as a matrix: element (k, column) of group g is at data[k * row + g * group + column].
struct Matrix {
  const float* data;
  Index row, group;
};

// A column of a: its tap, and the channel in it.
struct Column {
  int c, d, h, w;

  __device__ __forceinline__ void advance(const Walk& s, int by) {
    c += by;
    while (c >= s.ci) {
      c -= s.ci;
      if (++w < s.w.taps) continue;
      w = 0;
      if (++h < s.h.taps) continue;
      h = 0;
      ++d;
    }
  }
};

// Where a row of a begins in x: its pixel's position for the first tap, and the address of position 0.
struct Row {
  Index image;
  int d, h, w;
};

__device__ __forceinline__ Row row_of(const Walk& s, Index pixel) {
  const Pixel p = pixel_of(s, pixel);
  return {p.image * s.from_image, p.d * s.d.step + s.d.first, p.h * s.h.step + s.h.first, p.w * s.w.step + s.w.first};
}

// Which tile a block is: the columns of a row of tiles follow each other, so that they share a in the cache.
struct Place {
  Index row;
  int column;
  Index group;
};

template <class T>
__device__ __forceinline__ Place place_of(const Walk& s) {
  const auto across = static_cast<unsigned>((s.co + T::kN - 1) / T::kN);
  const unsigned rest = blockIdx.x / across;
  const auto groups = static_cast<unsigned>(s.groups);
  return {Index{rest / groups} * T::kM, static_cast<int>(blockIdx.x % across) * T::kN, Index{rest % groups}};
}

template <class T, int kVector>
struct Loader {
  static constexpr int kSlots = T::kDepth / kVector;   // copies in a row of the tile of a
  static constexpr int kApart = T::kThreads / kSlots;  // rows between those of one thread
  static constexpr int kCount = (T::kM + kApart - 1) / kApart;
  static constexpr int kAcross = T::kN / kVector, kDown = T::kThreads / kAcross;
  static_assert(T::kThreads % kAcross == 0 && T::kThreads % kSlots == 0);

  const Walk& s;
  const float* x;
  Matrix w;
  Place at;
  Index k_end, k = 0;
  int slot, first;
  Column column{0, 0, 0, 0};
  Row rows[kCount];

  __device__ __forceinline__ Loader(const Walk& walk, const float* from, const Matrix& weights, const Place& place)
      : s(walk), x(from + place.group * walk.ci * walk.from_channel), w(weights), at(place) {
    const int t = static_cast<int>(threadIdx.x);
    const bool columns_first = s.from_channel == 1;
    slot = columns_first ? t % kSlots : t / kApart;
    first = columns_first ? t / kSlots : t % kApart;
    k_end = s.taps() * s.ci;
    if (k_end) column.advance(s, slot * kVector);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const Index pixel = at.row + first + i * kApart;
      // One past the end lies outside of every input.
      rows[i] = first + i * kApart < T::kM && pixel < s.pixels() ? row_of(s, pixel) : Row{0, -(1 << 30), 0, 0};
    }
    w.data += place.group * w.group + place.column;
  }

  __device__ __forceinline__ void load(float (&a)[T::kM][kRowPitch<T>], float (&b)[T::kDepth][T::kN]) {
    const bool is_column = k + slot * kVector < k_end;
    const int d = column.d * s.d.tap_step, h = column.h * s.h.tap_step, v = column.w * s.w.tap_step;
    const Index channel = column.c * s.from_channel;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const Row& r = rows[i];
      const bool hits =
          is_column && inside(r.d + d, s.d.inputs) && inside(r.h + h, s.h.inputs) && inside(r.w + v, s.w.inputs);
      const Index offset = r.image + channel + (r.d + d) * s.d.from + (r.h + h) * s.h.from + (r.w + v) * s.w.from;
      if (T::kM % kApart == 0 || first + i * kApart < T::kM)
        __pipeline_memcpy_async(&a[first + i * kApart][slot * kVector], hits ? x + offset : x, 4 * kVector,
                                hits ? 0 : 4 * kVector);
    }
    load_weights(b);
    if (is_column) column.advance(s, T::kDepth);
    k += T::kDepth;
  }

  __device__ __forceinline__ void load_weights(float (&b)[T::kDepth][T::kN]) {
    const int t = static_cast<int>(threadIdx.x), n = t % kAcross * kVector;
#pragma unroll
    for (int row = t / kAcross; row < T::kDepth; row += kDown) {
      const bool hits = k + row < k_end && at.column + n < s.co;
      __pipeline_memcpy_async(&b[row][n], hits ? w.data + (k + row) * w.row + n : w.data, 4 * kVector,
                              hits ? 0 : 4 * kVector);
    }
  }
};

template <class T, int kVector>
__global__ __launch_bounds__(T::kThreads, 2) void im2col_product(const Walk s, const float* __restrict__ x,
                                                                 const Matrix w, const Epilogue e,
                                                                 float* __restrict__ y) {
  CU_SHARED(float, a, [T::kStages][T::kM][kRowPitch<T>]);
  CU_SHARED(float, b, [T::kStages][T::kDepth][T::kN]);
  const Place at = place_of<T>(s);
  Loader<T, kVector> loader(s, x, w, at);
  Sums<T> sums;
  const auto steps = static_cast<int>((loader.k_end + T::kDepth - 1) / T::kDepth);
  pipelined<T>(
      steps, [&](int stage) { loader.load(a[stage], b[stage]); },
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

bool is_aligned(const void* data) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0;
}

bool takes_fours(const Walk& s, const float* x, const Matrix& w) {
  return s.from_channel == 1 && s.ci % 4 == 0 && s.co % 4 == 0 && s.w.from % 4 == 0 && w.row % 4 == 0 &&
         w.group % 4 == 0 && is_aligned(x) && is_aligned(w.data);
}

template <class T, int kVector>
void launch_product(const Walk& s, const float* x, const Matrix& w, const Epilogue& e, float* y, Stream stream) {
  const Index blocks = ceil_div(s.pixels(), T::kM) * ceil_div(s.co, T::kN) * s.groups;
  launch(im2col_product<T, kVector>, blocks, T::kThreads, stream, s, x, w, e, y);
}

template <class T>
void multiply(const Walk& s, const float* x, const Matrix& w, const Epilogue& e, float* y, Stream stream) {
  const auto product = takes_fours(s, x, w) ? launch_product<T, 4> : launch_product<T, 1>;
  product(s, x, w, e, y, stream);
}

void multiply(int tile, const Walk& s, const float* x, const Matrix& w, const Epilogue& e, float* y, Stream stream) {
  if (tile == 16) return multiply<Tile16>(s, x, w, e, y, stream);
  if (tile == 32) return multiply<Tile32>(s, x, w, e, y, stream);
  // Without copies of four columns the addresses of 128 rows don't fit into registers.
  if (tile == 64 || !takes_fours(s, x, w)) return multiply<Tile64>(s, x, w, e, y, stream);
  launch_product<Tile128, 4>(s, x, w, e, y, stream);
}

// The weights of a walk, packed into `u`.
Matrix packed(const Conv& c, const Walk& s, bool backward, const float* w, float* u, Stream stream) {
  const Index co = c.co / c.groups, size = s.groups * s.taps() * s.ci * s.co;
  launch(pack_weights, std::min<Index>(ceil_div(size, 256), 4096), 256, stream, s, w, c.w_d, c.w_h, c.w_w,
         backward ? c.w_co : c.w_ci, backward ? c.w_ci : c.w_co, co * c.w_co, u);
  return {u, s.co, s.taps() * s.ci * s.co};
}

}  // namespace

Index im2col_packed_floats(const Conv& s) {
  return s.kd * s.kh * s.kw * (s.ci / s.groups) * s.co;
}

void im2col_forward(const Conv& c, int tile, const float* x, const float* w, const Epilogue& e, float* y,
                    Stream stream) {
  const Walk s = forward_walk(c);
  const bool is_matrix = c.w_co == 1 && c.w_ci == c.co && (c.kw == 1 || c.w_w == c.w_ci * s.ci) &&
                         (c.kh == 1 || c.w_h == c.kw * c.w_ci * s.ci) &&
                         (c.kd == 1 || c.w_d == c.kh * c.kw * c.w_ci * s.ci);
  const Scratch u(is_matrix ? 0 : im2col_packed_floats(c), stream);
  const Matrix m = is_matrix ? Matrix{w, c.co, s.co} : packed(c, s, false, w, u.floats(), stream);
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
