// direct_grad_weight.cpp — dw[t, c, o] = sum over pixels p of x[p at t, c] * dy[p, o], a product of matrices a tap.
//
//   x (n, d, h, w, ci), dy (n, od, oh, ow, co)  ->  sums (chunks, taps, ci / groups, co)
//
// A task adds the blocks of one chunk of the batch into its own columns of the chunk's sums, several blocks at a time:
// a tap's pixels in all of them, those where it lies in the input, are one list of offsets, which one register tile
// after another is summed over. No zero work and no padding, whatever stride and dilation. Of few channels a row of
// taps is one run: (kw, ci) are rows of one product, for the columns where all taps of the run lie in the input.
// Chunks depend on the shape alone and are added in order afterwards: the same bits for any number of threads.
// With a bias dy f'(y) stands in a task's scratch for dy, and its sums by channel are added up as it is made.
#include "activation.h"
#include "channels.h"
#include "convolve.h"
#include "outer.h"

namespace tapwise::ISA {
namespace {

// One block of the pixels that are summed together.
struct Source {
  Block block;
  Region x, dy;
};

// A task's own arrays; plan_gradients.cpp sizes them.
struct RowList {
  Index rows, columns, x_step, dy_step;
};
struct Lists {
  Source* sources;
  Index count;  // of sources
  Index *x, *dy;
  RowList shape;  // that the lists are for, of a source whose rows have zeros beside them
};

// Taps [tap, tap + taps) of a row of taps, and the columns that see them all.
struct TapRun {
  Index tap, taps;
  Extent w;
};

// The outputs of [o.first, o.last) for which a tap lies in the input.
TAPWISE_INLINE Extent outputs_of(const Axis& a, Index tap, Extent o) {
  const Index in = tap * a.dilation - a.pad;
  const Index first = most(o.first, ceil_divide(-in, a.stride));
  return {first, most(first, least(o.last, floor_divide(a.in - 1 - in, a.stride) + 1))};
}

// The pixels of all sources that see tap (d, h) and the columns' taps. Returns how many.
Index list_pixels(const Sides& s, Lists& lists, Index d, Index h, const TapRun& run) {
  lists.shape = {};
  Index *x = lists.x, *dy = lists.dy;
  for (const Source* from = lists.sources; from < lists.sources + lists.count; ++from) {
    const Block& b = from->block;
    const Index in_d = b.d * s.d.stride - s.d.pad + d * s.d.dilation;
    if (in_d < 0 || in_d >= s.d.in) continue;
    const Extent rows = outputs_of(s.h, h, {b.h0, b.h1});
    const Index w0 = most(b.w0, run.w.first), w1 = least(b.w1, run.w.last);
    const Index x_step = s.w.stride * from->x.w_step, dy_step = from->dy.w_step;
    for (Index row = rows.first; row < rows.last; ++row) {
      const Index in_h = row * s.h.stride - s.h.pad + h * s.h.dilation;
      const Index in_w = w0 * s.w.stride - s.w.pad + run.tap * s.w.dilation;
      Index x_at = from->x.data - lists.sources->x.data + offset(from->x, in_d, in_h, in_w);
      Index dy_at = from->dy.data - lists.sources->dy.data + offset(from->dy, b.d, row, w0);
      const Index columns = most<Index>(0, w1 - w0);
      for (Index i = 0; i < columns; ++i) x[i] = x_at + i * x_step;
      for (Index i = 0; i < columns; ++i) dy[i] = dy_at + i * dy_step;
      x += columns, dy += columns;
    }
  }
  return x - lists.x;
}

// Calls visit(run) for the runs of taps in a row of taps: one tap each, or of few channels the longest.
template <class Visit>
TAPWISE_INLINE void for_each_tap_run(const Axis& a, bool merged, const Visit& visit) {
  if (!merged) {
    for (Index tap = 0; tap < a.k; ++tap) visit(TapRun{tap, 1, outputs_of(a, tap, {0, a.out})});
    return;
  }
  const auto taps_of = [&a](Index o) {
    const Index in = o * a.stride - a.pad;
    const Index first = least(a.k, most<Index>(0, -in));
    return Extent{first, most(first, least(a.k, a.in - in))};
  };
  for (Index o = 0, end; o < a.out; o = end) {
    const Extent taps = taps_of(o);
    for (end = o + 1; end < a.out; ++end) {
      const Extent next = taps_of(end);
      if (next.first != taps.first || next.last != taps.last) break;
    }
    if (taps.first < taps.last) visit(TapRun{taps.first, taps.last - taps.first, {o, end}});
  }
}

// Floats from the sources to those after them, where they are read in place; else 0.
struct Step {
  Index x, dy;
};

// What a task's sources are summed into: columns, and input channels [from.first, from.last) of each tap's rows, of the
// sums of its chunk.
struct Target {
  float* sums;
  Index row;
  Channels from;
  Index panel_step;  // from a panel of dy to the next, where dy is copied; else 0
  bool merged, add;
  bool skips;  // merged, but no pixel is multiplied by the zeros beside a row of x
  Step next;
};

Index lines(Index floats) {
  return (floats + kLineFloats - 1) / kLineFloats;
}

// What tap (h, w) asks for: it is the last one to see its pixels of x, or the last one of all.
TAPWISE_INLINE Ahead ahead_of(const Sides& s, const Task& task, const Target& to, const float* x, const float* dy,
                              bool last_of_x, bool last) {
  const Channels out = written(s, false, task.panel0, task.panel1);
  return {x + to.next.x, dy + to.next.dy + out.first, last_of_x && to.next.x ? lines(to.from.last - to.from.first) : 0,
          last && to.next.dy ? lines(out.last - out.first) : 0};
}

// Of one panel of one source's dy.
TAPWISE_INLINE const float* panel_of(const Sides& s, const Task& task, const Target& to, const Source& from, Index p) {
  const float* dy = from.dy.data + offset(from.dy, from.block.d, from.block.h0, from.block.w0);
  return dy + (to.panel_step ? (p - task.panel0) * to.panel_step : panel_at(s, false, p).channel);
}

// Calls visit(sums, channels) for each row that a task sums into.
template <class Visit>
TAPWISE_INLINE void for_each_sum(const Sides& s, const Task& task, const Target& to, const Visit& visit) {
  const Channels out = written(s, false, task.panel0, task.panel1);
  for (Index tap = 0; tap < s.d.k * s.h.k * s.w.k * s.from_channels; tap += s.from_channels)
    for (Index i = tap + to.from.first; i < tap + to.from.last; ++i)
      visit(to.sums + i * to.row + out.first, out.last - out.first);
}

bool is_finite(const Sides& s, const Task& task, const Target& to) {
  Vec sum{};
  for_each_sum(s, task, to, [&](const float* sums, Index channels) {
    for_each_vector(0, channels, [&](Index o, Index n) { sum = fma(load_part(sums + o, n), Vec{}, sum); });
  });
  bool zero = true;
  for (int lane = 0; lane < kLanes; ++lane) zero = zero && sum[lane] == 0;
  return zero;
}

// Of one source whose rows have zeros beside them: all columns see all taps of a row, so one list serves every row.
void accumulate_rows(const Sides& s, const Task& task, Lists& lists, const Target& to) {
  const Source& from = *lists.sources;
  const Block& b = from.block;
  const Index columns = b.w1 - b.w0;
  const RowList shape = {b.h1 - b.h0, columns, from.x.h_step, from.dy.h_step};
  if (lists.shape.rows != shape.rows || lists.shape.columns != columns || lists.shape.x_step != shape.x_step ||
      lists.shape.dy_step != shape.dy_step) {
    Index *x = lists.x, *dy = lists.dy;
    for (Index h = 0; h < shape.rows; ++h)
      for (Index w = 0; w < columns; ++w) {
        *x++ = h * s.h.stride * from.x.h_step + w * s.w.stride * from.x.w_step;
        *dy++ = h * from.dy.h_step + w * from.dy.w_step;
      }
    lists.shape = shape;
  }
  for (Index row = 0; row < s.d.k * s.h.k; ++row) {
    const Index in_d = b.d * s.d.stride - s.d.pad + row / s.h.k * s.d.dilation;
    const Index in_h = b.h0 * s.h.stride - s.h.pad + row % s.h.k * s.h.dilation;
    const Extent rows = outputs_of(s.h, row % s.h.k, {b.h0, b.h1});
    if (in_d < 0 || in_d >= s.d.in || rows.first == rows.last) continue;
    const Index first = (rows.first - b.h0) * columns, count = (rows.last - rows.first) * columns;
    const ListedPixels pixels = {lists.x + first, lists.dy + first};
    const float* const dy = from.dy.data + offset(from.dy, b.d, b.h0, b.w0);
    Ahead ahead = ahead_of(s, task, to, nullptr, dy, false, row + 1 == s.d.k * s.h.k);
    for (Index p = task.panel0; p < task.panel1; ++p) {
      const Panel panel = panel_at(s, false, p);
      const float* d = panel_of(s, task, to, from, p);
      outer_product(pixels, count, from.x.data + offset(from.x, in_d, in_h, b.w0 * s.w.stride - s.w.pad),
                    s.w.k * s.from_channels, d, panel.channels, ahead,
                    {to.sums + row * s.w.k * s.from_channels * to.row + panel.channel, to.row, true});
    }
  }
}

void accumulate(const Sides& s, const Task& task, Lists& lists, const Target& to) {
  if (to.merged && !to.skips) return accumulate_rows(s, task, lists, to);
  const Region &x = lists.sources->x, &dy = lists.sources->dy;
  for (Index row = 0; row < s.d.k * s.h.k; ++row)
    for_each_tap_run(s.w, to.merged, [&](const TapRun& run) {
      const Index count = list_pixels(s, lists, row / s.h.k, row % s.h.k, run);
      if (count == 0 && to.add) return;
      const ListedPixels pixels = {lists.x, lists.dy};
      const Index h = row % s.h.k, end = run.tap + run.taps;
      const float* const from = x.data + to.from.first - x.channel;
      Ahead ahead = ahead_of(s, task, to, from, dy.data, h + s.h.stride >= s.h.k && end + s.w.stride > s.w.k,
                             row + 1 == s.d.k * s.h.k && end == s.w.k);
      float* const sums = to.sums + ((row * s.w.k + run.tap) * s.from_channels + to.from.first) * to.row;
      const Index rows = (run.taps - 1) * s.from_channels + to.from.last - to.from.first;
      for (Index p = task.panel0; p < task.panel1; ++p) {
        const Panel panel = panel_at(s, false, p);
        const float* d = dy.data + (to.panel_step ? (p - task.panel0) * to.panel_step : panel.channel);
        outer_product(pixels, count, from + panel.from_channel, rows, d, panel.channels, ahead,
                      {sums + panel.channel, to.row, to.add});
      }
    });
}

// Panel after panel of a block of dy, `panel_step` apart: pixels of kPanel channels.
Region copy_panels(const Sides& s, const Task& task, const Block& b, const float* dy, Index panel_step, float* copy) {
  const Index channels = s.groups * s.to_channels, image = s.d.out * s.h.out * s.w.out * channels;
  const Part part = {0, 0, {b.d, b.d + 1}, {b.h0, b.h1}, {b.w0, b.w1}};
  Region region{};
  for (Index p = task.panel1 - 1; p >= task.panel0; --p) {
    const Panel panel = panel_at(s, false, p);
    Part own = part;
    own.c0 = panel.channel, own.c1 = panel.channel + panel.channels;
    region = copy_part(dy + b.image * image, s.layout == Layout::channels_first, s.d.out, s.h.out, s.w.out, channels,
                       own, kPanel, copy + (p - task.panel0) * panel_step);
  }
  return region;
}

constexpr Index kMaskAhead = 512;  // floats: 26x26 of 32, 128 images 0.58 ms, 2048 0.64, 6144 0.78, none 1.0

// What stands for dy: dz = dy f'(y), whose sums by channel (co,) are added to `sums` unless that is null.
struct Masked {
  Prologue prologue;
  double* sums;
};

// dz of one block of dy, channels `out`, in `copy`: kBlock pixels at a time, in the order of memory.
template <Activation kKind>
Region mask_block(const Block& b, const Region& dy, const float* y, float alpha, const Channels& out, double* sums,
                  float* copy) {
  const Index width = out.last - out.first, columns = b.w1 - b.w0, row = columns * width;
  const auto mask = [&](const float* d, const float* at, float* to, Index pixels, Index c, Index count) {
    Vec sum{};
    for (Index i = 0; i < pixels; ++i, d += dy.w_step, to += width) {
      __builtin_prefetch(d + kMaskAhead);
      const Vec v = load_part(d, count);
      Vec dz = v;
      if constexpr (kKind != Activation::none) {
        __builtin_prefetch(at + kMaskAhead);
        dz = gradient<kKind>(alpha, v, load_part(at, count), v);
        at += dy.w_step;
      }
      store_part(to, dz, count);
      sum += dz;
    }
    if (sums) add_to(sums + out.first + c, widen(sum), count);
  };
  for (Index h = b.h0; h < b.h1; ++h)
    for (Index w = 0; w < columns; w += kBlock) {
      const Index at = offset(dy, b.d, h, b.w0 + w) + out.first, pixels = least(kBlock, columns - w);
      for_each_vector(0, width, [&](Index c, Index count) {
        mask(dy.data + at + c, y + (kKind == Activation::none ? 0 : at + c), copy + (h - b.h0) * row + w * width + c,
             pixels, c, count);
      });
    }
  return {copy - b.h0 * row - b.w0 * width - out.first, 0, row, width, 0};
}

TAPWISE_INLINE Region mask_block(const Sides& s, const Task& task, const Block& b, const Region& dy, const float* dy0,
                                 const Masked& masked, float* copy) {
  const Prologue& p = masked.prologue;
  Region region{};
  with_activation(p.activation, [&]<Activation kKind>() {
    const float* const y = kKind == Activation::none ? nullptr : p.y + (dy.data - dy0);
    region = mask_block<kKind>(b, dy, y, p.alpha, written(s, false, task.panel0, task.panel1), masked.sums, copy);
  });
  return region;
}

// The sources of blocks [first, last), in place or copied to `rest`.
TAPWISE_INLINE void find_sources(const Sides& s, const Split& split, const Task& task, const Channels& from,
                                 const Masked* masked, Index first, Index last, const float* x, const float* dy,
                                 Lists& lists, float* rest) {
  const Channels in = s.groups == 1 ? from : read(s, false, task.panel0, task.panel1);
  const Index pixel = in.last - in.first + split.copy_gap;
  const Index panel_step = split.batch * split.rows * split.cols * kPanel;
  float* dy_copy = rest;
  if (split.copies_dy || masked) rest += (task.panel1 - task.panel0) * panel_step;
  lists.count = last - first;
  for (Index i = 0; i < lists.count; ++i) {
    Source& source = lists.sources[i];
    source.block = block_at(s, split, first + i);
    const Block& b = source.block;
    Part part = part_of(s, b, in.first, in.last);
    if (split.merged) part.w = reached(s.w, false, b.w0, b.w1);
    source.x = read_region(s, b, x, split.copies, part, pixel, rest);
    if (split.copies) rest += part_floats(part, pixel);
    if (split.copies_dy) {
      source.dy = copy_panels(s, task, b, dy, panel_step, dy_copy);
      dy_copy += (b.h1 - b.h0) * (b.w1 - b.w0) * kPanel;
    } else {
      source.dy = output_region(s, b, dy, 0, 0, nullptr, true);
      if (!masked) continue;
      source.dy = mask_block(s, task, b, source.dy, dy, *masked, dy_copy);
      dy_copy += (b.h1 - b.h0) * (b.w1 - b.w0) * source.dy.w_step;
    }
  }
}

// From block `from` to block `to` of arrays that are read in place.
TAPWISE_INLINE Step step_to(const Sides& s, const Split& split, Index from, Index to) {
  const Block a = block_at(s, split, from), b = block_at(s, split, to);
  const auto pixel = [](const Axis& d, const Axis& h, const Axis& w, const Block& at, bool in) {
    return in ? ((at.image * d.in + at.d * d.stride) * h.in + at.h0 * h.stride) * w.in + at.w0 * w.stride
              : ((at.image * d.out + at.d) * h.out + at.h0) * w.out + at.w0;
  };
  return {(pixel(s.d, s.h, s.w, b, true) - pixel(s.d, s.h, s.w, a, true)) * s.groups * s.from_channels,
          (pixel(s.d, s.h, s.w, b, false) - pixel(s.d, s.h, s.w, a, false)) * s.groups * s.to_channels};
}

// The sums of units [unit, last), a batch after the other.
TAPWISE_INLINE void sum_units(const Sides& s, const Split& split, const Task& task, Target to, const Masked* masked,
                              Index unit, Index last, const float* x, const float* dy, Lists& lists, float* rest) {
  if (to.merged || unit == last) for_each_sum(s, task, to, clear);
  to.add = to.merged;
  for (; unit < last; unit += split.batch, to.add = true) {
    find_sources(s, split, task, to.from, masked, unit, least(last, unit + split.batch), x, dy, lists, rest);
    to.next = {0, 0};
    if (unit + split.batch < last && !split.copies_dy) to.next = step_to(s, split, unit, unit + split.batch);
    if (split.copies) to.next.x = 0;
    if (masked) to.next.dy = 0;
    accumulate(s, task, lists, to);
  }
}

// prologue: null, or with bias_sums (chunks, co).
TAPWISE_INLINE void run_tasks(const Conv& conv, const Split& split, const Prologue* prologue, const float* x,
                              const float* dy, float* sums, double* bias_sums, float* scratch, Index begin, Index end) {
  const Sides s = forward_sides(conv);
  const Index units = s.n * s.d.out * split.row_blocks * split.col_blocks;
  const Index rows = s.d.k * s.h.k * s.w.k * s.from_channels, row = s.groups * s.to_channels;
  const Index listed = (split.batch * split.rows * split.cols + 15) / 16 * 16;
  Lists lists = {};
  lists.x = reinterpret_cast<Index*>(scratch);
  lists.dy = lists.x + listed;
  lists.sources = reinterpret_cast<Source*>(lists.dy + listed);
  float* const rest = scratch + 4 * listed + (split.batch * static_cast<Index>(sizeof(Source) / 4) + 15) / 16 * 16;
  for (Index index = begin; index < end; ++index) {
    const Index chunk = index % split.chunks, part = index / split.chunks % split.from_parts;
    const Index panel0 = index / (split.chunks * split.from_parts) * split.task_panels;
    const Task task = {{}, panel0, least(split.panels, panel0 + split.task_panels), false};
    const Channels from = {part * s.from_channels / split.from_parts, (part + 1) * s.from_channels / split.from_parts};
    Target to = {sums + chunk * rows * row, row, from, 0, split.merged, false, false, {0, 0}};
    if (split.copies_dy) to.panel_step = split.batch * split.rows * split.cols * kPanel;
    Masked masked = {};
    if (prologue) {
      masked = {*prologue, part == 0 ? bias_sums + chunk * row : nullptr};
      const Channels out = written(s, false, task.panel0, task.panel1);
      for (Index o = out.first; part == 0 && o < out.last; ++o) masked.sums[o] = 0;
    }
    const auto sum = [&] {
      sum_units(s, split, task, to, prologue ? &masked : nullptr, chunk * units / split.chunks,
                (chunk + 1) * units / split.chunks, x, dy, lists, rest);
    };
    sum();
    if (!to.merged || is_finite(s, task, to)) continue;
    to.skips = true;  // an infinity or NaN of dy by the zero beside a row of x would be one
    masked.sums = nullptr;
    sum();
  }
}

}  // namespace

void conv_direct_grad_weight(const Conv& s, const Split& split, const float* x, const float* dy, float* sums,
                             float* scratch, Index begin, Index end) {
  run_tasks(s, split, nullptr, x, dy, sums, nullptr, scratch, begin, end);
}

void conv_direct_grad_weight_bias(const Conv& s, const Split& split, const Prologue& prologue, const float* x,
                                  const float* dy, float* sums, double* bias_sums, float* scratch, Index begin,
                                  Index end) {
  run_tasks(s, split, &prologue, x, dy, sums, bias_sums, scratch, begin, end);
}

}  // namespace tapwise::ISA
