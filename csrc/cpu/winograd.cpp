// winograd.cpp — F(m, r) on both axes, or on one: y = A'[(G w G') . (B' x B)]A, tile by tile; winograd.h has the
// matrices.
//
//   w (kh, kw, ci, co)  -> u (frequencies, ci, co)      pack, in float64, rounded once
//   x (n, ih, iw, ci)   -> v (frequencies, tiles, ci)   input_tile
//   v, u                -> m (frequencies, tiles, co)   as many products as frequencies; most of the time is here
//   m                   -> y (n, oh, ow, co)            output_tile, adds b and the residual, applies the activation
//
// Multiplies an output of 3x3: direct 9, F(2x2) 4, F(4x4) 2.25, F(6x6) 1.78; of 5x5: direct 25, F(2x2) 9. Fused, a
// block's v and m stay in L2 and u streams past; few tiles of many channels are transformed first, then shared out by
// panels of output channels. Both give the same bits: a product is summed over ci in one order, whatever the block.
// channels_first is transposed in strips of one vector of channels, never as a whole.
// Stride 1, dilation 1, one group, two spatial dimensions; winograd_plan.cpp guarantees it.
//
// Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
#include "winograd.h"

#include "activation.h"
#include "gemm.h"
#include "layout.h"

namespace tapwise::ISA {
namespace {

struct Share {
  Index first, last;
};

TAPWISE_INLINE Share share(Index total, Index parts, Index part) {
  return {total * part / parts, total * (part + 1) / parts};
}

// Neighbouring tiles of one row of one image.
struct TileRun {
  Index image, row, col, count;
};

// Calls visit(run, number of its first tile) for tiles [first, last).
template <class Visit>
TAPWISE_INLINE void for_each_tile_run(const Tiling& g, Index first, Index last, const Visit& visit) {
  while (first < last) {
    const Index col = first % g.cols, row = first / g.cols % g.rows, image = first / (g.cols * g.rows);
    const Index count = least(g.cols - col, last - first);
    visit(TileRun{image, row, col, count}, first);
    first += count;
  }
}

// Calls call.template operator()<H, W>() for the lines of a tiling.
template <class Call>
TAPWISE_INLINE void with_lines(const Conv& s, const Tiling& g, const Call& call) {
  if (s.kh == 1) {
    if (s.kw == 5) return call.template operator()<Line<1, 1>, Line<2, 5>>();
    if (g.tile_w == 2) return call.template operator()<Line<1, 1>, Line<2, 3>>();
    if (g.tile_w == 4) return call.template operator()<Line<1, 1>, Line<4, 3>>();
    return call.template operator()<Line<1, 1>, Line<6, 3>>();
  }
  if (s.kw == 1) {
    if (s.kh == 5) return call.template operator()<Line<2, 5>, Line<1, 1>>();
    if (g.tile_h == 2) return call.template operator()<Line<2, 3>, Line<1, 1>>();
    if (g.tile_h == 4) return call.template operator()<Line<4, 3>, Line<1, 1>>();
    return call.template operator()<Line<6, 3>, Line<1, 1>>();
  }
  if (s.kh == 5) return call.template operator()<Line<2, 5>, Line<2, 5>>();
  if (g.tile_h == 2) return call.template operator()<Line<2, 3>, Line<2, 3>>();
  if (g.tile_h == 4) return call.template operator()<Line<4, 3>, Line<4, 3>>();
  call.template operator()<Line<6, 3>, Line<6, 3>>();
}

// Pixels of one vector of channels, `row` and `pixel` floats apart.
struct Pixels {
  const float* data;
  Index row, pixel;
  TAPWISE_INLINE const float* at(int i, int j) const { return data + i * row + j * pixel; }
};

// Those of a tile at the border, each with its own address: of zeros, where it lies outside x.
template <class H, class W>
struct BorderPixels {
  const float* data[H::kSize][W::kSize];
  Index c = 0;

