// winograd_gradient_plan.cpp — decision 2 for Winograd's weight gradient: how it is cut.
#include <algorithm>

#include "scratch.h"
#include "winograd_plan.h"

namespace tapwise {
namespace {

constexpr Index kOnceFloats = 2560 * 1024;   // 10 MiB: v and g of all tiles, where dw is made of them at once
constexpr Index kRoundFloats = 1024 * 1024;  // 4 MiB: those of a round
constexpr Index kSumFloats = 4096 * 1024;    // 16 MiB: sums that all rounds add to, of a group or of all chunks
constexpr Index kFusedFloats = 640 * 1024;   // 2.5 MiB: sums of a chunk, which a thread adds to again and again
constexpr Index kBlockFloats = 128 * 1024;   // 512 KiB of a 1 MiB L2: v and g of a fused round
constexpr Index kLeastTiles = 28;            // of it, so that loading and storing the sums doesn't outweigh
constexpr Index kChunks = 16;
constexpr Index kWidestPanel = 32;
constexpr Index kTasks = 4;               // at least: then panels are split, and each part transforms dy
constexpr Index kAlias = 512, kPad = 16;  // floats: steps of multiples of 2 KiB would share few cache sets

Index ceil_divide(Index a, Index b) {
  return (a + b - 1) / b;
}

Index padded(Index channels) {
  return channels % kAlias == 0 ? channels + kPad : channels;
}

}  // namespace

bool winograd_gradient_fits(const Conv& s, Index tile) {
  const Tiling g = phases_of(s, tile);
  return g.frequencies * g.channels * kWidestPanel <= std::min(kSumFloats, workspace_floats());
}

bool winograd_gradient_is_accurate(const Conv& s, Index tile) {
  // The transforms' error stays as it is while that of a left-to-right sum grows with the pixels. Measured on two axes,
  // times that sum's: 4x4 6.7 with 16 pixels, 3.1 with 64; 6x6 5.4 with 3,136, 1.1 with 50,176; 5x5 5.7 with 64, 3.8
  // with 196, 1.3 with 3,136. On one axis: 6x6 3.9 with 16, 9 taps 4.9 with 64, the others less.
  const Index pixels = s.n * s.oh * s.ow;
  if (s.kh * s.kw == 7) return pixels >= 256;
  if (s.kh == 1 || s.kw == 1) return tile < 6 || pixels >= (s.kh * s.kw > 5 ? 256 : 64);
  if (s.kh == 5) return pixels >= 256;
  return pixels >= (tile == 2 ? 0 : tile == 4 ? 64 : 8192);
}

GradTiling tile_winograd_gradient(const Conv& s, Index tile, const Table& t) {
  GradTiling g{};
  g.x = tile_winograd(s, tile, true, t);
  g.x.fused = g.x.taps = false;
  g.x.last_h = g.x.tile_h, g.x.last_w = g.x.tile_w;  // all tiles alike
  g.x.task_channels = ceil_divide(g.x.channels, t.lanes) * t.lanes;
  g.x.v_tile = padded(g.x.task_channels);
  g.x.rounds = g.groups = g.chunks = g.splits = 1;
  g.g_tile = s.co <= t.lanes ? t.lanes : t.panel;
  g.blocks = ceil_divide(g.x.channels, 2 * t.tile_pixels);
  g.sums_block = g.x.frequencies * ceil_divide(g.x.channels, g.blocks) * t.panel;
  const Index sums = g.x.panels * g.blocks * g.sums_block, tile_floats = g.x.frequencies * (g.x.v_tile + g.g_tile);

  const Index room = workspace_floats(), sums_room = std::min(kSumFloats, room);
  const Index own = std::max(std::min(kLeastTiles, room / 2 / tile_floats), kBlockFloats / tile_floats);
  const Index chunks = std::min({kChunks, sums_room / sums, g.x.tiles / (2 * std::max<Index>(1, own))});
  g.fused = sums <= kFusedFloats && chunks > 1 && own > 0;
  g.at_once = !g.fused && g.x.tiles * tile_floats <= std::min(kOnceFloats, room / 2);
  if (g.fused) {
    g.chunks = chunks % 2 ? chunks - 1 : chunks;
    g.x.rounds = ceil_divide(ceil_divide(g.x.tiles, own), g.chunks) * g.chunks;
    g.sums_floats = sums;
  } else {
    g.splits = std::clamp<Index>(ceil_divide(kTasks, g.x.panels), 1, g.blocks);
  }
  if (!g.fused && !g.at_once) {
    g.groups = std::min(g.x.panels, ceil_divide(sums, sums_room));
    g.x.rounds = std::max<Index>(1, ceil_divide(g.x.tiles * tile_floats, std::min(kRoundFloats, room / 2)));
    g.sums_floats = ceil_divide(g.x.panels, g.groups) * g.blocks * g.sums_block;
  }

  const Index tiles = ceil_divide(g.x.tiles, g.x.rounds);
  g.x.v_frequency = tiles * g.x.v_tile + kPad;
  g.x.v_part = g.x.v_floats = g.x.frequencies * g.x.v_frequency;
  g.g_frequency = tiles * g.g_tile + kPad;
  g.g_floats = g.x.frequencies * g.g_frequency;
  const Index h = g.x.tile_h + g.x.phases_h * g.x.taps_h - 1;
  const Index w = std::min(tiles, g.x.cols) * g.x.tile_w + g.x.phases_w * g.x.taps_w - 1;
  g.strip_floats = ceil_divide(std::max(h * w * t.lanes + s.ci, g.at_once ? g.sums_block : 0), kPad) * kPad;
  g.scratch_floats = g.strip_floats + g.g_floats;
  return g;
}

}  // namespace tapwise
