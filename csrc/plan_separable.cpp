// plan_separable.cpp — whether a depthwise convolution and the pointwise one behind it take one pass, and in what
// blocks.
#include <algorithm>

#include "plan.h"

namespace tapwise {
namespace {

constexpr Index kBlockPixels = 56;         // four register tiles
constexpr Index kBlockFloats = 96 * 1024;  // 384 KiB of a 1 MiB L2: the middle of a block
constexpr Index kTileRows = 2;             // see cpu/filter.h
constexpr Index kTasks = 8;                // enough that near-equal blocks needn't be an even number
constexpr Index kAliasedFloats = 512;      // pixels 2 KiB apart share few sets of a cache
constexpr Index kLineFloats = 16;
constexpr Index kFetchedFloats = 4 * 1024 * 1024;  // 16 MiB: a larger x is fetched ahead
constexpr Index kWeightFloats = 128 * 1024;        // 512 KiB, half of an L2: a block reads all of the pointwise weights

Index ceil_divide(Index a, Index b) {
  return (a + b - 1) / b;
}

Split split_separable(const Conv& s) {
  Split split{};
  split.chunks = 1;
  split.panels = split.task_panels = 1;
  split.copy_gap = ceil_divide(s.co, kLineFloats) * kLineFloats - s.co;
  if ((s.co + split.copy_gap) % kAliasedFloats == 0) split.copy_gap += kLineFloats;
  const Index pixel = s.co + split.copy_gap, pixels = std::max<Index>(1, kBlockFloats / pixel);
  const Index tile_rows = std::min(kTileRows, std::max<Index>(1, s.oh));
  // Rows of whole width, as many as hold some register tiles.
  split.cols = std::clamp<Index>(s.ow, 1, std::max<Index>(1, std::min(pixels, 4 * kBlockPixels) / tile_rows));
  split.col_blocks = ceil_divide(s.ow, split.cols);
  split.cols = ceil_divide(std::max<Index>(1, s.ow), std::max<Index>(1, split.col_blocks));
  const Index units = s.n * s.od * split.col_blocks;
  Index rows = std::max(tile_rows, std::min(pixels, kBlockPixels) / split.cols);
  split.row_blocks = std::max<Index>(1, s.oh / rows);
  if (units * split.row_blocks < kTasks) {
    split.row_blocks = std::max<Index>(1, s.oh / tile_rows);
    if (split.row_blocks > 1 && units * split.row_blocks < kTasks) split.row_blocks -= split.row_blocks % 2;
  }
  split.rows = ceil_divide(std::max<Index>(1, s.oh), split.row_blocks);
  split.tasks = s.oh > 0 ? units * split.row_blocks : 0;
  split.scratch_floats = split.rows * split.cols * pixel + kLineFloats;
  split.streams = s.n * s.id * s.ih * s.iw * s.ci > kFetchedFloats;
  return split;
}

}  // namespace

SeparablePlan plan_separable(const Conv& depthwise, const Conv& pointwise, const Table& t) {
  const Choice direct = {Algorithm::direct};
  const Plan first = plan_conv(depthwise, Pass::forward, direct, t);
  const Plan second = plan_conv(pointwise, Pass::forward, direct, t);
  if (depthwise.layout != Layout::channels_last)
    return {false, {}, "planes: a block's pixels have no contiguous channels"};
  if (!first.depthwise) return {false, {}, "the first convolution has several filters a channel"};
  if (pointwise.groups > 1 || second.split.dot) return {false, {}, "the second convolution has groups or few outputs"};
  if (pointwise.ci * pointwise.co > kWeightFloats)
    return {false, {}, "the second convolution's weights exceed half of the L2, and each block would read them all"};
  Split split = split_separable(depthwise);
  split.shared_floats = first.split.shared_floats + second.split.shared_floats;
  return {true, split, "what lies between stays in the cache"};
}

}  // namespace tapwise