  BorderPixels(const Conv& s, Index image, Index h, Index w, const float* x, const float* zeros) {
    for (Index i = 0; i < H::kSize; ++i)
      for (Index j = 0; j < W::kSize; ++j) {
        const bool inside = h + i >= 0 && h + i < s.ih && w + j >= 0 && w + j < s.iw;
        data[i][j] = inside ? x + ((image * s.ih + h + i) * s.iw + w + j) * s.ci : zeros;
      }
  }
  TAPWISE_INLINE const float* at(int i, int j) const { return data[i][j] + c; }
};

// v of one tile and one vector of channels: B' x B, two rows at a time, which stay in registers.
template <class H, class W, int kTwo = 0, class From>
TAPWISE_INLINE void input_tile(const From& x, float* v, Index v_frequency) {
  constexpr const int (&rows)[2] = kInputRows<H, kTwo>;
  Vec half[2][W::kSize], row[W::kSize];
  TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j)
      transform_input<H, kTwo>([&](int i) { return load(x.at(i, j)); }, half[0][j], half[1][j]);
  TAPWISE_UNROLL for (int i = 0; i < (H::kSize > 1 ? 2 : 1); ++i) {
    transform_input<W>(half[i], row);
    float* to = v + rows[i] * W::kSize * v_frequency;
    TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j, to += v_frequency) store(to, row[j]);
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

// Transforms a run of tiles; v is its first tile's.
template <class H, class W>
void input_run(const Conv& s, const Tiling& g, const TileRun& run, const float* x, float* v, float* strip) {
  const Index h = run.row * H::kOutputs - s.pt, w = run.col * W::kOutputs - s.pl;
  if (s.layout == Layout::channels_first) {
    const Index cols = (run.count - 1) * W::kOutputs + W::kSize;
    for_each_vector(0, s.ci, [&](Index c, Index channels) {
      Pixels from = gather(s, run.image, h, w, H::kSize, cols, c, channels, x, strip);
      for (Index t = 0; t < run.count; ++t, from.data += W::kOutputs * kLanes)
        input_tile<H, W>(from, v + t * g.v_tile + c, g.v_frequency);
    });
    return;
  }
  const bool inside_h = h >= 0 && h + H::kSize <= s.ih;
  const Index whole = s.ci / kLanes * kLanes;
  clear(strip, whole);
  for (Index t = 0; t < run.count; ++t, v += g.v_tile) {
    const Index w_t = w + t * W::kOutputs;
    if (inside_h && w_t >= 0 && w_t + W::kSize <= s.iw) {
      Pixels from{x + ((run.image * s.ih + h) * s.iw + w_t) * s.ci, s.iw * s.ci, s.ci};
      for (Index c = 0; c < whole; c += kLanes, from.data += kLanes) input_tile<H, W>(from, v + c, g.v_frequency);
    } else {
      BorderPixels<H, W> from(s, run.image, h, w_t, x, strip);
      for (; from.c < whole; from.c += kLanes) input_tile<H, W>(from, v + from.c, g.v_frequency);
    }
    if (whole == s.ci) continue;
    float* const last = strip + whole;
    input_tile<H, W>(gather(s, run.image, h, w_t, H::kSize, W::kSize, whole, s.ci - whole, x, last), v + whole,
                     g.v_frequency);
  }
}

// Where a tile's outputs go: rows x cols of `channels`.
struct Target {
  float* y;
  const float* residual;  // laid out as y, or null
  Index row, pixel;
  Index rows, cols, channels;
};

template <bool kWhole, class H, class W, int kFirst = 0>
TAPWISE_INLINE void output_tile(const float* m, Index m_frequency, Vec b, bool relu_after, const Target& to) {
  Vec half[W::kSize][H::kOutputs];
  TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j)
      transform_output<H, kFirst>([&](int i) { return load(m + (i * W::kSize + j) * m_frequency); }, half[j]);
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
      if (relu_after) sum = relu(sum);
      if (kWhole)
        store(to.y + at, sum);
      else
        store_part(to.y + at, sum, channels);
    }
  }
  if constexpr (kFirst == 0 && H::kOutputs > 1) output_tile<kWhole, H, W, 1>(m, m_frequency, b, relu_after, to);
}

// One tile and one vector of channels of y: A' m A, and the epilogue.
template <class H, class W>
TAPWISE_INLINE void finish_tile(const Epilogue& e, const float* m, Index m_frequency, Index c, const Target& to) {
  const Vec b = e.b ? load_part(e.b + c, to.channels) : Vec{};
  const bool relu_after = e.activation == Activation::relu;
  if (to.rows == H::kOutputs && to.cols == W::kOutputs && to.channels == kLanes)
    output_tile<true, H, W>(m, m_frequency, b, relu_after, to);
  else
    output_tile<false, H, W>(m, m_frequency, b, relu_after, to);
  if (e.activation <= Activation::relu) return;
  for (Index i = 0; i < to.rows; ++i)
    for (Index j = 0; j < to.cols; ++j) activate(e.activation, e.alpha, to.y + i * to.row + j * to.pixel, to.channels);
}

