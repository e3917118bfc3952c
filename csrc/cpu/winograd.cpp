// winograd.cpp — F(m, r) on both axes, or on one: y = A'[(G w G') . (B' x B)]A, tile by tile; winograd.h has the
// matrices.
//
//   w (kh, kw, ci, co)  -> u (frequencies, ci, co)      winograd_weights.h
//   x (n, ih, iw, ci)   -> v (frequencies, tiles, ci)   input_tile
//   v, u                -> m (frequencies, tiles, co)   as many products as frequencies; most of the time is here
//   m                   -> y (n, oh, ow, co)            output_tile, adds b and the residual, applies the activation
//
// Multiplies an output of 3x3: direct 9, F(2x2) 4, F(4x4) 2.25, F(6x6) 1.78; of 5x5: direct 25, F(2x2) 9. Fused, a
// block's v and m stay in L2 and u streams past; few tiles of many channels are transformed first, then shared out by
// panels of output channels. Both give the same bits: a product is summed over ci in one order, whatever the block.
// channels_first is transposed in strips of one vector of channels, never as a whole.
// Stride 1, or 2 for 3x3 by phases (direct 9, F(3x3) 5.44, F(5x5) 4.84), dilation 1, one group, two spatial dimensions;
// long kernels on one axis by phases (9 taps: F(4) 4.5). winograd_plan.cpp guarantees it.
//
// Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
#include "winograd.h"

#include "activation.h"
#include "gemm.h"
#include "layout.h"
#include "winograd_weights.h"

namespace tapwise::ISA {
namespace {

// Addresses a step apart: a pointer for three of them, opaque to the compiler, which otherwise computes and spills
// dozens.
template <int kCount, class Float>
class Ladder {
 public:
  TAPWISE_INLINE Ladder(Float* first, Index step) : step_(step) {
    TAPWISE_UNROLL for (int i = 0; i < kPointers; ++i) base_[i] = first + 3 * i * step;
    advance(0);
  }
  TAPWISE_INLINE Float* at(int i) const { return base_[i / 3] + i % 3 * step_; }
  TAPWISE_INLINE void advance(Index floats) {
    TAPWISE_UNROLL for (Float*& base : base_) {
      base += floats;
      asm("" : "+r"(base));
    }
  }

 private:
  static constexpr int kPointers = (kCount + 2) / 3;
  Float* base_[kPointers];
  Index step_;
};

// Pixels of one vector of channels, a column of a tile's kRows after the other.
struct Pixels {
  const float* data;
  Index row, pixel;

  template <int kRows>
  struct Columns {
    Ladder<kRows, const float> rows;
    Index pixel;

    TAPWISE_INLINE const float* at(int i) const { return rows.at(i); }
    TAPWISE_INLINE void next() { rows.advance(pixel); }
  };
  template <int kRows>
  TAPWISE_INLINE Columns<kRows> columns() const {
    return {{data, row}, pixel};
  }
};

// Those of a tile at the border, each with its own address: of zeros, where it lies outside x.
template <class H, class W>
struct BorderPixels {
  const float* data[H::kSize][W::kSize];
  Index c = 0;

  BorderPixels(const Conv& s, Index image, Index h, Index w, const float* x, const float* zeros) {
    const float* row = x + ((image * s.ih + h) * s.iw + w) * s.ci;
    for (Index i = 0; i < H::kSize; ++i, h += s.sh, row += s.sh * s.iw * s.ci) {
      const Index first = h >= 0 && h < s.ih ? -w : W::kSize * s.sw, end = s.iw - w;
      TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j) {
        const Index col = j * s.sw;
        data[i][j] = col >= first && col < end ? row + col * s.ci : zeros;
      }
    }
  }

  struct Columns {
    const BorderPixels& pixels;
    int j = 0;

