// winograd_grad_weight.cpp — the weight gradient by F(r, m): a correlation of r outputs, whose "filter" is a tile of
// dy.
//
//   x  (n, ih, iw, ci)  -> v (frequencies, tiles, ci)     winograd.cpp's transform: B' x B
//   dy (n, oh, ow, co)  -> g (frequencies, tiles, co)     G dy G'
//   v, g                -> m (frequencies, ci, co)        a product over all tiles a frequency; most of the time
//   m                   -> dw (kh, kw, ci, co)            A' m A, once
//
// Multiplies a pair of channels of a 3x3 and a 4x4 tile of dy: direct 144, F(3, 4) 36; 5x5 and 2x2: 100 and 36. The
// sums over tiles run in one order, whatever the number of threads. Restricted as winograd.cpp is, to strides of 1. A
// long kernel's phases are channels of v and of m.
//
// Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2016; its points as in winograd.h.
#include "layout.h"
#include "outer.h"
#include "winograd.h"

namespace tapwise::ISA {
namespace {

constexpr Index kPassTiles = 256;  // of one pass over the sums: g's panel of them stays in a first-level cache

// F(taps, tile) of a line F(tile, taps): its outputs are weights, a tile of dy its filter.
template <class L>
using Exchanged = Line<L::kFilter, L::kOutputs>;

template <class Call>
TAPWISE_INLINE void with_gradient_lines(const Conv& s, const Tiling& g, const Call& call) {
  with_lines(s, g, [&]<class H, class W>() { call.template operator()<Exchanged<H>, Exchanged<W>>(); });
}

// Two rows of G d, in the order of kInputRows; d(i) is pixel i of a tile of dy. transform_taps, which divides by the
// scale last, gives 6x6 tiles a larger error: 1x3, 64 pixels 4.3 times a left-to-right sum's.
template <class L, int kTwo, class Taps>
TAPWISE_INLINE void transform_gradient(const Taps& d, Vec& first, Vec& second) {
  if constexpr (L::kSize == 1) {
    first = second = d(0);
  } else {
    constexpr L c = kLine<L>;
    if constexpr (kTwo == 0) {
      first = d(0) * splat(static_cast<float>(1 / c.zero));
      second = d(L::kFilter - 1);
    } else {
      constexpr int k = kTwo - 1;
      Vec even = d(0) * splat(static_cast<float>(1 / c.scale[k]));
      Vec odd = d(1) * splat(static_cast<float>(c.power[k][1] / c.scale[k]));
      TAPWISE_UNROLL for (int i = 2; i < L::kFilter; ++i) {
        Vec& sum = i % 2 ? odd : even;
        sum = fma(d(i), splat(static_cast<float>(c.power[k][i] / c.scale[k])), sum);
      }
      first = even + odd;
      second = even - odd;
    }
  }
}

// All rows of G d.
template <class L, int kTwo = 0>
TAPWISE_INLINE void transform_gradient(const Vec (&d)[L::kFilter], Vec (&u)[L::kSize]) {
  constexpr const int (&rows)[2] = kInputRows<L, kTwo>;
  transform_gradient<L, kTwo>([&](int i) { return d[i]; }, u[rows[0]], u[rows[1]]);
  if constexpr (kTwo + 1 < kInputTwos<L>) transform_gradient<L, kTwo + 1>(d, u);
}

// g of one tile and one vector of channels: G dy G', two rows at a time.
template <class H, class W, int kTwo = 0>
TAPWISE_INLINE void gradient_tile(const float* dy, Index row, Index pixel, float* g, Index g_frequency) {
  constexpr const int (&rows)[2] = kInputRows<H, kTwo>;
  Vec half[2][W::kFilter], whole[W::kSize];
  TAPWISE_UNROLL for (int j = 0; j < W::kFilter; ++j)
      transform_gradient<H, kTwo>([&](int i) { return load(dy + i * row + j * pixel); }, half[0][j], half[1][j]);
  TAPWISE_UNROLL for (int i = 0; i < (H::kSize > 1 ? 2 : 1); ++i) {
    transform_gradient<W>(half[i], whole);
    float* to = g + rows[i] * W::kSize * g_frequency;
    TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j, to += g_frequency) store(to, whole[j]);
  }
  if constexpr (kTwo + 1 < kInputTwos<H>) gradient_tile<H, W, kTwo + 1>(dy, row, pixel, g, g_frequency);
}

// Copies rows x cols pixels of channels [c, c + channels) of dy from (h, w) on, kLanes apart; past its end it is 0.
TAPWISE_INLINE void gather_gradient(const Conv& s, Index image, Index h, Index w, Index rows, Index cols, Index c,
                                    Index channels, const float* dy, float* strip) {
  const Index within = least(cols, s.ow - w);
  for (Index i = 0; i < rows; ++i, strip += cols * kLanes) {
    if (h + i >= s.oh) {
      clear(strip, cols * kLanes);
      continue;
    }
    if (s.layout == Layout::channels_first)
      planes_to_pixels(dy + ((image * s.co + c) * s.oh + h + i) * s.ow + w, s.oh * s.ow, channels, within, strip,
                       kLanes);
    else
      copy_pixels(dy + ((image * s.oh + h + i) * s.ow + w) * s.co + c, s.co, channels, within, strip, kLanes);
    clear(strip + within * kLanes, (cols - within) * kLanes);
  }
}

// Transforms a run of tiles of dy for output channels [c0, c1); g is the first one's.
template <class H, class W>
void gradient_run(const Conv& s, const GradTiling& g, const TileRun& run, Index c0, Index c1, const float* dy,
                  float* to, float* strip) {
  const Index h = run.row * H::kFilter, w = run.col * W::kFilter;
  if (s.layout == Layout::channels_first) {
    const Index cols = run.count * W::kFilter;
    for_each_vector(c0, c1, [&](Index c, Index channels) {
      gather_gradient(s, run.image, h, w, H::kFilter, cols, c, channels, dy, strip);
      for (Index t = 0; t < run.count; ++t)
        gradient_tile<H, W>(strip + t * W::kFilter * kLanes, cols * kLanes, kLanes, to + t * g.g_tile + c - c0,
                            g.g_frequency);
    });
    return;
  }
  const bool ahead = is_far(s.n * s.oh * s.ow * s.co);
  for (Index t = 0; t < run.count; ++t, to += g.g_tile) {
    const Index w_t = w + t * W::kFilter;
    const bool inside = h + H::kFilter <= s.oh && w_t + W::kFilter <= s.ow;
    const float* const from = dy + ((run.image * s.oh + h) * s.ow + w_t) * s.co;
    if (ahead)
      for (Index j = 0; j < W::kFilter; ++j)
        prefetch_rows(from + (H::kFilter * s.ow + j) * s.co + c0, H::kFilter, s.ow * s.co, c1 - c0);
    for_each_vector(c0, c1, [&](Index c, Index channels) {
      if (inside && channels == kLanes) {
        gradient_tile<H, W>(from + c, s.ow * s.co, s.co, to + c - c0, g.g_frequency);
      } else {
        gather_gradient(s, run.image, h, w_t, H::kFilter, W::kFilter, c, channels, dy, strip);
        gradient_tile<H, W>(strip, W::kFilter * kLanes, kLanes, to + c - c0, g.g_frequency);
      }
    });
  }
}

// A vector of dw's output channels: `count` of them.
TAPWISE_INLINE void store_weights(const Conv& s, float* dw, Vec value, Index count) {
  if (s.w_co == 1) return store_part(dw, value, count);
  float lanes[kLanes];
  store(lanes, value);
  for (Index o = 0; o < count; ++o) dw[o * s.w_co] = lanes[o];
}

// In the chunks' order.
TAPWISE_INLINE Vec sum_of(const float* m, Index chunks, Index chunk) {
  Vec sum = load(m);
  for (Index i = 1; i < chunks; ++i) sum += load(m + i * chunk);
  return sum;
}

// dw of channels [c0, c1) of v and the panel of output channels from o on: A' m A, of m's sum over chunks.
template <class H, class W>
void weights_of(const Conv& s, const Tiling& g, const float* m, Index chunks, Index chunk, Index c0, Index c1, Index o,
                float* dw) {
  const Index frequency = (c1 - c0) * kPanel, outputs = least<Index>(kPanel, s.co - o);
  for (Index c = c0; c < c1; ++c) {
    const Index phase = c / s.ci;
    const Start first = start_of(g, phase);
    for_each_vector(0, outputs, [&](Index v, Index count) {
      const float* const at = m + (c - c0) * kPanel + v;
      Vec half[W::kSize][H::kOutputs];
      TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j) {
        Vec column[H::kSize];
        TAPWISE_UNROLL for (int i = 0; i < H::kSize; ++i) column[i] =
            sum_of(at + (i * W::kSize + j) * frequency, chunks, chunk);
        transform_output<H>(column, half[j]);
      }
      TAPWISE_UNROLL for (int i = 0; i < H::kOutputs; ++i) {
        Vec row[W::kSize], taps[W::kOutputs];
        TAPWISE_UNROLL for (int j = 0; j < W::kSize; ++j) row[j] = half[j][i];
        transform_output<W>(row, taps);
        float* const to = dw + (first.h + i) * s.w_h + first.w * s.w_w + (c - phase * s.ci) * s.w_ci + (o + v) * s.w_co;
        TAPWISE_UNROLL for (int j = 0; j < W::kOutputs; ++j) if (first.h + i < s.kh && first.w + j < s.kw)
            store_weights(s, to + j * s.w_w, taps[j], count);
      }
    });
  }
}

}  // namespace