// The outputs of a run in channels [c, c + channels); m is its first tile's.
template <class H, class W>
void output_run(const Conv& s, const Tiling& g, const Epilogue& e, const TileRun& run, Index c, Index channels,
                const float* m, float* y, float* strip) {
  const Index h = run.row * H::kOutputs, w = run.col * W::kOutputs;
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
template <class H, class W>
TAPWISE_INLINE void prefetch_input(const Conv& s, const Tiling& g, Share tiles, Index parts, Index part,
                                   const float* x) {
  for_each_tile_run(g, tiles.first, tiles.last, [&](const TileRun& run, Index) {
    const Index h = run.row * H::kOutputs - s.pt, w = run.col * W::kOutputs - s.pl;
    const Index h0 = most<Index>(0, h), h1 = least(s.ih, h + H::kSize);
    const Index w0 = most<Index>(0, w), w1 = least(s.iw, w + run.count * W::kOutputs);
    const Share floats = share(w1 - w0 > 0 ? (w1 - w0) * s.ci : 0, parts, part);
    for (Index i = h0; i < h1; ++i) {
      const float* row = x + ((run.image * s.ih + i) * s.iw + w0) * s.ci;
      for (Index k = floats.first; k < floats.last; k += 16) __builtin_prefetch(row + k, 0, 2);
    }
  });
}

template <class H, class W>
TAPWISE_INLINE void prefetch_output(const Conv& s, const Tiling& g, Share tiles, Index c, Index parts, Index part,
                                    float* y) {
  for_each_tile_run(g, tiles.first, tiles.last, [&](const TileRun& run, Index) {
    const Index h = run.row * H::kOutputs, w = run.col * W::kOutputs;
    const Index h1 = least(s.oh, h + H::kOutputs);
    const Share pixels = share(least(s.ow - w, run.count * W::kOutputs), parts, part);
    for (Index i = h; i < h1; ++i) {
      float* row = y + ((run.image * s.oh + i) * s.ow + w) * s.co + c;
      for (Index k = pixels.first; k < pixels.last; ++k) {
        __builtin_prefetch(row + k * s.co, 1, 3);
        __builtin_prefetch(row + k * s.co + 16, 1, 3);
      }
    }
  });
}

// m = v u for panel p of `tiles` tiles, a product a frequency.
template <class Between>
TAPWISE_INLINE void multiply(const Conv& s, const Tiling& g, Index p, Index tiles, const float* v, const float* packed,
                             float* m, const Between& between) {
  const Segment channels = {0, 0, s.ci};
  const Index width = s.co - p * kPanel > kLanes ? kPanel : kLanes;  // whole vectors, of zeros past co
  packed += p * g.frequencies * g.u_frequency;
  for (Index f = 0; f < g.frequencies; ++f, packed += g.u_frequency) {
    gemm_run({v + f * g.v_frequency, g.v_tile, &channels, 1, tiles}, packed,
             {m + f * g.m_frequency, kPanel, width, nullptr, nullptr, Activation::none, 0});
    between(f);
  }
}

// Panels [p0, p1) of y for tiles [first, last), whose v begins with that of tile `first`.
template <class H, class W>
void output_panels(const Conv& s, const Tiling& g, const Epilogue& e, Index p0, Index p1, Index first, Index last,
                   const float* v, const float* packed, float* y, float* scratch, Share next, const float* x) {
  float *m = scratch, *strip = scratch + g.frequencies * g.m_frequency;
  for (Index p = p0; p < p1; ++p) {
    multiply(s, g, p, last - first, v, packed, m, [&](Index f) {
      prefetch_input<H, W>(s, g, next, g.panels * g.frequencies, p * g.frequencies + f, x);
      prefetch_output<H, W>(s, g, {first, last}, p * kPanel, g.frequencies, f, y);
    });
    for_each_tile_run(g, first, last, [&](const TileRun& run, Index t) {
      const Index c = p * kPanel;
      output_run<H, W>(s, g, e, run, c, least<Index>(kPanel, s.co - c), m + (t - first) * kPanel, y, strip);
    });
  }
}

// Past the caches, where the ISA can: lines that are written whole need not be read first. p is aligned to a vector.
TAPWISE_INLINE void store_past(float* p, Vec v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, v);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, v);
#else
  store(p, v);
#endif
}

