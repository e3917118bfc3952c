// cost.cu — a call's time is the sum over its launches of a fixed part and the longest of the busiest multiprocessor's
// multiply-adds, its reads of the L2 and what all move from and to memory.
//
// Multiply-adds of a multiprocessor: one instruction of four warps a cycle, times the share of them that multiply in
// the kernel's main loop (docs/cuda.md, of sm_80's machine code), and no more than it has lanes. Tiles are paid for
// whole, and so are blocks: the busiest multiprocessor's count.
#include <algorithm>

#include "conv.h"
#include "cost.h"

namespace tapwise::cuda {
namespace {

// Assumed, until they are measured.
constexpr double kLaunch = 3e-6;     // seconds, one after the other on a stream
constexpr double kHeld = 0.85;       // of the computed rates, by kernels that never wait for each other
constexpr double kCachedBytes = 32;  // a cycle and multiprocessor, from the L2
constexpr double kFullWarps = 12;    // of a multiprocessor, with 16 to 64 independent sums a thread
constexpr double kStart = 24;        // terms in whose time a block fills its stages, and stores its sums
constexpr double kDirect = 16;       // multiply-adds a cycle that load both factors: two loads of a warp each
constexpr double kScattered = 2;     // the same of a weight's pixels, each in another line of the cache
constexpr double kTermCycles = 12;   // of one thread's chain of such
constexpr double kFilters = 0.2;     // multiply-adds of depthwise's instructions
constexpr double kUnknownHz = 1.5e9, kUnknownBytes = 5e11;  // where the driver doesn't tell

double real(Index i) {
  return static_cast<double>(i);
}

struct Rates {
  double hz, lanes, tensor_lanes;  // lanes: multiply-adds a cycle of a multiprocessor
  double bytes;                    // a second, of the memory
};

// Lanes: CUDA C++ Programming Guide, "Arithmetic Instructions"; of TF32 by the peaks of NVIDIA's data sheets.
Rates rates_of(const Device& d) {
  const bool data_center = d.minor == 0 && d.major < 12;
  const double lanes = d.major < 8 || (d.major == 8 && d.minor == 0) ? 64 : 128;
  const double tensor = d.major < 8 || !data_center ? 128 : d.major == 8 ? 512 : 1024;
  const double bytes = 2e3 * d.memory_khz * d.memory_bits / 8;
  return {d.clock_khz > 0 ? 1e3 * d.clock_khz : kUnknownHz, lanes, tensor, bytes > 0 ? bytes : kUnknownBytes};
}

// By rows of a tile: 16, 32, 64, 128. Of TF32 an instruction of a warp is 32 times as many multiply-adds.
struct Shares {
  double of_tile[4];
};
constexpr Shares kProduct{{0.29, 0.31, 0.31, 0.63}}, kScalars{{0.20, 0.25, 0.29, 0.29}},
    kGradient{{0.20, 0.29, 0.37, 0.60}}, kFrequency{{0.58, 0.62, 0.61, 0.81}}, kFused{{0.20, 0.60, 0.60, 0.60}},
    kTensor{{0.02, 0.07, 0.07, 0.07}}, kTensorGradient{{0.03, 0.09, 0.09, 0.09}};
constexpr double kTensorProducts = 32;

// A launch of blocks that multiply tiles.
struct Launch {
  Index blocks;
  double products, cached_bytes;  // of one: multiply-adds, reads of the L2
  int warps, shared_bytes;        // of one
  double rate;                    // multiply-adds a cycle of a full multiprocessor
};

double memory_seconds(double bytes, const Rates& r) {
  return bytes / (kHeld * r.bytes);
}

double seconds_of(const Launch& l, double bytes, const Device& d) {
  const Rates r = rates_of(d);
  const double most = real(ceil_div(l.blocks, d.units));
  const double resident = std::max<double>(1, std::min(most, real(d.shared_bytes / std::max(l.shared_bytes, 1))));
  const double fill = std::min(1.0, resident * l.warps / kFullWarps);
  const double cycles = most * std::max(l.products / (kHeld * l.rate * fill), l.cached_bytes / kCachedBytes);
  return kLaunch + std::max(cycles / r.hz, memory_seconds(bytes, r));
}

double copy_seconds(double bytes, const Device& d) {
  return kLaunch + memory_seconds(bytes, rates_of(d));
}

double input_bytes(const Conv& s) {
  return 4 * real(s.n * s.ci * s.id * s.ih * s.iw);
}
double output_bytes(const Conv& s) {
  return 4 * real(s.n * s.co * s.od * s.oh * s.ow);
}
double weight_bytes(const Conv& s) {
  return 4 * real(s.kd * s.kh * s.kw * (s.ci / s.groups) * s.co);
}
double all_bytes(const Conv& s) {
  return input_bytes(s) + output_bytes(s) + weight_bytes(s);
}

int warps_of(int rows) {
  return rows >= 64 ? 8 : rows == 32 ? 2 : 1;
}

// rows x columns of a product, `depth` terms each; three stages of eight in shared memory.
Launch product(Index blocks, int rows, int columns, double depth, double share, double lanes) {
  const double area = real(rows) * columns;
  return {blocks,         area * (depth + kStart), 4.0 * (rows + columns) * depth,
          warps_of(rows), 96 * (rows + columns),   std::min(lanes, 128 * share)};
}

double share_of(const Shares& s, int rows) {
  return s.of_tile[rows == 16 ? 0 : rows == 32 ? 1 : rows == 64 ? 2 : 3];
}

// Launches that look for infinite factors, and the one that has nothing to do where there are none.
double guard_seconds(const Conv& s, Pass pass, const Device& d) {
  const double looked_at = pass == Pass::grad_weight ? output_bytes(s) : weight_bytes(s);
  return meets_padding(s, pass) ? copy_seconds(looked_at, d) + kLaunch : 0;
}

// Multiply-adds a cycle of tensor cores.
double tensor_rate(const Shares& shares, int rows, const Device& d) {
  return std::min(rates_of(d).tensor_lanes, 128 * kTensorProducts * share_of(shares, rows));
}

// Of an array whose channels tensor cores want last, in fours.
double padding_seconds(const Conv& s, Index channels, double bytes, const Device& d) {
  return s.layout == Layout::channels_last && channels / s.groups % 4 == 0 ? 0 : copy_seconds(2 * bytes, d);
}

double im2col_gradient_seconds(const Conv& s, const Plan& p, const Device& d) {
  const Index pixels = s.n * s.od * s.oh * s.ow;
  const Index weights = p.tf32 ? tensor_partial_floats<float>(s, p.rows) : im2col_partial_floats(s, p.rows);
  const double splits = std::max(1.0, 4 * real(weights) / std::max(4.0, weight_bytes(s)));
  Launch l = product(p.blocks * static_cast<Index>(splits), p.rows, p.columns, real(pixels) / splits,
                     share_of(kGradient, p.rows), rates_of(d).lanes);
  double padding = 0;
  if (p.tf32) {
    l.rate = tensor_rate(kTensorGradient, p.rows, d);
    padding = padding_seconds(s, s.ci, input_bytes(s), d) + padding_seconds(s, s.co, output_bytes(s), d);
  }
  return padding + seconds_of(l, all_bytes(s), d) + copy_seconds((splits + 1) * weight_bytes(s), d);
}

double im2col_seconds(const Conv& s, Pass pass, const Plan& p, const Device& d) {
  if (pass == Pass::grad_weight) return im2col_gradient_seconds(s, p, d);
  const Rates r = rates_of(d);
  const bool backward = pass == Pass::grad_input, last = s.layout == Layout::channels_last;
  const Index from = backward ? s.co : s.ci, walks = backward ? phases(s) : 1;
  const double depth = real(s.kd * s.kh * s.kw * (from / s.groups)) / real(walks);
  const bool fours = takes_fours(s, pass);
  Launch l = product(p.blocks, p.rows, p.columns, depth, share_of(fours ? kProduct : kScalars, p.rows), r.lanes);
  const double packing = backward || !last || p.tf32 ? copy_seconds(2 * weight_bytes(s) / real(walks), d) : 0;
  double padding = 0;
  if (p.tf32) {
    l.rate = tensor_rate(kTensor, p.rows, d);
    padding = padding_seconds(s, from, backward ? output_bytes(s) : input_bytes(s), d);
  }
  return padding + real(walks) * (packing + seconds_of(l, all_bytes(s) / real(walks), d));
}

double direct_seconds(const Conv& s, Pass pass, const Device& d) {
  const Rates r = rates_of(d);
  const double terms = real(s.kd * s.kh * s.kw * (s.ci / s.groups));
  const double products = operations(s) / 2, memory = memory_seconds(all_bytes(s), r);
  if (is_depthwise(s)) {
    const double cycles = products / (kHeld * 128 * kFilters * d.units);
    return (pass == Pass::grad_weight ? 2 : 1) * kLaunch + std::max(cycles / r.hz, memory);
  }
  if (pass == Pass::grad_weight) {  // a block a weight
    const double most = real(ceil_div(s.co * static_cast<Index>(terms), d.units));
    return kLaunch + std::max(most * real(s.n * s.od * s.oh * s.ow) / kScattered / r.hz, memory);
  }
  const Index outputs = pass == Pass::forward ? s.n * s.co * s.od * s.oh * s.ow : s.n * s.ci * s.id * s.ih * s.iw;
  const double walks = pass == Pass::forward ? 1 : real(phases(s)), depth = products / std::max(1.0, real(outputs));
  const double busiest = real(ceil_div(ceil_div(outputs, 256), d.units)) * 256 * depth / kDirect;
  return walks * kLaunch + std::max(std::max(busiest, depth * kTermCycles) / r.hz, memory);
}

// 2x2 of the forward pass and the input gradient: two launches, patches are transformed on the way.
double fused_seconds(const WinogradWork& w, const Conv& s, const Plan& p, const Device& d) {
  const Index blocks = ceil_div(w.tiles, p.rows) * ceil_div(w.to, p.columns);
  Launch l = product(blocks, p.rows, p.columns, real(w.from), share_of(kFused, p.rows), rates_of(d).lanes);
  l.products *= 16, l.cached_bytes *= 16, l.warps = 8, l.shared_bytes = p.rows == 16 ? 18432 : 34816;
  return copy_seconds(weight_bytes(s) + 4 * real(w.frequencies * w.from * w.to), d) + seconds_of(l, all_bytes(s), d);
}

// Rounds of transformed tiles, their products and transformed sums; what the L2 holds of them needn't reach memory.
double rounds_seconds(const WinogradWork& w, const Conv& s, Pass pass, const Plan& p, const Device& d) {
  const bool gradient = pass == Pass::grad_weight;
  const double rounds = real(std::max<Index>(1, ceil_div(w.tiles, w.round)));
  const double tiles = std::min(real(w.round), real(w.tiles)), frequencies = real(w.frequencies);
  const double v = 4 * frequencies * tiles * real(w.from), m = 4 * frequencies * tiles * real(w.to),
               u = 4 * frequencies * real(w.from * w.to) * real(w.splits);
  const bool cached = v + m + u < 0.75 * real(d.l2_bytes);
  const Index rows = gradient ? w.from : static_cast<Index>(tiles);
  const double depth = gradient ? tiles / real(w.splits) : real(w.from);
  const Index blocks = ceil_div(rows, p.rows) * ceil_div(w.to, p.columns) * w.frequencies * w.splits;
  const Launch l = product(blocks, p.rows, p.columns, depth, share_of(kFrequency, p.rows), rates_of(d).lanes);
  const double moved = cached ? 0 : 1;
  const double from = input_bytes(s) / rounds, to = output_bytes(s) / rounds;
  const double through_l2 = real(d.units) * kCachedBytes * rates_of(d).hz * kHeld;
  const double transforms =
      2 * kLaunch + (cached ? (v + m) / through_l2 : 0) + memory_seconds(from + to + moved * (v + m), rates_of(d));
  return copy_seconds(weight_bytes(s) + u, d) + rounds * (transforms + seconds_of(l, moved * (v + m) + u, d));
}

}  // namespace

double operations(const Conv& s) {
  return 2 * real(s.n) * real(s.od * s.oh * s.ow) * real(s.co) * real(s.kd * s.kh * s.kw) * real(s.ci / s.groups);
}

double expected_seconds(const Conv& s, Pass pass, const Plan& p, const Device& d) {
  if (operations(s) == 0) return kLaunch;  // an empty batch, or no taps that meet it
  if (p.algorithm == Algorithm::direct) return direct_seconds(s, pass, d);
  if (p.algorithm == Algorithm::im2col) return guard_seconds(s, pass, d) + im2col_seconds(s, pass, p, d);
  const int outputs = winograd_outputs(p.algorithm);
  const WinogradWork w = winograd_work(s, pass, outputs, p.rows);
  if (winograd_is_fused(s, pass, outputs)) return fused_seconds(w, s, p, d);
  return rounds_seconds(w, s, pass, p, d);
}

}  // namespace tapwise::cuda
