// cost.cpp — a call's time: a fixed part, the longer of the busiest core's products and its weights' way, transforms,
// and what else moves over bandwidths.
//
// The numbers began as least squares over 57 layers (3x3, 5x5, 1x3 and 3x1; 3 to 1024 channels, maps of 4 to 224) on
// one and two cores of a Zen 5 with packed weights: off by 5 % rms for direct, 13 % for Winograd; docs/performance.md
// has the table. What concerns weights (kCached to kSpilled, kCacheBytes) and 2x2's transform was set from single
// layers since.
#include "cost.h"

#include <algorithm>
#include <cstring>

namespace tapwise {
namespace {

struct Costs {
  double flops;   // a second, of one core on long sums
  double start;   // a sum's start and end take as long as so many of its terms
  double narrow;  // factor where the outputs of a group fill one vector: a load feeds one multiply-add
};

Costs costs_of(const char* isa) {
  if (!std::strncmp(isa, "avx512", 6)) return {265e9, 11, 1.3};
  if (!std::strcmp(isa, "avx2")) return {130e9, 4, 1};
  return {55e9, 4, 1};
}

constexpr double kCall = 2.5e-6, kShared = 1.3e-6;     // seconds: a call from Python, its sharing out
constexpr double kRound = 1e-6;                        // a wait for all cores between Winograd's transform and products
constexpr double kCached = 250e9;                      // bytes a second of one core: weights from the L3, in part ahead
constexpr double kUncached = 50e9;                     // of all: weights from memory
constexpr double kPacked = 60e9, kTransformed = 50e9;  // of all: weights laid out in panels; of each: transformed
constexpr double kVector = 1e-9;                       // seconds for a vector of weights that a task transforms itself
constexpr double kMemory = 50e9;                       // of all: x and y
constexpr double kCacheBytes = 16e6;                   // half of a Zen 5's L3: a network's other layers want the rest
constexpr double kGathered = 2.4;                      // operations in the time that im2col copies a number
constexpr double kFilterStart = 32;                    // as start, where a sum is a filter's few taps
constexpr double kProductStart = 22;                   // as start, of the products of one frequency of Winograd's
constexpr double kGradientStart = 12;  // as start, in tiles, of a pass over the sums of Winograd's weight gradient
constexpr double kSums = 400e9;        // of all: sums that a thread reads and writes in its caches
constexpr double kGradientTransform[] = {2, 2.5, 10};
constexpr double kGatheredPixel = 400;  // multiply-adds in which x's channels past whole vectors are copied, a pixel
constexpr double kTransform[] = {2, 2.5, 3.1};  // multiply-adds a transformed number and axis, for tiles of 2, 4, 6

double real(Index i) {
  return static_cast<double>(i);
}

Index ceil_divide(Index a, Index b) {
  return (a + b - 1) / b;
}

// The busiest core's part of so many equal tasks.
double share(Index tasks, int cores) {
  tasks = std::max<Index>(1, tasks);
  return real(ceil_divide(tasks, cores)) / real(tasks);
}

// part: of the weights, what the busiest core reads; from memory they come no faster to two.
double weight_seconds(Index floats, double part) {
  const double bytes = 4 * real(floats);
  return bytes > kCacheBytes ? bytes / kUncached : part * bytes / kCached;
}

// x and y, where they don't stay in the cache.
double map_seconds(const Conv& s) {
  const double bytes = 4 * real(s.n * (s.ci * s.id * s.ih * s.iw + s.co * s.od * s.oh * s.ow));
  return bytes > kCacheBytes ? bytes / kMemory : 0;
}

double plain_seconds(const Conv& s, Pass pass, const Plan& p, const Table& t, int cores) {
  const Costs c = costs_of(t.isa);
  const bool filters = p.depthwise || p.grouped;
  const Index wide = pass == Pass::grad_input ? s.ci : s.co, to = wide / s.groups;
  const Index filled = filters ? ceil_divide(wide, t.lanes) * t.lanes : s.groups * ceil_divide(to, t.lanes) * t.lanes;
  const double outputs =
      real(s.n) * real(s.od * s.oh * s.ow) * real(filled) * (pass == Pass::grad_input ? real(s.co) / real(s.ci) : 1);
  const double terms = real(s.kd * s.kh * s.kw) * real(s.ci / s.groups);
  double work = outputs * (terms + (filters ? kFilterStart : c.start));
  if (!filters && to <= t.lanes) work *= c.narrow;
  if (p.algorithm == Algorithm::im2col) work += kGathered * real(s.n * s.od * s.oh * s.ow) * terms * real(s.groups);
  if (pass == Pass::grad_weight) work *= 1.15;
  return std::max(2 * work * share(p.split.tasks, cores) / c.flops, weight_seconds(p.split.shared_floats, 1)) +
         (p.split.tasks > 1 && cores > 1 ? kShared : 0);
}

double winograd_seconds(const Conv& s, const Plan& p, const Table& t, int cores) {
  const Costs c = costs_of(t.isa);
  const Tiling& g = p.tiling;
  const double elements = real(g.frequencies * g.tiles), part = share(p.split.tasks, cores);
  const double part_in = g.fused ? part : 1;
  const double ci = real(s.ci), channels = real(g.channels), phases = real(g.phases_h * g.phases_w),
               co = real(ceil_divide(s.co, t.lanes) * t.lanes);
  const double axes = s.kh == 1 || s.kw == 1 ? 1 : 2;
  const double products =
      part * real(g.products) * (ci + kProductStart / phases) * co * (s.co <= t.lanes ? c.narrow : 1);
  const double transforms = kTransform[s.kh * s.kw == 7 ? 2 : std::max(g.tile_h, g.tile_w) / 2 - 1] * axes * elements *
                            (part_in * channels + part * co);
  const double weights =
      weight_seconds(g.taps ? g.channels * s.co * g.taps_h * g.taps_w : g.packed_floats, g.fused ? 1 : part);
  double seconds = std::max(2 * products / c.flops, weights) + 2 * transforms / c.flops;
  if (g.taps) seconds += kVector * part * real(g.rounds * g.blocks * g.frequencies) * channels * co / real(t.lanes);
  if (g.fused) return seconds + (cores > 1 ? kShared : 0);
  if (cores > 1) seconds += (kShared + kRound) * real(g.rounds);
  return seconds;
}

double winograd_gradient_seconds(const Conv& s, const Plan& p, const Table& t, int cores) {
  const Costs c = costs_of(t.isa);
  const GradTiling& g = p.gradient;
  const double elements = real(g.x.frequencies * g.x.tiles), part = share(p.split.tasks, cores);
  const double ci = real(g.x.channels), co = real(ceil_divide(s.co, t.lanes) * t.lanes);
  const double axes = s.kh == 1 || s.kw == 1 ? 1 : 2, starts = kGradientStart * real(g.x.frequencies * g.x.rounds);
  const double products = (elements + starts) * ci * co * (s.co <= t.lanes ? c.narrow : 1);
  const double transform = kGradientTransform[std::max(g.x.tile_h, g.x.tile_w) / 2 - 1] * axes;
  const double v = transform * real(g.x.v_tile) + (s.ci % t.lanes ? kGatheredPixel : 0);
  const double dy = transform * co * part * real(g.splits);
  const double transforms =
      elements * (v * (g.fused ? part : real(g.groups)) + dy) + axes * part * real(g.x.frequencies) * ci * co;
  return 2 * (part * products + transforms) / c.flops + kShared * real(g.groups * (g.fused ? 1 : g.x.rounds)) +
         (g.at_once ? 0 : 8 * real(g.x.rounds) * real(g.sums_floats * g.groups) / kSums);
}

}  // namespace

double operations(const Conv& s) {
  return 2 * real(s.n) * real(s.od * s.oh * s.ow) * real(s.co) * real(s.kd * s.kh * s.kw) * real(s.ci / s.groups);
}

double packing_seconds(const Plan& p) {
  const bool transforms = p.packing == Packing::winograd && !p.tiling.taps;
  return 4 * real(p.split.shared_floats) / (transforms ? kTransformed : kPacked);
}

double expected_seconds(const Conv& s, Pass pass, const Plan& p, const Table& t, int cores) {
  if (pass == Pass::grad_weight && p.algorithm >= Algorithm::winograd)
    return kCall + winograd_gradient_seconds(s, p, t, cores) + map_seconds(s);
  const double work = p.packing == Packing::winograd ? winograd_seconds(p.turns ? turned(s).s : s, p, t, cores)
                                                     : plain_seconds(s, pass, p, t, cores);
  return kCall + work + map_seconds(s);
}

}  // namespace tapwise