// Orders what was stored past the caches before what other threads see next.
TAPWISE_INLINE void drain_stores() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// u of one input channel and up to kLanes outputs: G w G'.
template <class H, class W>
TAPWISE_INLINE void pack_channel(const Conv& s, const Tiling& g, const float* w, Index outputs, float* u) {
  double taps[H::kFilter][W::kFilter][kLanes], half[H::kSize][W::kFilter][kLanes], whole[H::kSize][W::kSize][kLanes];
  for (int i = 0; i < H::kFilter; ++i)
    for (int j = 0; j < W::kFilter; ++j) {
      const float* from = w + i * s.w_h + j * s.w_w;
      if (s.w_co == 1 && outputs == kLanes)
        for (int o = 0; o < kLanes; ++o) taps[i][j][o] = static_cast<double>(from[o]);
      else
        for (Index o = 0; o < kLanes; ++o) taps[i][j][o] = o < outputs ? static_cast<double>(from[o * s.w_co]) : 0;
    }
  for (int j = 0; j < W::kFilter; ++j)
    for (int o = 0; o < kLanes; ++o)
      transform_taps<H>(&taps[0][j][o], W::kFilter * kLanes, &half[0][j][o], W::kFilter * kLanes);
  for (int i = 0; i < H::kSize; ++i)
    for (int o = 0; o < kLanes; ++o) transform_taps<W>(&half[i][0][o], kLanes, &whole[i][0][o], kLanes);
  for (int i = 0; i < H::kSize; ++i)
    for (int j = 0; j < W::kSize; ++j, u += g.u_frequency) {
      float rounded[kLanes];
      for (int o = 0; o < kLanes; ++o) rounded[o] = static_cast<float>(whole[i][j][o]);
      if (g.u_past_caches)
        store_past(u, load(rounded));
      else
        store(u, load(rounded));
    }
}

}  // namespace

void conv_winograd_pack(const Conv& s, const Tiling& g, const float* w, float* packed, Index begin, Index end) {
  with_lines(s, g, [&]<class H, class W>() {
    for (Index p = begin; p < end; ++p)
      for (Index c = 0; c < s.ci; ++c)
        for (Index o = 0; o < kPanel; o += kLanes)
          pack_channel<H, W>(s, g, w + c * s.w_ci + (p * kPanel + o) * s.w_co,
                             least<Index>(kLanes, most<Index>(0, s.co - p * kPanel - o)),
                             packed + p * g.frequencies * g.u_frequency + c * kPanel + o);
  });
  if (g.u_past_caches) drain_stores();
}

void conv_winograd_forward(const Conv& s, const Tiling& g, const Epilogue& e, const float* x, const float* packed,
                           float* y, float* scratch, Index begin, Index end) {
  with_lines(s, g, [&]<class H, class W>() {
    float *v = scratch, *rest = scratch + g.frequencies * g.v_frequency;
    for (Index block = begin; block < end; ++block) {
      const Share tiles = share(g.tiles, g.blocks, block);
      for_each_tile_run(g, tiles.first, tiles.last, [&](const TileRun& run, Index t) {
        input_run<H, W>(s, g, run, x, v + (t - tiles.first) * g.v_tile, rest);
      });
      output_panels<H, W>(s, g, e, 0, g.panels, tiles.first, tiles.last, v, packed, y, rest,
                          block + 1 < end ? share(g.tiles, g.blocks, block + 1) : Share{0, 0}, x);
    }
  });
}

void conv_winograd_input(const Conv& s, const Tiling& g, Index round, const float* x, float* v, float* scratch,
                         Index begin, Index end) {
  with_lines(s, g, [&]<class H, class W>() {
    const Share all = share(g.tiles, g.rounds, round);
    for (Index block = begin; block < end; ++block) {
      const Share tiles = share(all.last - all.first, g.input_blocks, block);
      for_each_tile_run(g, all.first + tiles.first, all.first + tiles.last, [&](const TileRun& run, Index t) {
        input_run<H, W>(s, g, run, x, v + (t - all.first) * g.v_tile, scratch);
      });
    }
  });
}

void conv_winograd_output(const Conv& s, const Tiling& g, const Epilogue& e, Index round, const float* v,
                          const float* packed, float* y, float* scratch, Index begin, Index end) {
  with_lines(s, g, [&]<class H, class W>() {
    const Share all = share(g.tiles, g.rounds, round);
    for (Index task = begin; task < end; ++task) {
      const Share tiles = share(all.last - all.first, g.blocks, task % g.blocks);
      const Index p = task / g.blocks * g.task_panels;
      output_panels<H, W>(s, g, e, p, least(g.panels, p + g.task_panels), all.first + tiles.first,
                          all.first + tiles.last, v + tiles.first * g.v_tile, packed, y, scratch, Share{0, 0}, nullptr);
    }
  });
}

}  // namespace tapwise::ISA