    TAPWISE_INLINE const float* at(int i) const { return pixels.data[i][j] + pixels.c; }
    TAPWISE_INLINE void next() { ++j; }
  };
  template <int>
  TAPWISE_INLINE Columns columns() const {
    return {*this};
  }
};

// v of one tile and one vector of channels: B' x B, two rows at a time, which stay in registers.
template <class H, class W, int kTwo = 0, class From>
TAPWISE_INLINE void input_tile(const From& x, float* v, Index v_frequency) {
  constexpr const int (&rows)[2] = kInputRows<H, kTwo>;
  Vec half[2][W::kSize], row[W::kSize];
  auto column = x.template columns<H::kSize>();
  TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j, column.next())
      transform_input<H, kTwo>([&](int i) { return load(column.at(i)); }, half[0][j], half[1][j]);
  TAPWISE_UNROLL for (int i = 0; i < (H::kSize > 1 ? 2 : 1); ++i) {
    transform_input<W>(half[i], row);
    const Ladder<W::kAll, float> to(v + H::point(rows[i]) * W::kAll * v_frequency, v_frequency);
    TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j) store(to.at(W::point(j)), row[j]);
  }
  if constexpr (kTwo + 1 < kInputTwos<H>) input_tile<H, W, kTwo + 1>(x, v, v_frequency);
}

// Copies rows x cols pixels of channels [c, c + channels) from (h, w) on, kLanes apart; what lies outside x is 0.
TAPWISE_INLINE Pixels gather(const Conv& s, Index image, Index h, Index w, Index rows, Index cols, Index c,
                             Index channels, const float* x, float* strip) {
  const Index w0 = least(cols, most<Index>(0, -w)), w1 = most(w0, least(cols, s.iw - w));
  for (Index i = 0; i < rows; ++i) {
    float* to = strip + i * cols * kLanes;
    if (h + i < 0 || h + i >= s.ih || w0 == w1) {
      clear(to, cols * kLanes);
      continue;
    }
    clear(to, w0 * kLanes);
    clear(to + w1 * kLanes, (cols - w1) * kLanes);
    to += w0 * kLanes;
    if (s.layout == Layout::channels_first)
      planes_to_pixels(x + ((image * s.ci + c) * s.ih + h + i) * s.iw + w + w0, s.ih * s.iw, channels, w1 - w0, to,
                       kLanes);
    else
      copy_pixels(x + ((image * s.ih + h + i) * s.iw + w + w0) * s.ci + c, s.ci, channels, w1 - w0, to, kLanes);
  }
  return {strip, cols * kLanes, kLanes};
}

// Where channel c of a tile's v lies.
TAPWISE_INLINE Index v_at(const Tiling& g, Index c) {
  if (c < g.task_channels) return c;  // a division takes as long as a fifth of a tile's transform
  return c / g.task_channels * g.v_part + c % g.task_channels;
}

// Transforms a run of tiles; v is its first tile's.
template <class H, class W>
void input_planes(const Conv& s, const Tiling& g, const TileRun& run, const float* x, float* v, float* strip) {
  const Index h = run.row * g.tile_h * s.sh - s.pt, w = run.col * g.tile_w * s.sw - s.pl;
  const Index rows = (H::kSize - 1) * s.sh + (g.phases_h - 1) * g.phase_step + 1;
  const Index cols = ((run.count - 1) * W::kOutputs + W::kSize - 1) * s.sw + (g.phases_w - 1) * g.phase_step + 1;
  for_each_vector(0, s.ci, [&](Index c, Index channels) {
    gather(s, run.image, h, w, rows, cols, c, channels, x, strip);
    for (Index phase = 0; phase < g.phases_h * g.phases_w; ++phase) {
      const Start first = start_of(g, phase);
      Pixels from{strip + (first.h * cols + first.w) * kLanes, s.sh * cols * kLanes, s.sw * kLanes};
      float* to = v + v_at(g, phase * s.ci + c);
      for (Index t = 0; t < run.count; ++t, from.data += W::kOutputs * s.sw * kLanes, to += g.v_tile)
        input_tile<H, W>(from, to, g.v_frequency);
    }
  });
}

