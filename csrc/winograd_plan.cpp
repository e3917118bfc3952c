#include "winograd_plan.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>

#include "scratch.h"

namespace tapwise {
namespace {

constexpr Index kBlockFloats = 160 * 1024;    // 640 KiB of a 1 MiB L2: a task's v and m, while u streams past
constexpr Index kRoundFloats = 1024 * 1024;   // 4 MiB: v of the tiles that a thread transforms first
constexpr Index kFusedBlocks = 4;             // fewer are shared out by output channels instead
constexpr Index kProductFloats = 80 * 1024;   // 320 KiB: m of a task's share of a round
constexpr Index kWeightFloats = 64 * 1024;    // 256 KiB: two rows of u of the channels that a task transforms
constexpr Index kInPlaceTiles = 128;          // transforming weights twice costs less than passing them between cores
constexpr Index kGatheredOutputs = 64;        // whose taps in place a task gathers together, 256 bytes of a row each
constexpr Index kGatheredFloats = 72 * 1024;  // 288 KiB: those taps, of a part of the channels
constexpr Index kRoundTasks = 4, kFewTiles = 4;  // fewer tasks are cut further, unless their tiles are few too
constexpr Index kManyBlocks = 64;  // from here on a task takes kTaskBlocks and prefetches the next one's x
constexpr Index kTaskBlocks = 4;
constexpr Index kPhaseChannels = 16;             // of which there are whole vectors
constexpr Index kPhaseTaps = 3, kMostTaps = 31;  // of a long kernel: those of a phase, and all
constexpr Index kAlias = 512, kPad = 16;         // floats: steps of multiples of 2 KiB would share few cache sets

constexpr Index kCacheBytes = 20 << 20;  // 2/3 of an L3: u that is larger is kept as taps

Index ceil_divide(Index a, Index b) {
  return (a + b - 1) / b;
}

// Pieces of at most `largest` that share out `total` evenly.
Index even(Index total, Index largest) {
  return total > 0 ? ceil_divide(total, ceil_divide(total, largest)) : largest;
}

bool on_one_axis(const Conv& s) {
  return s.kh == 1 || s.kw == 1;
}

// Whether so many taps are phases of kPhaseTaps: no line has 7 points, or more than 8.
bool is_long(Index taps) {
  return taps == 6 || taps > 7;
}

Index count_phases(Index taps, Index stride) {
  return is_long(taps) ? ceil_divide(taps, kPhaseTaps) : stride;
}

Index taps_of_phase(Index taps, Index stride) {
  return is_long(taps) ? kPhaseTaps : ceil_divide(taps, stride);
}

// Of a task, at most, where v is a round's.
Index block_tiles(const Tiling& g, const Table& t) {
  return std::max(t.tile_pixels, kProductFloats / (g.frequencies * t.panel));
}

// v of a round in each thread, its output channels shared out.
void cut_rounds(Tiling& g, Index parts, Index rounds, const Table& t) {
  g.fused = false;
  g.task_blocks = 1;
  g.rounds = std::max(rounds, ceil_divide(g.tiles * parts * g.v_tile * g.frequencies, kRoundFloats));
  const Index tiles = ceil_divide(g.tiles, g.rounds);
  const Index least = std::min(ceil_divide(kRoundTasks, ceil_divide(g.panels, g.task_panels)), tiles / kFewTiles);
  g.blocks = std::max<Index>({1, least, ceil_divide(tiles, block_tiles(g, t))});
}

// Whose u is kept, and where it is transformed.
void cut_weights(Tiling& g, const Conv& s, bool packed, const Table& t) {
  const Index size_w = g.tile_w + g.taps_w - 1, whole = g.panels * g.frequencies * (g.channels * t.panel + kPad);
  const bool spills = whole * static_cast<Index>(sizeof(float)) >= kCacheBytes;
  g.taps_in_place = !packed && g.tiles <= kInPlaceTiles;
  g.taps = g.taps_in_place || spills;
  g.task_panels = 1;
  if (g.taps_in_place) {
    const Index m = g.frequencies * std::min(g.tiles, block_tiles(g, t)) * t.panel;
    g.task_panels = std::clamp<Index>(std::min(kGatheredOutputs / t.panel, kProductFloats / std::max<Index>(1, m)), 1,
                                      std::max<Index>(1, g.panels / kRoundTasks));
  }
  Index most = g.taps ? std::max(t.lanes, kWeightFloats / (2 * size_w * t.panel)) : std::max<Index>(1, g.channels);
  if (g.task_panels > 1)
    most = std::clamp(kGatheredFloats / (g.taps_h * g.taps_w * g.task_panels * t.panel), t.lanes, most);
  const Index together = g.taps ? s.ci : g.channels;  // a part that is transformed by itself is of one phase
  g.task_channels = ceil_divide(even(together, most), t.lanes) * t.lanes;
  while (g.channels > s.ci && together % g.task_channels > 0) g.task_channels -= t.lanes;
  g.u_frequency = (g.taps ? g.task_channels : g.channels) * t.panel + kPad;
  g.packed_floats = g.taps_in_place ? 0 : spills ? g.panels * g.channels * g.taps_h * g.taps_w * t.panel : whole;
}

// The points of a last tile of so many outputs, one bit each; see cpu/winograd.h.
Index last_points(Index outputs, Index tile, Index points) {
  const Index all = (1 << points) - 1, infinity = 1 << (points - 1);
  if (outputs == tile) return all;
  const Index few = tile == 4 ? 2 : tile == 5 ? 3 : 0;
  if (outputs <= few) return outputs == few ? 0b111 | infinity : 0b111;
  return all & ~infinity;
}

Index count(Index bits) {
  return std::popcount(static_cast<std::uint64_t>(bits));
}

// Last tiles of fewer outputs take fewer products.
void cut_last(Tiling& g, const Conv& s, Index points_h, Index points_w) {
  g.last_h = s.oh - (g.rows - 1) * g.tile_h;
  g.last_w = s.ow - (g.cols - 1) * g.tile_w;
  g.points_w = points_w;
  g.last_points_h = last_points(g.last_h, g.tile_h, points_h);
  g.last_points_w = last_points(g.last_w, g.tile_w, points_w);
  const auto products = [](Index tiles, Index points, Index last, Index phases, bool is_short) {
    const Index infinity = 1 << (points - 1), odd = is_short ? tiles - 1 + (last & infinity ? 1 : 0) : 0;
    return phases * ((tiles - 1) * points + count(last)) - odd;
  };
  g.products = s.n * products(g.rows, points_h, g.last_points_h, g.phases_h, g.short_h) *
               products(g.cols, points_w, g.last_points_w, g.phases_w, g.short_w);
}

// In `rounds` at least, each thread transforms all tiles of one; in 1 they may be fused.
Tiling cut_tiles(const Conv& s, Index tile, bool packed, Index rounds, const Table& t) {
  Tiling g = phases_of(s, tile);
  const Index size_h = g.tile_h + g.taps_h - 1, size_w = g.tile_w + g.taps_w - 1;
  g.rows = ceil_divide(s.oh, g.tile_h);
  g.cols = ceil_divide(s.ow, g.tile_w);
  g.tiles = s.n * g.rows * g.cols;
  cut_last(g, s, size_h, size_w);
  g.panels = ceil_divide(s.co, t.panel);

  g.rounds = 1;
  g.blocks = ceil_divide(g.tiles, t.tile_pixels);
  g.task_blocks = g.blocks >= kManyBlocks ? kTaskBlocks : 1;
  cut_weights(g, s, packed, t);
  g.v_tile = g.task_channels % kAlias == 0 ? g.task_channels + kPad : g.task_channels;
  const Index parts = ceil_divide(g.channels, g.task_channels);
  g.fused = rounds == 1 && !g.taps && g.blocks >= kFusedBlocks &&
            g.frequencies * t.tile_pixels * (g.v_tile + t.panel) <= kBlockFloats;
  if (g.fused)
    g.task_panels = g.panels;
  else
    cut_rounds(g, parts, rounds, t);

  const Index round_tiles = ceil_divide(g.tiles, g.rounds);
  const Index block_tiles = ceil_divide(round_tiles, std::max<Index>(1, g.blocks));
  g.v_frequency = (g.fused ? block_tiles : round_tiles) * g.v_tile + kPad;
  g.m_frequency = block_tiles * t.panel + kPad;
  g.v_part = g.frequencies * g.v_frequency;
  g.v_floats = parts * g.v_part;
  const Index run_w = std::min(g.fused ? block_tiles : round_tiles, g.cols) * g.tile_w;
  const Index rows_in = size_h * s.sh + (g.phases_h - 1) * g.phase_step;
  const Index cols_in = (run_w + g.taps_w - 1) * s.sw + (g.phases_w - 1) * g.phase_step;
  const Index strip_in = rows_in * cols_in * t.lanes + s.ci;  // s.ci: zeros outside x
  const Index strip_out = 2 * g.tile_h * run_w * t.lanes;
  const Index together = g.taps_in_place ? g.task_panels : 1;
  const Index weights = 2 * size_w * g.u_frequency + together * g.task_channels * g.taps_h * g.taps_w * t.panel;
  g.scratch_floats = (g.fused ? g.v_floats : 0) + together * g.frequencies * g.m_frequency +
                     std::max({strip_in, strip_out, g.taps ? weights : 0}) + kPad;
  return g;
}

const char* strided_refusal(const Conv& s, Index tile) {
  if (s.sh != 2 || s.sw != 2 || s.kh != 3 || s.kw != 3) return "strides must be 1, or both 2 for a 3x3 kernel";
  if (tile == 6) return "strides of 2 have tiles of 3x3 (winograd-2x2) and 5x5 (winograd-4x4) alone";
  if (s.dil_h != 1 || s.dil_w != 1) return "dilation must be 1";
  return s.ci % kPhaseChannels == 0 ? nullptr : "strides of 2 need input channels in multiples of 16";
}

}  // namespace

Tiling phases_of(const Conv& s, Index tile) {
  Tiling g{};
  g.tile_h = s.kh == 1 ? 1 : tile + s.sh - 1;  // F(3, 2) of a phase has as many points as F(2, 3)
  g.tile_w = s.kw == 1 ? 1 : tile + s.sw - 1;
  g.phases_h = count_phases(s.kh, s.sh), g.phases_w = count_phases(s.kw, s.sw);
  g.phase_step = is_long(std::max(s.kh, s.kw)) ? kPhaseTaps : 1;
  g.channels = s.ci * g.phases_h * g.phases_w;
  g.taps_h = taps_of_phase(s.kh, s.sh), g.taps_w = taps_of_phase(s.kw, s.sw);
  g.short_h = s.kh % s.sh != 0, g.short_w = s.kw % s.sw != 0;
  g.frequencies = (g.tile_h + g.taps_h - 1) * (g.tile_w + g.taps_w - 1);
  return g;
}

Turned turned(const Conv& s) {
  Conv t = s;
  std::swap(t.ci, t.co), std::swap(t.w_ci, t.w_co);
  std::swap(t.id, t.od), std::swap(t.ih, t.oh), std::swap(t.iw, t.ow);
  t.pt = s.kh - 1 - s.pt, t.pl = s.kw - 1 - s.pl;
  t.w_h = -s.w_h, t.w_w = -s.w_w;
  return {t, (s.kh - 1) * s.w_h + (s.kw - 1) * s.w_w};
}

const char* winograd_refusal(const Conv& s, Index tile) {
  if (s.id != 1 || s.od != 1 || s.kd != 1) return "it has one or two spatial dimensions";
  if (s.groups != 1) return "groups must be 1";
  if (s.sh != 1 || s.sw != 1) return strided_refusal(s, tile);
  if ((s.dil_h != 1 && s.kh > 1) || (s.dil_w != 1 && s.kw > 1)) return "dilation must be 1";
  const Index taps = std::max(s.kh, s.kw);
  if (on_one_axis(s) && is_long(taps) && taps <= kMostTaps)
    return s.ci % kPhaseChannels == 0 ? nullptr : "6, or more than 7, taps need input channels in multiples of 16";
  if ((s.kh != taps && s.kh != 1) || (s.kw != taps && s.kw != 1) || (taps != 3 && taps != 5 && taps != 7))
    return "the kernel must have 3, 5 or 7 taps on each axis, or 1 on one of them and 3 or 5 to 31 on the other";
  if (taps == 7 && !on_one_axis(s)) return "7 taps must be on one axis";
  if (taps > 3 && tile != 2) return "5 and 7 taps have tiles of 2 outputs alone";
  return nullptr;
}

bool winograd_is_accurate(const Conv& s, Index tile) {
  // Measured, 4x4: 2.4 to 3.3 times with 7 channels, 4.0 with 4, 5.0 with 1. 6 on one axis: 2.9 with 64, 4.1 with 16
  // where multiply-adds round twice.
  if (s.sh == 2) return tile == 2;  // else 4.1 to 4.7 times, with 16 to 128 channels
  if (tile == 6) return on_one_axis(s) && s.ci >= 32;
  if (std::max(s.kh, s.kw) == 7) return s.ci >= 8;
  return tile == 2 || s.ci >= 6;
}

Index winograd_workspace(const Tiling& g) {
  return g.scratch_floats + (g.fused ? 0 : g.v_floats);
}

Tiling tile_winograd(const Conv& s, Index tile, bool packed, const Table& t) {
  Tiling g = cut_tiles(s, tile, packed, 1, t);
  for (Index rounds = 2; winograd_workspace(g) > workspace_floats() && g.rounds < g.tiles; rounds *= 2)
    g = cut_tiles(s, tile, packed, std::min(rounds, g.tiles), t);
  return g;
}

Index output_tasks(const Tiling& g) {
  return g.blocks * ceil_divide(g.panels, g.task_panels);
}

}  // namespace tapwise
