// plan_gradients.cpp — how a weight gradient is cut into tasks: chunks of the pixels, whose sums are private, and
// panels of output channels.
#include <algorithm>

#include "plan.h"

namespace tapwise {
namespace {

constexpr Index kBatchPixels = 448;            // a register tile's start and end take as long as 8 of its pixels
constexpr Index kBatchFloats = 160 * 1024;     // 640 KiB of a 1 MiB L2: x and dy of a batch, read for every tap
constexpr Index kLeastPixels = 200;            // of a batch whose x and dy should stay within it
constexpr Index kCopyFloats = 1024 * 1024;     // 4 MiB: a task's copies
constexpr Index kSumFloats = 4 * 1024 * 1024;  // 16 MiB: all private sums
constexpr Index kChunkPixels = 784;            // fewer take no longer than to add their sums up afterwards
constexpr Index kAliasedFloats = 512;          // pixels 2 KiB apart share few sets of a cache
constexpr Index kGapFloats = 16;
constexpr Index kMergedChannels = 8;      // fewer fill less than half of a register tile
constexpr Index kTasks = 16;              // enough for 4 threads with 4 tasks each
constexpr Index kTaskProducts = 200'000;  // about 5 us of one core: less isn't worth handing over
constexpr Index kSourceFloats = 32;       // a block of a batch, see cpu/direct_grad_weight.cpp

Index ceil_divide(Index a, Index b) {
  return (a + b - 1) / b;
}

Index touched(Index in, Index k, Index stride, Index dilation, Index outputs) {
  return std::min(in, (outputs - 1) * stride + (k - 1) * dilation + 1);
}

// Floats of x that a task reads for a block.
Index x_floats(const Conv& s, const Split& split, Index channels) {
  return touched(s.id, s.kd, s.sd, s.dil_d, 1) * touched(s.ih, s.kh, s.sh, s.dil_h, split.rows) *
         (split.merged ? (split.cols - 1) * s.sw + s.kw : touched(s.iw, s.kw, s.sw, s.dil_w, split.cols)) * channels;
}

}  // namespace

Split split_pixels(const Conv& s, const Table& t) {
  Split split{};
  const Index to = s.co / s.groups, from = s.ci / s.groups, group_panels = ceil_divide(to, t.panel);
  const bool planes = s.layout == Layout::channels_first;
  split.panels = s.groups * group_panels;
  const Index sums = s.kd * s.kh * s.kw * from * s.co, pixels = s.n * s.od * s.oh * s.ow;
  const Index wanted = std::clamp<Index>(pixels * sums / kTaskProducts, 1, kTasks);
  split.chunks = std::max<Index>(1, std::min({wanted, pixels / kChunkPixels, kSumFloats / std::max<Index>(1, sums)}));
  split.task_panels = std::max<Index>(1, split.panels);
  split.from_parts = 1;
  split.merged = from < kMergedChannels && s.groups == 1 && s.dil_w == 1;
  // Parts of the larger side: what a task reads for a pixel is small, and read by few other tasks.
  const auto share = [&] { return ceil_divide(from, split.from_parts); };
  const auto outputs_of = [&] { return std::min(s.co, split.task_panels * t.panel); };
  const auto parts = [&] { return split.chunks * split.from_parts * ceil_divide(split.panels, split.task_panels); };
  while (parts() < wanted || share() + outputs_of() > kBatchFloats / kLeastPixels) {
    const bool inputs = s.groups == 1 && !split.merged && share() > 2 * t.tile_pixels;
    if (inputs && (share() >= 2 * outputs_of() || split.task_panels == 1))
      split.from_parts *= 2;
    else if (split.task_panels > 1)
      split.task_panels = ceil_divide(split.task_panels, 2);
    else
      break;
  }
  const Index channels =
      s.groups == 1 ? share()
                    : std::min(s.groups, (split.task_panels - 1) / std::max<Index>(1, group_panels) + 2) * from;
  const Index outputs = outputs_of();

  split.copies = planes || split.merged || (from % kAliasedFloats == 0 && s.sh * s.sw == 1);
  split.copies_dy = planes;
  split.copy_gap = from % kAliasedFloats == 0 ? kGapFloats : 0;
  const Index columns = std::max<Index>(1, s.ow);
  split.cols = ceil_divide(columns, ceil_divide(columns, kBatchPixels));
  const auto floats = [&] { return x_floats(s, split, channels + split.copy_gap) + split.rows * split.cols * outputs; };
  split.rows = 1;
  while (split.rows < s.oh && (split.rows + 1) * split.cols <= (split.merged ? 2 : 1) * kBatchPixels &&
         floats() < kBatchFloats)
    ++split.rows;
  while (split.rows == 1 && split.cols > kLeastPixels && floats() > kBatchFloats)
    split.cols = ceil_divide(columns, ceil_divide(columns, split.cols) + 1);
  while (split.cols > 1 && floats() > kCopyFloats) split.cols = ceil_divide(split.cols, 2);
  split.rows = ceil_divide(std::max<Index>(1, s.oh), ceil_divide(std::max<Index>(1, s.oh), split.rows));
  split.row_blocks = ceil_divide(s.oh, split.rows);
  split.col_blocks = ceil_divide(s.ow, split.cols);
  const Index units = s.n * s.od * split.row_blocks * split.col_blocks;
  split.batch =
      std::clamp<Index>(std::min(kBatchPixels / (split.rows * split.cols), split.merged ? 1 : kBatchFloats / floats()),
                        1, std::max<Index>(1, units / split.chunks));
  split.tasks = parts();
  split.shared_floats = split.chunks * sums;
  const Index pairs = ceil_divide(split.batch * split.rows * split.cols, 16) * 16;
  split.scratch_floats = 4 * pairs + split.batch * kSourceFloats + 64;
  if (split.copies) split.scratch_floats += split.batch * x_floats(s, split, channels + split.copy_gap);
  if (split.copies_dy) split.scratch_floats += split.batch * split.rows * split.cols * split.task_panels * t.panel;
  return split;
}

}  // namespace tapwise