// Whole vectors of channels of a phase of one tile, whose pixels begin at (h, w); v is those channels' first part. A
// tile at the border, in a function of its own: so the other's loop keeps its vectors in registers.
template <class H, class W>
[[gnu::noinline]] void border_phase(const Conv& s, const Tiling& g, Index image, Index h, Index w, Index first,
                                    const float* x, float* v, const float* zeros) {
  BorderPixels<H, W> from(s, image, h, w, x, zeros);
  for (const Index whole = s.ci / kLanes * kLanes; from.c < whole; from.c += kLanes)
    input_tile<H, W>(from, v + v_at(g, first + from.c), g.v_frequency);
}
template <class H, class W>
TAPWISE_INLINE void input_phase(const Conv& s, const Tiling& g, Index image, Index h, Index w, Index first,
                                const float* x, float* v, const float* zeros) {
  if (h < 0 || h + (H::kSize - 1) * s.sh >= s.ih || w < 0 || w + (W::kSize - 1) * s.sw >= s.iw)
    return border_phase<H, W>(s, g, image, h, w, first, x, v, zeros);
  Pixels from{x + ((image * s.ih + h) * s.iw + w) * s.ci, s.sh * s.iw * s.ci, s.sw * s.ci};
  for (Index c = 0, whole = s.ci / kLanes * kLanes; c < whole;) {
    float* to = v + v_at(g, first + c);
    for (const Index end = least(whole, c + g.task_channels); c < end; c += kLanes, from.data += kLanes, to += kLanes)
      input_tile<H, W>(from, to, g.v_frequency);
  }
}

// ahead: asks for what the tiles below read.
template <class H, class W>
void input_run(const Conv& s, const Tiling& g, const TileRun& run, bool ahead, const float* x, float* v, float* strip) {
  if (s.layout == Layout::channels_first) return input_planes<H, W>(s, g, run, x, v, strip);
  const Index h = run.row * g.tile_h * s.sh - s.pt, whole = s.ci / kLanes * kLanes;
  clear(strip, whole);
  for (Index t = 0; t < run.count; ++t, v += g.v_tile) {
    const Index w = (run.col * g.tile_w + t * W::kOutputs) * s.sw - s.pl;
    if (ahead)
      prefetch_rows(x + ((run.image * s.ih + h + H::kSize * s.sh) * s.iw + w) * s.ci, H::kOutputs * s.sh, s.iw * s.ci,
                    W::kOutputs * s.sw * s.ci);
    Index first = 0;
    for (Index i = 0; i < g.phases_h; ++i)
      for (Index j = 0; j < g.phases_w; ++j, first += s.ci)
        input_phase<H, W>(s, g, run.image, h + i * g.phase_step, w + j * g.phase_step, first, x, v, strip);
    if (whole == s.ci) continue;  // else there is one phase
    float* const last = strip + whole;
    input_tile<H, W>(gather(s, run.image, h, w, H::kSize, W::kSize, whole, s.ci - whole, x, last), v + v_at(g, whole),
                     g.v_frequency);
  }
}

// v begins with that of tile tiles.first.
template <class H, class W>
void input_tiles(const Conv& s, const Tiling& g, Share tiles, bool ahead, const float* x, float* v, float* strip) {
  for_each_tile_run(g, tiles.first, tiles.last, [&](const TileRun& run, Index t) {
    with_lines_of<H, W>(g, run, [&]<class RunH, class RunW>() {
      input_run<RunH, RunW>(s, g, run, ahead, x, v + (t - tiles.first) * g.v_tile, strip);
    });
  });
}

// Where a tile's outputs go: rows x cols of `channels`.
struct Target {
  float* y;
  const float* residual;  // laid out as y, or null
  Index row, pixel;
  Index rows, cols, channels;
};

