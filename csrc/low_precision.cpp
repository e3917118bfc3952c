#include "low_precision.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <stdexcept>

#include "plan.h"
#include "scratch.h"
#include "subnormals.h"
#include "threads.h"

namespace tapwise {
namespace {

constexpr Index kPanelBytes = 512 * 1024;  // of a task's panels: half of an L2
constexpr Index kCopyWords = 1024 * 1024;  // 4 MiB: a task's copy of its input
constexpr Index kTaskPixels = 224;         // 16 tiles of 14
constexpr Index kTasks = 16;               // enough for 4 threads with 4 tasks each
constexpr Index kTaskProducts = 400'000;   // about 5 us of one core
constexpr Index kPackWords = 16 * 1024;    // of one chunk of packing

Index ceil_divide(Index a, Index b) {
  return (a + b - 1) / b;
}

Index panels_of(const Conv& s, const Table& t) {
  return s.groups * ceil_divide(s.co / s.groups, t.panel);
}
Index words_of(const Conv& s, Index element_bytes) {
  return ceil_divide(s.ci / s.groups * element_bytes, 4);
}
Index taps_of(const Conv& s) {
  return s.kd * s.kh * s.kw;
}

bool is_padded(Index in, Index out, Index k, Index stride, Index dilation, Index pad) {
  return pad > 0 || (out - 1) * stride - pad + (k - 1) * dilation >= in;
}

// A pixel stride of 4 KiB puts a tile's rows into one set of the L1 cache: the copy keeps them apart.
bool reads_in_place(const Conv& s, Index element_bytes, bool flipped) {
  return s.layout == Layout::channels_last && !flipped && s.ci / s.groups * element_bytes % 4 == 0 &&
         s.ci * element_bytes % 4096 != 0 && !is_padded(s.id, s.od, s.kd, s.sd, s.dil_d, s.pf) &&
         !is_padded(s.ih, s.oh, s.kh, s.sh, s.dil_h, s.pt) && !is_padded(s.iw, s.ow, s.kw, s.sw, s.dil_w, s.pl);
}

Index copy_words(const Conv& s, const LowSplit& split) {
  if (split.in_place) return 0;
  const Index groups = std::min(s.groups, (split.task_panels - 1) / (split.panels / s.groups) + 2);
  const Index rows = (split.rows - 1) * s.sh + (s.kh - 1) * s.dil_h + 1;
  const Index columns = (split.cols - 1) * s.sw + (s.kw - 1) * s.dil_w + 1;
  return s.kd * rows * columns * (groups * split.words + 16) + 16;
}

void count_tasks(const Conv& s, LowSplit& split) {
  split.row_blocks = ceil_divide(s.oh, split.rows);
  split.col_blocks = ceil_divide(s.ow, split.cols);
  split.tasks = s.n * s.od * split.row_blocks * split.col_blocks * ceil_divide(split.panels, split.task_panels);
}

// Half of the columns, in whole tiles.
Index half(Index cols, Index tile) {
  return std::min(cols, ceil_divide(ceil_divide(cols, 2), tile) * tile);
}

bool is_finite(std::uint16_t w) {
  return (w & 0x7F80) != 0x7F80;
}
bool is_finite(std::int8_t) {
  return true;
}

template <class Element>
Element packed_as(Element w) {
  return w;
}
// Half to even; NaN stays NaN.
template <class Element>
Element packed_as(float w) {
  const auto bits = std::bit_cast<std::uint32_t>(w);
  return static_cast<Element>((w == w ? bits + 0x7FFF + ((bits >> 16) & 1) : bits | 0x00400000) >> 16);
}

// Panels [begin, end): [tap][word][output channel][channel of the word]. Sums may be null.
template <class Element, class From>
bool pack_panels(const Conv& s, Index panel, const From* w, Element* packed, std::int32_t* sums, Index begin,
                 Index end) {
  constexpr Index in_word = 4 / static_cast<Index>(sizeof(Element));
  const Index cg = s.ci / s.groups, co = s.co / s.groups, group_panels = ceil_divide(co, panel);
  const Index words = ceil_divide(cg, in_word);
  bool finite = true;
  for (Index p = begin; p < end; ++p) {
    const Index o0 = p % group_panels * panel, channels = std::min(panel, co - o0);
    const From* from = w + (p / group_panels * co + o0) * s.w_co;
    Element* to = packed + p * taps_of(s) * words * panel * in_word;
    for (Index i = 0; sums && i < panel; ++i) sums[p * panel + i] = 0;
    for (Index d = 0; d < s.kd; ++d)
      for (Index h = 0; h < s.kh; ++h)
        for (Index k = 0; k < s.kw; ++k)
          for (Index c = 0; c < words * in_word; c += in_word, to += panel * in_word)
            for (Index o = 0; o < panel; ++o)
              for (Index i = 0; i < in_word; ++i) {
                const bool inside = o < channels && c + i < cg;
                const Index at = d * s.w_d + h * s.w_h + k * s.w_w + (c + i) * s.w_ci + o * s.w_co;
                const Element value = inside ? packed_as<Element>(from[at]) : Element{};
                to[o * in_word + i] = value;
                finite &= is_finite(value);
                if (sums) sums[p * panel + o] += static_cast<std::int32_t>(value);
              }
  }
  return finite;
}

template <class Element, class From>
bool pack(const Conv& s, const Table& t, const From* w, Memory& memory) {
  const Index panels = panels_of(s, t), panel_words = taps_of(s) * words_of(s, sizeof(Element)) * t.panel;
  const bool summed = sizeof(Element) == 1;
  memory = Memory(panels * panel_words + (summed ? panels * t.panel : 0));
  Element* const to = reinterpret_cast<Element*>(memory.data());
  std::int32_t* const sums = summed ? reinterpret_cast<std::int32_t*>(memory.data() + panels * panel_words) : nullptr;
  std::atomic<bool> finite{true};
  parallel_for(panels, std::max<Index>(1, kPackWords / panel_words), [&](Index begin, Index end) {
    if (!pack_panels(s, t.panel, w, to, sums, begin, end)) finite.store(false, std::memory_order_relaxed);
  });
  return finite.load(std::memory_order_relaxed);
}

void need_fit(const Conv& s, const PackedWords& w, Index element_bytes, const Table& t) {
  const Conv& o = w.s;
  if (std::strcmp(t.isa, w.isa) != 0 || w.element_bytes != element_bytes || s.kd != o.kd || s.kh != o.kh ||
      s.kw != o.kw || s.ci != o.ci || s.co != o.co || s.groups != o.groups)
    throw std::invalid_argument("w must be packed for this convolution, type and instruction set");
}

// Per-channel values where the panels have their channels, 0 between groups: visit(place, channel).
template <class Visit>
void for_each_channel(const Conv& s, Index panel, const Visit& visit) {
  const Index co = s.co / s.groups, padded = ceil_divide(co, panel) * panel;
  for (Index g = 0; g < s.groups; ++g)
    for (Index o = 0; o < co; ++o) visit(g * padded + o, g * co + o);
}

// body(scratch, begin, end) for all tasks.
template <class Body>
void run(const LowSplit& split, const Body& body) {
  parallel_for(split.tasks, 1, [&](Index begin, Index end) {
    const FlushSubnormals flush;
    body(reinterpret_cast<std::uint32_t*>(scratch(Scratch::task, split.scratch_words)), begin, end);
  });
}

}  // namespace

LowSplit split_words(const Conv& s, Index element_bytes, bool flipped, const Table& t) {
  LowSplit split{};
  split.words = words_of(s, element_bytes);
  split.in_place = reads_in_place(s, element_bytes, flipped);
  split.panels = panels_of(s, t);
  split.cols = std::min(s.ow, kTaskPixels);
  split.rows = std::clamp<Index>(kTaskPixels / split.cols, 1, s.oh);
  const Index panel_words = taps_of(s) * split.words * t.panel;
  split.task_panels = std::clamp<Index>(kPanelBytes / 4 / panel_words, 1, split.panels);
  while (copy_words(s, split) > kCopyWords) {
    if (split.rows > 1)
      split.rows = ceil_divide(split.rows, 2);
    else if (split.cols > t.tile_pixels)
      split.cols = half(split.cols, t.tile_pixels);
    else
      break;
  }
  count_tasks(s, split);
  const Index products = s.n * s.od * s.oh * s.ow * s.co * taps_of(s) * split.words * 4 / element_bytes;
  const Index wanted = std::clamp<Index>(products / kTaskProducts, 1, kTasks);
  while (split.tasks > 0 && split.tasks < wanted) {
    if (split.rows > 1 && split.rows * split.cols > 4 * t.tile_pixels)
      split.rows = ceil_divide(split.rows, 2);
    else if (split.task_panels > 1)
      split.task_panels = ceil_divide(split.task_panels, 2);
    else if (split.rows > 1)
      split.rows = ceil_divide(split.rows, 2);
    else if (split.cols > 2 * t.tile_pixels)
      split.cols = half(split.cols, t.tile_pixels);
    else
      break;
    count_tasks(s, split);
  }
  split.copy_words = copy_words(s, split);
  // The walk's own: a 24-byte segment a tap, and the outputs of one panel and row; a cache line between them.
  split.scratch_words = 6 * taps_of(s) + split.cols * t.panel + split.copy_words + 32;
  return split;
}

PackedWords::PackedWords(const Conv& conv, const std::uint16_t* w)
    : isa(table().isa), s(simplified(conv)), element_bytes(2), finite(pack<std::uint16_t>(s, table(), w, memory)) {}

PackedWords::PackedWords(const Conv& conv, const float* w)
    : isa(table().isa), s(simplified(conv)), element_bytes(2), finite(pack<std::uint16_t>(s, table(), w, memory)) {}

PackedWords::PackedWords(const Conv& conv, const std::int8_t* w)
    : isa(table().isa), s(simplified(conv)), element_bytes(1), finite(pack<std::int8_t>(s, table(), w, memory)) {}

void conv_bf16(const Conv& conv, const PackedWords& w, const std::uint16_t* x, const float* b, const Bf16Output& to) {
  const Table& t = table();
  const Conv s = simplified(conv);
  need_fit(s, w, 2, t);
  const LowSplit split = split_words(s, 2, false, t);
  float* const bias = scratch(Scratch::shared, split.panels * t.panel);
  std::fill_n(bias, split.panels * t.panel, 0.0f);
  if (b) for_each_channel(s, t.panel, [&](Index place, Index o) { bias[place] = b[o]; });
  run(split, [&](std::uint32_t* words, Index begin, Index end) {
    t.conv_bf16_forward(s, split, x, {w.words(), w.finite, bias}, to, words, begin, end);
  });
}

void conv_int8(const Conv& conv, const PackedWords& w, const Int8Input& from, const std::int32_t* b, const float* scale,
               const Int8Output& to) {
  const Table& t = table();
  const Conv s = simplified(conv);
  need_fit(s, w, 1, t);
  const LowSplit split = split_words(s, 1, from.is_signed, t);
  const Index places = split.panels * t.panel;
  float* const scales = scratch(Scratch::shared, 2 * places);
  std::int32_t* const offsets = reinterpret_cast<std::int32_t*>(scales + places);
  const auto* const sums = reinterpret_cast<const std::int32_t*>(w.words() + taps_of(s) * split.words * places);
  std::fill_n(scales, 2 * places, 0.0f);
  const std::uint32_t zero = static_cast<std::uint32_t>(from.zero_point + (from.is_signed ? 128 : 0));
  for_each_channel(s, t.panel, [&](Index place, Index o) {
    scales[place] = scale[o];
    const std::uint32_t bias = b ? static_cast<std::uint32_t>(b[o]) : 0;
    offsets[place] = static_cast<std::int32_t>(bias - zero * static_cast<std::uint32_t>(sums[place]));
  });
  Int8Output out = to;
  out.x_flip = from.is_signed ? 0x80 : 0;
  out.x_pad = static_cast<std::uint8_t>(zero);
  run(split, [&](std::uint32_t* words, Index begin, Index end) {
    t.conv_int8_forward(s, split, from.x, {w.words(), offsets, scales}, out, words, begin, end);
  });
}

}  // namespace tapwise
