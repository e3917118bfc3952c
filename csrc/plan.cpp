#include "plan.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "cost.h"
#include "scratch.h"

namespace tapwise {
namespace {

// Floats that a task may keep close: half of a 1 MiB L2 for what it re-reads, a quarter for gathered columns.
constexpr Index kBlockFloats = 128 * 1024;
constexpr Index kColumnFloats = 64 * 1024;
constexpr Index kCopyFloats = 1024 * 1024;  // 4 MiB: a task's copy of a channels_first part
constexpr Index kAliasedFloats = 512;       // pixels 2 KiB apart crowd a tile's rows into two sets of the L1
constexpr Index kGapFloats = 16;
constexpr Index kEdge = 2;                     // kMostSkipped of cpu/gemm.h
constexpr Index kSkipChannels = 16;            // fewer are better merged with the neighbouring taps'
constexpr Index kDotChannels = 4;              // see cpu/gemm.h
constexpr Index kSumFloats = 4 * 1024 * 1024;  // 16 MiB: all private sums of a weight gradient
constexpr Index kTaskPixels = 224;             // 16 tiles of 14: enough to amortise a panel's first touch
constexpr int kChoiceCores = 2;                // a choice must not depend on how many there are
constexpr double kMargin = 1.1;
constexpr Index kManyTiles = 8;           // of pixels, which cores may share out evenly
constexpr Index kTasks = 16;              // enough for 4 threads with 4 tasks each
constexpr Index kTaskProducts = 200'000;  // about 5 us of one core: less isn't worth handing over

Index ceil_divide(Index a, Index b) {
  return (a + b - 1) / b;
}

// Pieces of at most `largest` that share out `total` evenly.
Index even(Index total, Index largest) {
  return total > 0 ? ceil_divide(total, ceil_divide(total, largest)) : largest;
}

struct Side {
  Index in, out, k, stride, dilation, pad;
};

// One pass of a convolution as the kernels see it: the side read, the side written, the sizes per group.
struct Work {
  bool transposed, depthwise, planes;
  Index n, groups, from_channels, to_channels;
  Side d, h, w;
  Index taps, row_length;  // row_length: products of one output
  Index panel, panels, group_panels;
};

Work work_of(const Conv& s, Pass pass, bool depthwise, const Table& t) {
  Work w;
  w.transposed = pass == Pass::grad_input;
  w.depthwise = depthwise;
  w.planes = s.layout == Layout::channels_first;
  w.n = s.n;
  w.groups = s.groups;
  w.from_channels = (w.transposed ? s.co : s.ci) / s.groups;
  w.to_channels = (w.transposed ? s.ci : s.co) / s.groups;
  w.d = {s.id, s.od, s.kd, s.sd, s.dil_d, s.pf};
  w.h = {s.ih, s.oh, s.kh, s.sh, s.dil_h, s.pt};
  w.w = {s.iw, s.ow, s.kw, s.sw, s.dil_w, s.pl};
  if (w.transposed)
    for (Side* side : {&w.d, &w.h, &w.w}) std::swap(side->in, side->out);
  w.taps = s.kd * s.kh * s.kw;
  w.row_length = w.taps * w.from_channels;
  w.panel = t.panel;
  w.group_panels = depthwise ? ceil_divide(w.groups, w.panel) : ceil_divide(w.to_channels, w.panel);
  w.panels = depthwise ? w.group_panels : w.groups * w.group_panels;
  return w;
}

// Positions that `outputs` neighbouring ones may reach, inside the input or not, at most.
Index reached(const Side& s, bool transposed, Index outputs) {
  const Index span = (s.k - 1) * s.dilation;
  return transposed ? (outputs - 1 + span) / s.stride + 2 : (outputs - 1) * s.stride + span + 1;
}

Index touched(const Side& s, bool transposed, Index outputs) {
  return std::min(s.in, reached(s, transposed, outputs));
}

// Outputs at either border that reach past the input, the larger number of the two.
Index edge(const Side& s, bool transposed) {
  const Index span = (s.k - 1) * s.dilation;
  if (transposed) return std::max(ceil_divide(span - s.pad, s.stride), s.out - 1 + s.pad - (s.in * s.stride - 1));
  const Index whole = s.in - 1 - span + s.pad;  // the last position whose taps all lie in the input
  return std::max(ceil_divide(s.pad, s.stride), s.out - 1 - (whole < 0 ? -1 : whole / s.stride));
}

Index from_channels_of(const Work& w, Index panels) {
  if (w.depthwise) return std::min(w.groups, panels * w.panel);
  return std::min(w.groups, (panels - 1) / w.group_panels + 2) * w.from_channels;
}

Index to_channels_of(const Work& w, Index panels) {
  return std::min(w.groups * w.to_channels, panels * w.panel);
}

Index copy_floats(const Work& w, const Split& s) {
  if (!s.copies) return 0;
  const Index read = touched(w.d, w.transposed, 1) * touched(w.h, w.transposed, s.rows) *
                     reached(w.w, w.transposed, s.cols) * (from_channels_of(w, s.task_panels) + s.copy_gap);
  return read + (w.planes ? s.rows * s.cols * to_channels_of(w, s.task_panels) : 0);
}

// The walk's own arrays, see carve() in cpu/rows.h: 16-byte taps, 32-byte segments, rounded up to a cache line.
Index walk_floats(const Work& w) {
  const Index taps = w.d.k * w.h.k + w.w.k + std::max(w.d.k, w.h.k);
  return 4 * taps + 3 * 8 * w.taps + 32;
}

void count_blocks(const Work& w, Split& s) {
  s.row_blocks = ceil_divide(w.h.out, s.rows);
  s.col_blocks = ceil_divide(w.w.out, s.cols);
  s.tasks = w.n * w.d.out * s.row_blocks * s.col_blocks * ceil_divide(s.panels, s.task_panels);
}

// Halves what a task covers until its copies fit.
void bound_copies(const Work& w, Split& s) {
  while (copy_floats(w, s) > std::min(kCopyFloats, workspace_floats() / 2)) {
    if (s.task_panels > 1 && s.rows * s.cols <= kTaskPixels)
      s.task_panels = ceil_divide(s.task_panels, 2);
    else if (s.rows > 1)
      s.rows = ceil_divide(s.rows, 2);
    else if (s.cols > 1)
      s.cols = ceil_divide(s.cols, 2);
    else if (s.task_panels > 1)
      s.task_panels = ceil_divide(s.task_panels, 2);
    else
      break;
  }
}

// Channels that lie one after the other in the input and in the weights: those of a tap, or of a row of taps.
Index stretch(const Work& w) {
  return w.from_channels * (w.groups == 1 && w.w.dilation == 1 && !w.transposed ? w.w.k : 1);
}

// Pixels whose patches im2col gathers at a time: a full tile where that stays within four times the block.
Index gathered_columns(const Work& w, Index tile_pixels) {
  const Index most = std::min(4 * kColumnFloats, workspace_floats() / 4);
  return std::max(tile_pixels * w.row_length <= most ? tile_pixels : 1, std::min(most, kColumnFloats) / w.row_length);
}

Index products(const Work& w) {
  return w.n * w.groups * w.to_channels * w.d.out * w.h.out * w.w.out * w.row_length /
         (w.transposed ? w.d.stride * w.h.stride * w.w.stride : 1);
}

Split split_outputs(const Work& w, bool gathers, Index tile_pixels, Index lanes) {
  Split s{};
  s.chunks = 1;
  s.panels = w.panels;
  const Index panel_floats = w.row_length * w.panel;
  s.dot = !w.depthwise && w.to_channels <= kDotChannels && stretch(w) >= lanes;
  // Zeros beside a row make its pixels alike. A tile skips up to kEdge of them itself, at the price of short segments.
  // Strides far above the kernel would copy what no tap reads.
  const Index border = edge(w.w, w.transposed);
  const bool skips = !gathers && !s.dot && border <= kEdge && w.from_channels >= kSkipChannels &&
                     w.from_channels % kAliasedFloats != 0 && (!w.transposed || w.w.stride == 1);
  s.copies = w.planes || (!w.depthwise && border > 0 && !skips && w.w.stride <= 2 * w.w.k);
  s.copy_gap = w.from_channels % kAliasedFloats == 0 ? kGapFloats : 0;
  s.shared_floats = s.dot ? w.groups * w.to_channels * w.row_length : w.panels * panel_floats;
  const Index phases = w.transposed ? w.w.stride : 1;  // columns so far apart share their taps
  s.cols = std::min(w.w.out, std::max(kTaskPixels, 4 * tile_pixels * phases));
  if (gathers) s.cols = std::min(s.cols, gathered_columns(w, tile_pixels));
  s.rows = std::clamp<Index>(kTaskPixels / s.cols, 1, std::max<Index>(1, w.h.out));
  s.task_panels = std::clamp<Index>(kBlockFloats / panel_floats, 1, std::max<Index>(1, w.panels));
  bound_copies(w, s);
  s.task_panels = even(s.panels, s.task_panels);
  count_blocks(w, s);
  const Index wanted = std::clamp<Index>(products(w) / kTaskProducts, 1, kTasks);
  // A core finds the pixels that it made itself in its L2; panels shared out, it would read the other cores' too.
  const bool by_pixels = w.taps == 1 && w.h.out == 1 && phases == 1 && !w.planes && !gathers && !s.dot &&
                         s.task_panels == s.panels && w.w.out >= kManyTiles * tile_pixels;
  if (by_pixels && s.tasks < wanted) {
    s.cols = std::min(s.cols, ceil_divide(ceil_divide(w.w.out, tile_pixels), wanted) * tile_pixels);
    count_blocks(w, s);
  }
  while (s.tasks > 0 && s.tasks < wanted && !by_pixels) {
    if (s.rows > 1)
      s.rows = ceil_divide(s.rows, 2);
    else if (w.planes && w.taps == 1 && s.cols > 2 * tile_pixels)  // each group of panels would copy its pixels anew
      s.cols = ceil_divide(s.cols, 2);
    else if (s.task_panels > 1)
      s.task_panels = ceil_divide(s.task_panels, 2);
    else if (s.cols > 2 * tile_pixels * phases)
      s.cols = ceil_divide(s.cols, 2);
    else
      break;
    count_blocks(w, s);
  }
  // What is outermost is read once, the other side once for each of its parts.
  const Index groups = std::max<Index>(1, ceil_divide(s.panels, s.task_panels)),
              read = w.n * w.groups * w.from_channels * w.d.in * w.h.in * w.w.in;
  s.by_blocks = s.shared_floats * (s.tasks / groups - 1) < read * (groups - 1);
  s.scratch_floats = walk_floats(w) + copy_floats(w, s) + (gathers ? s.cols * w.row_length : 0) + 16;
  return s;
}

Split split_weights(const Work& w, bool gathers, Index tile_pixels) {
  Split s{};
  s.panels = w.panels;
  s.copies = w.planes;
  s.task_panels = gathers || w.depthwise ? std::max<Index>(1, w.panels) : 1;
  s.cols = std::min(w.w.out, kTaskPixels * 4);
  if (gathers) s.cols = std::min(s.cols, gathered_columns(w, tile_pixels));
  const Index row = touched(w.w, false, s.cols) * w.h.stride * from_channels_of(w, s.task_panels) +
                    s.cols * to_channels_of(w, s.task_panels);
  s.rows = std::clamp<Index>(kBlockFloats / std::max<Index>(1, row), 1, std::max<Index>(1, w.h.out));
  bound_copies(w, s);
  count_blocks(w, s);
  const Index units = w.n * w.d.out * s.row_blocks * s.col_blocks;
  const Index panel_blocks = ceil_divide(s.panels, s.task_panels);
  const Index sums = w.row_length * w.groups * w.to_channels;
  const Index wanted = std::clamp<Index>(products(w) / kTaskProducts, 1, kTasks);
  s.chunks =
      std::clamp<Index>(ceil_divide(wanted, panel_blocks), 1, std::max<Index>(1, std::min(units, kSumFloats / sums)));
  s.tasks = s.chunks * panel_blocks;
  s.shared_floats = s.chunks * sums;
  s.scratch_floats = walk_floats(w) + copy_floats(w, s) + (gathers ? s.cols * w.row_length : 0) + 16;
  return s;
}

Index tile_of(Algorithm algorithm) {
  return 2 * (static_cast<Index>(algorithm) - static_cast<Index>(Algorithm::winograd));
}

Plan plan_winograd_gradient(const Conv& s, Algorithm algorithm, const Table& t) {
  Plan p{};
  p.algorithm = algorithm;
  p.gradient = tile_winograd_gradient(s, tile_of(algorithm), t);
  const GradTiling& g = p.gradient;
  p.tiling = g.x;
  p.split.chunks = g.chunks;
  p.split.tasks = g.fused ? g.chunks : ceil_divide(g.x.panels, g.groups) * g.splits;
  p.split.shared_floats = g.chunks * g.sums_floats;
  p.split.scratch_floats = g.scratch_floats + g.x.v_floats;
  p.reason = "fewer multiplications outweigh the transforms";
  return p;
}

Plan plan_winograd(const Conv& conv, Pass pass, Algorithm algorithm, bool packed, const Table& t) {
  if (pass == Pass::grad_weight) return plan_winograd_gradient(conv, algorithm, t);
  const Conv s = pass == Pass::forward ? conv : turned(conv).s;
  Plan p{};
  p.algorithm = algorithm;
  p.packing = Packing::winograd;
  p.turns = pass != Pass::forward;
  p.tiling = tile_winograd(s, tile_of(algorithm), packed, t);
  p.split.tasks = p.tiling.fused ? p.tiling.blocks : output_tasks(p.tiling);
  p.split.shared_floats = p.tiling.packed_floats;
  p.split.scratch_floats = winograd_workspace(p.tiling);
  p.reason = "fewer multiplications outweigh the transforms";
  return p;
}

bool is_depthwise(const Conv& s) {
  return s.groups > 1 && s.groups == s.ci && s.groups == s.co;
}

// Two groups a vector or more: a register tile of one group's outputs would leave half of the lanes empty.
bool is_grouped(const Conv& s, const Table& t) {
  return s.groups > 1 && std::max(s.ci, s.co) / s.groups * 2 <= t.lanes;
}

// By direct or im2col.
Plan plan_plain(const Conv& s, Pass pass, Algorithm algorithm, const Table& t) {
  Plan p{};
  p.algorithm = algorithm;
  p.depthwise = p.algorithm == Algorithm::direct && is_depthwise(s);
  const bool transposed = pass == Pass::grad_input;
  p.grouped = p.algorithm == Algorithm::direct && !p.depthwise && is_grouped(s, t);
  p.packing = p.depthwise             ? Packing::depthwise
              : p.grouped             ? (transposed ? Packing::turned_groups : Packing::groups)
              : pass == Pass::forward ? Packing::forward
                                      : Packing::transposed;
  const Work w = work_of(s, pass, p.depthwise, t);
  const bool gathers = p.algorithm == Algorithm::im2col;
  const bool runs = p.depthwise && transposed && s.sw > kPhasedStride;
  const bool of_filters = (p.grouped || p.depthwise) && !runs;
  if (pass == Pass::grad_weight)
    p.split = of_filters ? split_filter_weights(s, p.depthwise, t)
              : gathers  ? split_weights(w, gathers, t.tile_pixels)
                         : split_pixels(s, t);
  else
    p.split =
        of_filters ? split_filters(s, p.depthwise, transposed, t) : split_outputs(w, gathers, t.tile_pixels, t.lanes);
  p.reason = p.depthwise ? "one filter a channel: channels fill the vectors"
             : p.grouped ? "small groups: the outputs of several fill a vector"
                         : "no column matrix: runs of channels are read in place";
  return p;
}

// One that isn't refused.
Plan plan_by(const Conv& s, Pass pass, Algorithm algorithm, bool packed, const Table& t) {
  if (algorithm < Algorithm::winograd) return plan_plain(s, pass, algorithm, t);
  return plan_winograd(s, pass, algorithm, packed, t);
}

constexpr Algorithm kTiles[] = {Algorithm::winograd_2x2, Algorithm::winograd_4x4, Algorithm::winograd_6x6};

// The plan with the least expected time for kChoiceCores. Winograd must win by more than the model is off: direct is
// more accurate. im2col is for those who ask: of the 57 layers direct was as fast or faster on all.
Plan fastest(const Conv& s, Pass pass, Choice choice, const Table& t) {
  const bool any = choice.algorithm == Algorithm::winograd;
  const bool strict = choice.accuracy == Accuracy::strict;
  const Accuracy accuracy = any && strict ? Accuracy::standard : choice.accuracy;  // named, so not automatic's choice
  const auto seconds_of = [&](const Plan& p) {
    return expected_seconds(s, pass, p, t, kChoiceCores) +
           (choice.packed || pass == Pass::grad_weight ? 0 : packing_seconds(p));
  };
  Plan best{};
  double least = std::numeric_limits<double>::infinity();
  if (!any) {
    best = plan_plain(s, pass, Algorithm::direct, t);
    if (strict || refusal(s, pass, Algorithm::winograd, t)) return best;
    least = seconds_of(best) / kMargin;
    best.reason = "Winograd's transforms would outweigh the multiplications that it saves";
  }
  for (const Algorithm a : kTiles) {
    if (refusal(s, pass, a, t) || !admitted(s, pass, accuracy, a)) continue;
    const Plan p = plan_winograd(s, pass, a, choice.packed, t);
    const double seconds = seconds_of(p);
    if (seconds < least) least = seconds, best = p;
  }
  return best;
}

}  // namespace

const char* name_of(Algorithm algorithm) {
  constexpr const char* kNames[kAlgorithms] = {"auto",         "direct",       "im2col",      "winograd",
                                               "winograd-2x2", "winograd-4x4", "winograd-6x6"};
  return kNames[static_cast<int>(algorithm)];
}

const char* refusal(const Conv& s, Pass pass, Algorithm algorithm, const Table& t) {
  const Algorithm a = algorithm == Algorithm::winograd ? Algorithm::winograd_2x2 : algorithm;
  if (a >= Algorithm::winograd) {
    if (pass != Pass::forward && (s.sh != 1 || s.sw != 1)) return "a gradient's strides must be 1";
    const Conv& turn = pass == Pass::grad_input ? turned(s).s : s;
    if (const char* why = winograd_refusal(turn, tile_of(a))) return why;
    if (pass == Pass::grad_weight && !winograd_gradient_fits(s, tile_of(a)))
      return "its sums for a few output channels exceed the workspace";
  }
  if (a == Algorithm::direct || plan_by(s, pass, a, false, t).split.scratch_floats <= workspace_floats())
    return nullptr;
  return a == Algorithm::im2col ? "one patch, taps * channels of a group, exceeds the workspace"
                                : "a transformed tile exceeds the workspace";
}

bool admitted(const Conv& s, Pass pass, Accuracy accuracy, Algorithm algorithm) {
  if (algorithm < Algorithm::winograd || accuracy == Accuracy::fast) return true;
  if (accuracy == Accuracy::strict) return false;
  if (pass == Pass::grad_weight) return winograd_gradient_is_accurate(s, tile_of(algorithm));
  return winograd_is_accurate(pass == Pass::grad_input ? turned(s).s : s, tile_of(algorithm));
}

Plan plan_conv(const Conv& s, Pass pass, Choice choice, const Table& t) {
  const Algorithm asked = choice.algorithm;
  if (asked == Algorithm::automatic) return fastest(s, pass, choice, t);
  if (const char* why = refusal(s, pass, asked, t))
    throw std::invalid_argument(std::string("algorithm must be one that can do the shape; ") + name_of(asked) +
                                " can't: " + why);
  Plan p = asked == Algorithm::winograd ? fastest(s, pass, choice, t) : plan_by(s, pass, asked, choice.packed, t);
  p.reason = "asked for";
  return p;
}

std::array<Candidate, 5> candidates(const Conv& s, Pass pass, Accuracy accuracy, const Table& t) {
  std::array<Candidate, 5> all{{{Algorithm::direct},
                                {Algorithm::im2col},
                                {Algorithm::winograd_2x2},
                                {Algorithm::winograd_4x4},
                                {Algorithm::winograd_6x6}}};
  for (Candidate& c : all) {
    c.refused = refusal(s, pass, c.algorithm, t);
    if (c.refused) continue;
    c.admitted = admitted(s, pass, accuracy, c.algorithm);
    const Plan p = plan_by(s, pass, c.algorithm, false, t);
    c.seconds = expected_seconds(s, pass, p, t, kChoiceCores) + (pass == Pass::grad_weight ? 0 : packing_seconds(p));
  }
  return all;
}

}  // namespace tapwise
