// plan_filters.cpp — how depthwise filters and filters over groups of a few channels are cut into tasks.
//
// Blocks are rows of whole width where that gives enough tasks: their inputs overlap least. Channels are split where an
// image has few rows, columns where it has one.
#include <algorithm>

#include "plan.h"
#include "scratch.h"

namespace tapwise {
namespace {

constexpr Index kTaskProducts = 200'000;          // some 3 us of one core
constexpr Index kTasks = 32;                      // enough for 8 threads with 4 tasks each
constexpr Index kTileRows = 2;                    // see cpu/filter.h
constexpr Index kTileColumns = 14;                // at most
constexpr Index kCopyFloats = 1024 * 1024;        // 4 MiB: a task's copy of a channels_first part
constexpr Index kSumFloats = 4 * 1024 * 1024;     // 16 MiB: all private sums of a weight gradient
constexpr Index kChunkPixels = 96;                // of one chunk at least: its sums are added up once more
constexpr Index kCachedFloats = 8 * 1024 * 1024;  // 32 MiB, a large L3

Index ceil_divide(Index a, Index b) {
  return (a + b - 1) / b;
}

Index touched(Index in, Index k, Index stride, Index dilation, Index outputs) {
  return std::min(in, (outputs - 1) * stride + (k - 1) * dilation + 1);
}

void count_tasks(const Conv& s, Split& split) {
  split.row_blocks = ceil_divide(s.oh, split.rows);
  split.col_blocks = ceil_divide(s.ow, split.cols);
  split.tasks = s.n * s.od * split.row_blocks * split.col_blocks * ceil_divide(split.panels, split.task_panels);
}

// Floats that a task copies of channels_first arrays.
Index copy_floats(const Conv& s, const Split& split, Index panel_inputs, Index panel_outputs) {
  if (s.layout == Layout::channels_last) return 0;
  const Index inputs = std::min(s.ci, split.task_panels * panel_inputs);
  return touched(s.id, s.kd, s.sd, s.dil_d, 1) * touched(s.ih, s.kh, s.sh, s.dil_h, split.rows) *
             touched(s.iw, s.kw, s.sw, s.dil_w, split.cols) * inputs +
         split.rows * split.cols * std::min(s.co, split.task_panels * panel_outputs);
}

// Cuts a task in two where that leaves tiles whole; false if it can't.
bool halve(const Conv& s, Split& split) {
  const Index rows = ceil_divide(ceil_divide(split.rows, 2), kTileRows) * kTileRows;
  if (split.rows >= 4 * kTileRows || (split.task_panels == 1 && rows < split.rows))
    split.rows = rows;
  else if (split.task_panels > 1)
    split.task_panels = ceil_divide(split.task_panels, 2);
  else if (split.cols >= 2 * kTileColumns)
    split.cols = ceil_divide(split.cols, 2);
  else if (split.rows > 1)
    split.rows = ceil_divide(split.rows, 2);
  else
    return false;
  count_tasks(s, split);
  return true;
}

}  // namespace

Split split_filters(const Conv& conv, bool depthwise, bool transposed, const Table& t) {
  Conv s = conv;
  const Index strides = s.sd * s.sh * s.sw;
  if (transposed) {
    std::swap(s.id, s.od), std::swap(s.ih, s.oh), std::swap(s.iw, s.ow), std::swap(s.ci, s.co);
    s.sd = s.sh = s.sw = 1;  // what a task reads is no more than at stride 1
  }
  Split split{};
  split.chunks = 1;
  const Index group_inputs = s.ci / s.groups, group_outputs = s.co / s.groups, taps = s.kd * s.kh * s.kw;
  const Index together = depthwise ? t.panel : t.lanes / std::max(group_inputs, group_outputs);
  split.panels = ceil_divide(s.groups, together);
  split.task_panels = std::max<Index>(1, split.panels);
  split.shared_floats = split.panels * taps * (depthwise ? t.panel : group_inputs * t.lanes);
  split.rows = std::max<Index>(1, s.oh), split.cols = std::max<Index>(1, s.ow);
  count_tasks(s, split);
  const Index products = s.n * s.co * s.od * s.oh * s.ow * taps * group_inputs / (transposed ? strides : 1);
  const Index wanted = std::clamp<Index>(products / kTaskProducts, 1, kTasks);
  while (split.tasks > 0 && split.tasks < wanted && halve(s, split)) {
  }
  const auto copied = [&] { return copy_floats(s, split, together * group_inputs, together * group_outputs); };
  while (split.tasks > 0 && copied() > std::min(kCopyFloats, workspace_floats() / 2) && halve(s, split)) {
  }
  split.streams = s.layout == Layout::channels_last &&
                  s.n * (s.id * s.ih * s.iw * s.ci + s.od * s.oh * s.ow * s.co) > kCachedFloats;
  split.scratch_floats = copied() + 16;
  return split;
}

Split split_filter_weights(const Conv& s, bool depthwise, const Table& t) {
  Split split{};
  const Index group_inputs = s.ci / s.groups, group_outputs = s.co / s.groups, taps = s.kd * s.kh * s.kw;
  const Index together = depthwise ? t.panel : t.lanes / std::max(group_inputs, group_outputs);
  const Index sums = taps * group_inputs * s.co, pixels = s.n * s.od * s.oh * s.ow;
  split.panels = ceil_divide(s.groups, together);
  split.task_panels = std::max<Index>(1, split.panels);
  split.cols = std::max<Index>(1, s.ow);
  const Index wanted = std::clamp<Index>(pixels * sums / kTaskProducts, 1, kTasks);
  split.streams = s.layout == Layout::channels_last && s.n * s.id * s.ih * s.iw * s.ci + pixels * s.co > kCachedFloats;
  if (split.panels >= wanted && !split.streams) split.task_panels = ceil_divide(split.panels, wanted);
  // Blocks of whole tiles, so many that chunks are equal.
  split.rows = ceil_divide(ceil_divide(std::max<Index>(1, s.oh * s.n * s.od), 4 * wanted), kTileRows) * kTileRows;
  split.rows = std::min(split.rows, std::max<Index>(1, s.oh));
  const auto copied = [&] { return copy_floats(s, split, together * group_inputs, together * group_outputs); };
  while (copied() > kCopyFloats && (split.task_panels > 1 || split.rows > 1)) {
    if (split.task_panels > 1)
      split.task_panels = ceil_divide(split.task_panels, 2);
    else
      split.rows = ceil_divide(split.rows, 2);
  }
  count_tasks(s, split);
  const Index units = s.n * s.od * split.row_blocks * split.col_blocks;
  const Index panel_blocks = ceil_divide(split.panels, split.task_panels);
  const Index most = std::min({units, kSumFloats / std::max<Index>(1, sums), pixels / kChunkPixels});
  split.chunks = std::clamp<Index>(ceil_divide(wanted, panel_blocks), 1, std::max<Index>(1, most));
  split.tasks = split.chunks * panel_blocks;
  split.shared_floats = split.chunks * sums;
  split.scratch_floats = copied() + 16;
  return split;
}

}  // namespace tapwise