template <bool kWhole, class H, class W, int kFirst = 0>
TAPWISE_INLINE void output_tile(const float* m, Index m_frequency, Vec b, const Rectifier& rectified,
                                const Target& to) {
  Vec half[W::kSize][H::kOutputs];
  Ladder<H::kAll, const float> column(m, W::kAll * m_frequency);
  TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j) {
    transform_output<H, kFirst>([&](int i) { return load(column.at(H::point(i))); }, half[j]);
    column.advance((W::point(j + 1) - W::point(j)) * m_frequency);
  }
  TAPWISE_UNROLL for (int i = kFirst; i < H::kOutputs; i += 2) {
    if (!kWhole && i >= to.rows) break;
    Vec d[W::kSize], y[W::kOutputs];
    TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j) d[j] = half[j][i];
    transform_output<W>(d, y);
    TAPWISE_UNROLL for (int j = 0; j < W::kOutputs; ++j) {
      if (!kWhole && j >= to.cols) break;
      const Index at = i * to.row + j * to.pixel, channels = kWhole ? Index{kLanes} : to.channels;
      Vec sum = y[j] + b;
      if (to.residual) sum += kWhole ? load(to.residual + at) : load_part(to.residual + at, channels);
      if (rectified.on) sum = rectified(sum);
      if (kWhole)
        store(to.y + at, sum);
      else
        store_part(to.y + at, sum, channels);
    }
  }
  if constexpr (kFirst == 0 && H::kOutputs > 1) output_tile<kWhole, H, W, 1>(m, m_frequency, b, rectified, to);
}

// One tile and one vector of channels of y: A' m A, and the epilogue.
template <class H, class W>
TAPWISE_INLINE void finish_tile(const Epilogue& e, const float* m, Index m_frequency, Index c, const Target& to) {
  const Vec b = e.b ? load_part(e.b + c, to.channels) : Vec{};
  const Rectifier rectified(e.activation);
  if (to.rows == H::kOutputs && to.cols == W::kOutputs && to.channels == kLanes)
    output_tile<true, H, W>(m, m_frequency, b, rectified, to);
  else
    output_tile<false, H, W>(m, m_frequency, b, rectified, to);
  if (!rectified.rest) return;
  for (Index i = 0; i < to.rows; ++i)
    for (Index j = 0; j < to.cols; ++j) activate(e.activation, e.alpha, to.y + i * to.row + j * to.pixel, to.channels);
}

// The outputs of a run in channels [c, c + channels); m is its first tile's.
template <class H, class W>
void output_run(const Conv& s, const Tiling& g, const Epilogue& e, const TileRun& run, Index c, Index channels,
                const float* m, float* y, float* strip) {
  const Index h = run.row * g.tile_h, w = run.col * g.tile_w;
  const Index rows = least<Index>(H::kOutputs, s.oh - h), cols = least(run.count * W::kOutputs, s.ow - w);
  const bool planes = s.layout == Layout::channels_first;
  const auto tiles = [&](Target to, Index first) {
    for (Index t = 0; t < run.count; ++t) {
      to.cols = least<Index>(W::kOutputs, cols - t * W::kOutputs);
      finish_tile<H, W>(e, m + t * kPanel + first - c, g.m_frequency, first, to);
      to.y += W::kOutputs * to.pixel;
      if (to.residual) to.residual += W::kOutputs * to.pixel;
    }
  };
  for_each_vector(c, c + channels, [&](Index first, Index count) {
    if (!planes) {
      const Index at = ((run.image * s.oh + h) * s.ow + w) * s.co + first;
      return tiles({y + at, e.residual ? e.residual + at : nullptr, s.ow * s.co, s.co, rows, 0, count}, first);
    }
    const Index plane = s.oh * s.ow, at = (run.image * s.co + first) * plane + h * s.ow + w, row = cols * count;
    float* const residual = strip + rows * row;
    for (Index i = 0; i < rows && e.residual; ++i)
      planes_to_pixels(e.residual + at + i * s.ow, plane, count, cols, residual + i * row, count);
    tiles({strip, e.residual ? residual : nullptr, row, count, rows, 0, count}, first);
    for (Index i = 0; i < rows; ++i) pixels_to_planes(strip + i * row, count, cols, y + at + i * s.ow, plane);
  });
}

