// words.h — convolution of bfloat16 and int8: dot products of 32-bit words, which hold the next 2 or 4 input channels.
//
//   x (n, ih, iw, ci)  -> words (rows, cols, groups, words)      a task's copy, with padding; or read in place
//   words (pixels, words) . panel (taps, words, kPanel)  -> y (pixels, kPanel)     a tile in registers
//
// A pixel's sum runs over the taps in order and their words in order, whatever the tile and the ISA: same bits.
// The copy costs one pass over the block for all panels of a task; it also transposes planes, rounds the channels of a
// group up to whole words and keeps pixels off a stride of 4 KiB.
#pragma once

#include "vec.h"

namespace tapwise::ISA {
namespace {

typedef std::uint32_t UnalignedWord __attribute__((aligned(1), may_alias));
typedef std::uint32_t UnalignedUintVec
    __attribute__((vector_size(kLanes * sizeof(std::uint32_t)), aligned(4), may_alias));

struct WordSegment {
  Index a;  // bytes from the first tap of the run's first pixel
  Index b;  // row of the panel
  Index words;
};

// Output pixels of one row that share their taps.
struct WordRun {
  const unsigned char* a;
  Index a_pixel;  // bytes
  const WordSegment* segments;
  Index segment_count;
  const std::uint32_t* panel;
};

// Three rows a pointer, opaque to the compiler: it would otherwise keep one address a row and spill.
template <class Kind, int M, int V>
TAPWISE_INLINE void multiply_words(typename Kind::Sum (&sum)[M][V], const unsigned char* const (&base)[(M + 2) / 3],
                                   Index stride, int k, const std::uint32_t* panel) {
  typename Kind::Operand w[V];
  TAPWISE_UNROLL for (int v = 0; v < V; ++v) w[v] =
      Kind::weights(*reinterpret_cast<const UnalignedUintVec*>(panel + k * kPanel + v * kLanes));
  TAPWISE_UNROLL for (int i = 0; i < M; ++i) {
    const auto x = Kind::broadcast(*reinterpret_cast<const UnalignedWord*>(base[i / 3] + (i % 3) * stride + 4 * k));
    TAPWISE_UNROLL for (int v = 0; v < V; ++v) sum[i][v] = Kind::dot(sum[i][v], x, w[v]);
  }
}

template <class Kind, int M, int V>
void word_tile(const WordRun& run, Index first, const typename Kind::Store& to) {
  typename Kind::Sum sum[M][V] = {};
  for (Index s = 0; s < run.segment_count; ++s) {
    const WordSegment& segment = run.segments[s];
    const unsigned char* base[(M + 2) / 3];
    TAPWISE_UNROLL for (int j = 0; j < (M + 2) / 3; ++j) {
      base[j] = run.a + (first + 3 * j) * run.a_pixel + segment.a;
      asm("" : "+r"(base[j]));
    }
    const std::uint32_t* b = run.panel + segment.b * kPanel;
    Index k = segment.words;
    for (; k >= 2; k -= 2, b += 2 * kPanel) {
      multiply_words<Kind, M, V>(sum, base, run.a_pixel, 0, b);
      multiply_words<Kind, M, V>(sum, base, run.a_pixel, 1, b);
      TAPWISE_UNROLL for (const unsigned char*& p : base) {
        p += 8;
        asm("" : "+r"(p));
      }
    }
    if (k) multiply_words<Kind, M, V>(sum, base, run.a_pixel, 0, b);
  }
  TAPWISE_UNROLL for (int v = 0; v < V; ++v) {
    const auto constants = to.constants(v);
    const Index count = least<Index>(kLanes, to.channels - v * kLanes);
    TAPWISE_UNROLL for (int i = 0; i < M; ++i)
        to.put(sum[i][v], constants, (first + i) * to.y_pixel + v * kLanes, count);
  }
}

template <class Kind, int V, int M = Kind::kPixels>
TAPWISE_INLINE void word_tile_of(Index m, const WordRun& run, Index first, const typename Kind::Store& to) {
  if (m == M) return word_tile<Kind, M, V>(run, first, to);
  if constexpr (M > 1) word_tile_of<Kind, V, M - 1>(m, run, first, to);
}

// `pixels` outputs in near-equal tiles.
template <class Kind>
TAPWISE_INLINE void word_run(const WordRun& run, Index pixels, const typename Kind::Store& to) {
  Index tiles = (pixels + Kind::kPixels - 1) / Kind::kPixels;
  for (Index p = 0; p < pixels; --tiles) {
    const Index m = (pixels - p + tiles - 1) / tiles;
    if (to.channels > kLanes)
      word_tile_of<Kind, 2>(m, run, p, to);
    else
      word_tile_of<Kind, 1>(m, run, p, to);
    p += m;
  }
}

struct WordBlock {
  Index image, d, h0, h1, w0, w1, panel0, panel1, group0, groups;
};

TAPWISE_INLINE WordBlock word_block(const Conv& s, const LowSplit& split, Index index) {
  const Index units = s.n * s.od * split.row_blocks * split.col_blocks, group_panels = split.panels / s.groups;
  WordBlock b;
  b.panel0 = index / units * split.task_panels;
  b.panel1 = least(split.panels, b.panel0 + split.task_panels);
  b.group0 = b.panel0 / group_panels;
  b.groups = (b.panel1 - 1) / group_panels - b.group0 + 1;
  Index unit = index % units;
  b.w0 = unit % split.col_blocks * split.cols;
  b.w1 = least(s.ow, b.w0 + split.cols);
  unit /= split.col_blocks;
  b.h0 = unit % split.row_blocks * split.rows;
  b.h1 = least(s.oh, b.h0 + split.rows);
  unit /= split.row_blocks;
  b.d = unit % s.od;
  b.image = unit / s.od;
  return b;
}

// The input of a block from its first tap on: [depth tap][row][column][group].
struct Words {
  const unsigned char* data;
  Index depth, row, pixel, group;  // bytes from one to the next
};

template <class Kind>
TAPWISE_INLINE void copy_columns(const Kind& kind, const Conv& s, const WordBlock& b, const LowSplit& split,
                                 Index depth, Index h, Index first, Index count, Index pixel, unsigned char* to) {
  using Element = typename Kind::Element;
  const Index cg = s.ci / s.groups, size = sizeof(Element), group = split.words * 4;
  const bool last = s.layout == Layout::channels_last;
  const Index channel = last ? 1 : s.id * s.ih * s.iw, column = last ? s.ci : 1;
  const Element* from = kind.x + (b.image * s.ci * s.id * s.ih * s.iw) + b.group0 * cg * channel +
                        ((depth * s.ih + h) * s.iw + first) * column;
  if (last && b.groups == s.groups && group == cg * size && pixel == s.ci * size)
    return kind.copy(from, count * s.ci, to);
  for (Index w = 0; w < count; ++w)
    for (Index g = 0; g < b.groups; ++g) {
      unsigned char* const words = to + w * pixel + g * group;
      *reinterpret_cast<UnalignedWord*>(words + group - 4) = 0;  // what a group lacks of whole words
      if (last) kind.copy(from + w * column + g * cg, cg, words);
    }
  if (last) return;
  for (Index c = 0; c < b.groups * cg; ++c)
    for (Index w = 0; w < count; ++w)
      kind.copy(from + c * channel + w, 1, to + w * pixel + c / cg * group + c % cg * size);
}

template <class Kind>
TAPWISE_INLINE Words copy_words(const Kind& kind, const Conv& s, const LowSplit& split, const WordBlock& b,
                                unsigned char* copy) {
  const Index d0 = b.d * s.sd - s.pf, h0 = b.h0 * s.sh - s.pt, w0 = b.w0 * s.sw - s.pl;
  const Index rows = (b.h1 - b.h0 - 1) * s.sh + (s.kh - 1) * s.dil_h + 1;
  const Index columns = (b.w1 - b.w0 - 1) * s.sw + (s.kw - 1) * s.dil_w + 1;
  const Index first = least(most<Index>(0, -w0), columns);
  const Index last = most(first, least(columns, s.iw - w0));
  Index pixel = b.groups * split.words * 4;
  if (pixel % 4096 == 0) pixel += 64;
  const Words words = {copy, rows * columns * pixel, columns * pixel, pixel, split.words * 4};
  for (Index t = 0; t < s.kd; ++t)
    for (Index r = 0; r < rows; ++r) {
      const Index depth = d0 + t * s.dil_d, h = h0 + r;
      unsigned char* const row = copy + t * words.depth + r * words.row;
      const bool outside = depth < 0 || depth >= s.id || h < 0 || h >= s.ih;
      if (outside && Kind::kSkipsRows) continue;
      const Index from = outside ? columns : first, to = outside ? columns : last;
      kind.pad(row, from * pixel);
      if (to > from) copy_columns(kind, s, b, split, depth, h, w0 + from, to - from, pixel, row + from * pixel);
      kind.pad(row + to * pixel, (columns - to) * pixel);
    }
  return words;
}

template <class Kind>
TAPWISE_INLINE Words words_in_place(const Kind& kind, const Conv& s, const WordBlock& b) {
  const Index size = sizeof(typename Kind::Element), pixel = s.ci * size, plane = s.ih * s.iw * pixel;
  const Index at = b.image * s.id * plane + b.d * s.sd * plane + (b.h0 * s.sh * s.iw + b.w0 * s.sw) * pixel;
  return {reinterpret_cast<const unsigned char*>(kind.x) + at + b.group0 * (s.ci / s.groups) * size, s.dil_d * plane,
          s.iw * pixel, pixel, s.ci / s.groups * size};
}

// The taps of output row h for the columns from w on, neighbours merged; with one_pixel those of column w that touch x.
template <class Kind>
TAPWISE_INLINE Index word_segments(const Conv& s, const LowSplit& split, const WordBlock& b, const Words& from, Index h,
                                   Index w, bool one_pixel, WordSegment* segments) {
  Index count = 0;
  for (Index t = 0; t < s.kd; ++t) {
    const Index depth = b.d * s.sd - s.pf + t * s.dil_d;
    if (Kind::kSkipsRows && (depth < 0 || depth >= s.id)) continue;
    for (Index r = 0; r < s.kh; ++r) {
      const Index row = h * s.sh - s.pt + r * s.dil_h;
      if (Kind::kSkipsRows && (row < 0 || row >= s.ih)) continue;
      for (Index c = 0; c < s.kw; ++c) {
        const Index column = w * s.sw - s.pl + c * s.dil_w;
        if (one_pixel && (column < 0 || column >= s.iw)) continue;
        const WordSegment next = {
            t * from.depth + ((h - b.h0) * s.sh + r * s.dil_h) * from.row + c * s.dil_w * from.pixel,
            ((t * s.kh + r) * s.kw + c) * split.words, split.words};
        WordSegment* const before = segments + count - 1;
        if (count > 0 && before->a + 4 * before->words == next.a && before->b + before->words == next.b)
          before->words += next.words;
        else
          segments[count++] = next;
      }
    }
  }
  return count;
}

// each_pixel: a pixel's taps outside x are left out, as weights that aren't finite need it; else they meet zeros.
template <class Kind>
TAPWISE_INLINE void convolve_words(const Kind& kind, const Conv& s, const LowSplit& split, const std::uint32_t* packed,
                                   bool each_pixel, std::uint32_t* scratch, Index begin, Index end) {
  using Output = typename Kind::Output;
  const Index taps = s.kd * s.kh * s.kw, group_panels = split.panels / s.groups, co = s.co / s.groups;
  const bool planes = s.layout == Layout::channels_first;
  const Index plane = s.od * s.oh * s.ow;
  WordSegment* const segments = reinterpret_cast<WordSegment*>(scratch);
  Output* const row = reinterpret_cast<Output*>(segments + taps);  // of one panel, for planes
  unsigned char* const copy = reinterpret_cast<unsigned char*>(scratch + split.scratch_words - split.copy_words);
  for (Index index = begin; index < end; ++index) {
    const WordBlock b = word_block(s, split, index);
    const Words from = split.in_place ? words_in_place(kind, s, b) : copy_words(kind, s, split, b, copy);
    for (Index p = b.panel0; p < b.panel1; ++p) {
      const Index group = p / group_panels, o = p % group_panels * kPanel, channel = group * co + o;
      const unsigned char* const data = from.data + (group - b.group0) * from.group;
      const std::uint32_t* const panel = packed + p * taps * split.words * kPanel;
      for (Index h = b.h0; h < b.h1; ++h) {
        const Index at = b.image * plane * s.co + ((b.d * s.oh + h) * s.ow + b.w0) * (planes ? 1 : s.co);
        Output* const y = planes ? row : kind.y() + at + channel;
        const Index channels = least<Index>(kPanel, co - o), y_pixel = planes ? kPanel : s.co;
        const Index step = each_pixel ? 1 : b.w1 - b.w0;
        for (Index w = b.w0; w < b.w1; w += step) {
          const Index count = word_segments<Kind>(s, split, b, from, h, w, each_pixel, segments);
          const WordRun run = {data + (w - b.w0) * s.sw * from.pixel, s.sw * from.pixel, segments, count, panel};
          word_run<Kind>(run, step, kind.store(y + (w - b.w0) * y_pixel, y_pixel, channels, p * kPanel));
        }
        if (planes)
          for (Index c = 0; c < channels; ++c)
            for (Index w = 0; w < b.w1 - b.w0; ++w) kind.y()[at + (channel + c) * plane + w] = row[w * kPanel + c];
      }
    }
  }
}

}  // namespace
}  // namespace tapwise::ISA