void conv_winograd_gradient(const Conv& s, const GradTiling& g, Index panel, Index round, const float* dy, float* to,
                            float* scratch, Index begin, Index end) {
  const Index first = share(g.x.tiles, g.x.rounds, round).first, c0 = panel * kPanel, c1 = least(s.co, c0 + kPanel);
  with_gradient_lines(s, g.x, [&]<class H, class W>() {
    for_each_tile_run(g.x, first + begin, first + end, [&](const TileRun& run, Index t) {
      gradient_run<H, W>(s, g, run, c0, c1, dy, to + (t - first) * g.g_tile, scratch);
    });
  });
}

void conv_winograd_grad_weight(const Conv& s, const GradTiling& g, Index panel, const float* sums, float* dw,
                               Index begin, Index end) {
  with_gradient_lines(s, g.x, [&]<class H, class W>() {
    for (Index block = begin; block < end; ++block) {
      const Share rows = share(g.x.channels, g.blocks, block);
      weights_of<H, W>(s, g.x, g.at_once ? sums : sums + block * g.sums_block, g.chunks, g.sums_floats, rows.first,
                       rows.last, panel * kPanel, dw);
    }
  });
}

void conv_winograd_grad_sums(const Conv& s, const GradTiling& g, Index panel, Index round, bool add, const float* v,
                             const float* gradient, float* sums, float* dw, Index begin, Index end) {
  const Share all = share(g.x.tiles, g.x.rounds, round);
  const Index tiles = all.last - all.first, passes = most<Index>(1, (tiles + kPassTiles - 1) / kPassTiles);
  const Index channels = (least<Index>(kPanel, s.co - panel * kPanel) + kLanes - 1) / kLanes * kLanes;
  const EvenPixels steps{g.x.v_tile, g.g_tile};
  Ahead none{};
  for (Index block = begin; block < end; ++block) {
    const Share rows = share(g.x.channels, g.blocks, block);
    const Index count = rows.last - rows.first;
    float* const m = g.at_once ? sums : sums + block * g.sums_block;
    for (Index f = 0; f < g.x.frequencies; ++f)
      for (Index pass = 0; pass < passes; ++pass) {
        const Share part = share(tiles, passes, pass);
        outer_product(steps, part.last - part.first, v + f * g.x.v_frequency + part.first * g.x.v_tile + rows.first,
                      count, gradient + f * g.g_frequency + part.first * g.g_tile, channels, none,
                      {m + f * count * kPanel, kPanel, add || pass > 0});
      }
    if (g.at_once) conv_winograd_grad_weight(s, g, panel, m, dw, block, block + 1);
  }
}

}  // namespace tapwise::ISA