// Asks for part `part` of `parts` of the pixels that tiles [tiles.first, tiles.last) read.
TAPWISE_INLINE void prefetch_input(const Conv& s, const Tiling& g, Share tiles, Index parts, Index part,
                                   const float* x) {
  for_each_tile_run(g, tiles.first, tiles.last, [&](const TileRun& run, Index) {
    const Index h = run.row * g.tile_h * s.sh - s.pt, w = run.col * g.tile_w * s.sw - s.pl;
    const Index h0 = most<Index>(0, h), h1 = least(s.ih, h + (g.tile_h - 1) * s.sh + s.kh);
    const Index w0 = most<Index>(0, w), w1 = least(s.iw, w + run.count * g.tile_w * s.sw);
    const Share floats = share(w1 - w0 > 0 ? (w1 - w0) * s.ci : 0, parts, part);
    for (Index i = h0; i < h1; ++i) {
      const float* row = x + ((run.image * s.ih + i) * s.iw + w0) * s.ci;
      for (Index k = floats.first; k < floats.last; k += 16) __builtin_prefetch(row + k, 0, 2);
    }
  });
}

TAPWISE_INLINE void prefetch_output(const Conv& s, const Tiling& g, Share tiles, Index c, Index parts, Index part,
                                    float* y) {
  for_each_tile_run(g, tiles.first, tiles.last, [&](const TileRun& run, Index) {
    const Index h = run.row * g.tile_h, w = run.col * g.tile_w;
    const Index h1 = least(s.oh, h + g.tile_h);
    const Share pixels = share(least(s.ow - w, run.count * g.tile_w), parts, part);
    for (Index i = h; i < h1; ++i) {
      float* row = y + ((run.image * s.oh + i) * s.ow + w) * s.co + c;
      for (Index k = pixels.first; k < pixels.last; ++k) {
        __builtin_prefetch(row + k * s.co, 1, 3);
        __builtin_prefetch(row + k * s.co + 16, 1, 3);
      }
    }
  });
}

// What a product sums up: one or two stretches of channels, or none.
struct Terms {
  Segment segments[2];
  Index count;
};

// The products of a row of points, number h, of `tiles`, whose v and m begin with those of tile tiles.first; u is the
// row's first. Neighbours alike are one call; at_infinity: those of its last point, where its phases are short.
TAPWISE_INLINE void multiply_row(const Tiling& g, const Parts& parts, Share tiles, Index h, const Terms& terms,
                                 const Terms& at_infinity, Index width, const float* v, const float* u, float* m,
                                 bool continues) {
  const Index apart = g.short_w ? g.points_w - 1 : g.points_w;
  for (Index w = 0, next; w < g.points_w; w = next) {
    const Share part = parts.with_point(g, tiles, h, w);
    const auto is_alike = [&](Index other) {
      const Share its = parts.with_point(g, tiles, h, other);
      return its.first == part.first && its.last == part.last;
    };
    for (next = w + 1; next < (w < apart ? apart : g.points_w) && is_alike(next);) ++next;
    const Terms& sum = w < apart ? terms : at_infinity;
    if (part.first >= part.last || sum.count == 0) continue;
    const Index f = h * g.points_w + w, from = part.first - tiles.first;
    gemm_points({next - w, g.v_frequency, g.u_frequency, g.m_frequency},
                {v + f * g.v_frequency + from * g.v_tile, g.v_tile, sum.segments, sum.count, part.last - part.first},
                u + w * g.u_frequency, width, continues, m + f * g.m_frequency + from * kPanel);
  }
}

// m = v u for panel p of `tiles`; between(row, rows) is called after each row of points.
template <class Between>
TAPWISE_INLINE void multiply(const Conv& s, const Tiling& g, Index p, Share tiles, const float* v, const float* packed,
                             float* m, const Between& between) {
  const Index width = s.co - p * kPanel > kLanes ? kPanel : kLanes;  // whole vectors, of zeros past co
  const Index rows = g.frequencies / g.points_w, odd = s.sw * s.ci;
  const Parts parts(g);
  packed += p * g.frequencies * g.u_frequency;
  for (Index h = 0; h < rows; ++h, packed += g.points_w * g.u_frequency) {
    // Where a short phase's points are those of infinity, its products are 0.
    const Index channels = g.short_h && h + 1 == rows ? odd : g.channels;
    const Terms all{{{0, 0, channels}, {}}, 1}, even{{{0, 0, s.ci}, {odd, odd, s.ci}}, channels / odd};
    multiply_row(g, parts, tiles, h, all, even, width, v, packed, m, false);
    between(h, rows);
  }
}

// Asks for part `part` of `parts` of `channels` gathered taps.
TAPWISE_INLINE void prefetch_taps(const Tiling& g, const float* taps, Index channels, Index parts, Index part) {
  const Share floats = share(channels * g.taps_h * g.taps_w * kPanel, parts, part);
  for (Index k = floats.first; k < floats.last; k += 16) __builtin_prefetch(taps + k, 0, 2);
}

// The same for a part of the channels from c on, from taps, two rows of u at a time; added to the parts before.
template <class H, class W, int kTwo = 0, class Between>
TAPWISE_INLINE void multiply_taps(const Conv& s, const Tiling& g, const Taps& taps, Index c, Index channels,
                                  Index outputs, Share tiles, const float* v, float* m, float* u,
                                  const Between& between) {
  constexpr const int (&rows)[2] = kInputRows<H, kTwo>;
  constexpr int kRows = H::kSize > 1 ? 2 : 1;
  const Parts parts(g);
  transform_weights<H, W, kTwo>(taps, channels, outputs, u, u + W::kSize * g.u_frequency, g.u_frequency);
  for (int k = 0; k < kRows; ++k) {
    const bool is_zero = g.short_h && rows[k] + 1 == H::kSize && c >= s.sw * s.ci;
    const Terms part{{{0, 0, channels}, {}}, is_zero ? 0 : 1};
    const Terms at_infinity{{part.segments[0], {}}, c / s.ci % s.sw > 0 ? 0 : part.count};
    multiply_row(g, parts, tiles, rows[k], part, at_infinity, outputs > kLanes ? kPanel : kLanes, v,
                 u + k * W::kSize * g.u_frequency, m, c > 0);
    between(kTwo * 2 + k);
  }
  if constexpr (kTwo + 1 < kInputTwos<H>)
    multiply_taps<H, W, kTwo + 1>(s, g, taps, c, channels, outputs, tiles, v, m, u, between);
}

// m = v u for panel p from packed taps, a part of the channels after the other.
template <class H, class W, class Between>
void multiply_packed(const Conv& s, const Tiling& g, Index p, Share tiles, const float* v, const float* packed,
                     float* m, float* u, const Between& between) {
  const Index outputs = least<Index>(kPanel, s.co - p * kPanel);
  const Index parts = (g.channels + g.task_channels - 1) / g.task_channels;
  packed += p * (g.packed_floats / g.panels);
  for (Index part = 0; part < parts; ++part, v += g.v_part) {
    const Index c = part * g.task_channels, channels = least(g.task_channels, g.channels - c);
    const float* const own = packed;
    packed += channels * g.taps_h * g.taps_w * kPanel;
    const Index next = part + 1 < parts || p + 1 < g.panels ? channels : 0;
    multiply_taps<H, W>(s, g, gathered_taps(g, own), c, channels, outputs, tiles, v, m, u, [&](Index row) {
      prefetch_taps(g, packed, next, H::kSize, row);
      between(part * H::kSize + row, parts * H::kSize);
    });
  }
}

// The same for panels [p0, p1) from taps in place, gathered for all of them: there they lie far apart, in few cache
// sets, and lines beside each other come sooner than alone. m of a panel follows that of the one before.
template <class H, class W>
void multiply_in_place(const Conv& s, const Tiling& g, Index p0, Index p1, Share tiles, const float* v, const float* w,
                       float* m, float* u) {
  float* const taps = u + 2 * W::kSize * g.u_frequency;
  for (Index c = 0; c < g.channels; c += g.task_channels, v += g.v_part) {
    const Index channels = least(g.task_channels, g.channels - c), panel = channels * g.taps_h * g.taps_w * kPanel;
    gather_taps(g, taps_of(s, g, w, p0, c), channels, least(s.co, p1 * kPanel) - p0 * kPanel, taps);
    for (Index p = p0; p < p1; ++p)
      multiply_taps<H, W>(s, g, gathered_taps(g, taps + (p - p0) * panel), c, channels,
                          least<Index>(kPanel, s.co - p * kPanel), tiles, v,
                          m + (p - p0) * g.frequencies * g.m_frequency, u, [](Index) {});
  }
}

// Panels [p0, p1) of y for `tiles`, whose v begins with that of the first.
template <class H, class W>
void output_panels(const Conv& s, const Tiling& g, const Epilogue& e, Index p0, Index p1, Share tiles, const float* v,
                   const float* weights, float* y, float* scratch, Share next, const float* x) {
  const Index m_floats = g.frequencies * g.m_frequency;
  float* const strip = scratch + (g.taps_in_place ? g.task_panels : 1) * m_floats;
  if (g.taps_in_place) multiply_in_place<H, W>(s, g, p0, p1, tiles, v, weights, scratch, strip);
  for (Index p = p0; p < p1; ++p) {
    float* const m = g.taps_in_place ? scratch + (p - p0) * m_floats : scratch;
    const auto between = [&](Index step, Index steps) {
      prefetch_input(s, g, next, g.panels * steps, p * steps + step, x);
      prefetch_output(s, g, tiles, p * kPanel, steps, step, y);
    };
    if (!g.taps)
      multiply(s, g, p, tiles, v, weights, m, between);
    else if (!g.taps_in_place)
      multiply_packed<H, W>(s, g, p, tiles, v, weights, m, strip, between);
    for_each_tile_run(g, tiles.first, tiles.last, [&](const TileRun& run, Index t) {
      const Index c = p * kPanel, channels = least<Index>(kPanel, s.co - c);
      with_lines_of<H, W>(g, run, [&]<class RunH, class RunW>() {
        output_run<RunH, RunW>(s, g, e, run, c, channels, m + (t - tiles.first) * kPanel, y, strip);
      });
    });
  }
}

}  // namespace

void conv_winograd_forward(const Conv& s, const Tiling& g, const Epilogue& e, const float* x, const float* packed,
                           float* y, float* scratch, Index begin, Index end) {
  with_phased_lines(s, g, [&]<class H, class W>() {
    float *v = scratch, *rest = scratch + g.frequencies * g.v_frequency;
    for (Index block = begin; block < end; ++block) {
      const Share tiles = share(g.tiles, g.blocks, block);
      input_tiles<H, W>(s, g, tiles, false, x, v, rest);
      // Of many, the thread most likely goes on with the next one, in another task.
      output_panels<H, W>(
          s, g, e, 0, g.panels, tiles, v, packed, y, rest,
          block + 1 < (g.task_blocks > 1 ? g.blocks : end) ? share(g.tiles, g.blocks, block + 1) : Share{0, 0}, x);
    }
  });
}

void conv_winograd_input(const Conv& s, const Tiling& g, Index round, const float* x, float* v, float* scratch,
                         Index begin, Index end) {
  with_phased_lines(s, g, [&]<class H, class W>() {
    const Index first = share(g.tiles, g.rounds, round).first;
    input_tiles<H, W>(s, g, {first + begin, first + end}, is_far(s.n * s.ih * s.iw * s.ci), x, v + begin * g.v_tile,
                      scratch);
  });
}

void conv_winograd_output(const Conv& s, const Tiling& g, const Epilogue& e, Index round, const float* v,
                          const float* packed, float* y, float* scratch, Index begin, Index end) {
  with_phased_lines(s, g, [&]<class H, class W>() {
    const Share all = share(g.tiles, g.rounds, round);
    for (Index task = begin; task < end; ++task) {
      const Share tiles = share(all.last - all.first, g.blocks, task % g.blocks);
      const Index p = task / g.blocks * g.task_panels;
      output_panels<H, W>(s, g, e, p, least(g.panels, p + g.task_panels),
                          {all.first + tiles.first, all.first + tiles.last}, v + tiles.first * g.v_tile, packed, y,
                          scratch, Share{0, 0}, nullptr);
    }
  });
}

}  // namespace tapwise::ISA
