// plan.cu — decision 2 on a device: the technique and the tile of a convolution, by cost.cu.
#include <algorithm>
#include <array>
#include <atomic>
#include <optional>

#include "conv.h"
#include "cost.h"
#include "ops.h"

namespace tapwise::cuda {
namespace {

constexpr double kMargin = 1.1;  // by which Winograd must win: the others are more accurate
constexpr int kTiles[] = {128, 64, 32};

std::atomic<int> forced_tile{0};

struct Product {
  Index rows, columns, depth;  // of one
  Index count;                 // of groups, or of frequencies
};

Product winograd_product_of(const Conv& s, Pass pass, int outputs) {
  const WinogradWork work = winograd_work(s, pass, outputs, kTiles[0]);
  if (pass == Pass::grad_weight) return {s.ci, s.co, work.tiles, work.frequencies};
  const Index count = winograd_is_fused(s, pass, outputs) ? 1 : work.frequencies;
  if (pass == Pass::grad_input) return {work.tiles, s.ci, s.co, count};
  return {work.tiles, s.co, s.ci, count};
}

Product product_of(const Conv& s, Pass pass, Algorithm a) {
  if (const int outputs = winograd_outputs(a)) return winograd_product_of(s, pass, outputs);
  const Index taps = s.kd * s.kh * s.kw, ci = s.ci / s.groups, co = s.co / s.groups;
  const Index outputs = s.n * s.od * s.oh * s.ow, inputs = s.n * s.id * s.ih * s.iw;
  if (pass == Pass::forward) return {outputs, co, taps * ci, s.groups};
  if (pass == Pass::grad_input) return {ceil_div(inputs, phases(s)), ci, ceil_div(taps * co, phases(s)), s.groups};
  return {taps * ci, co, outputs, s.groups};
}

Index blocks_of(const Product& p, int rows, int columns) {
  return ceil_div(p.rows, rows) * ceil_div(p.columns, columns) * p.count;
}

Index workspace_floats(const Conv& s, Pass pass, Algorithm a, int tile) {
  if (const int outputs = winograd_outputs(a)) return winograd_workspace_floats(s, pass, outputs, tile);
  return pass == Pass::grad_weight ? im2col_partial_floats(s, tile) : im2col_packed_floats(s);
}

Plan plan_direct(const Conv& s, Pass pass) {
  const bool depthwise = is_depthwise(s);
  const Index bytes = depthwise && pass == Pass::grad_weight ? 4 * depthwise_partial_floats(s) : 0;
  return {Algorithm::direct, 0, 0, 0, bytes, "asked for"};
}

// Tiles of 16, 64 or 128 x 64.
Plan plan_tf32(const Conv& s, Pass pass, int tile) {
  const int rows = tile == 32 ? 64 : tile, columns = static_cast<int>(tensor_columns(rows));
  const Index blocks = blocks_of(product_of(s, pass, Algorithm::im2col), rows, columns),
              bytes = 4 * tf32_workspace_floats(s, pass, rows);
  return {Algorithm::im2col, rows, columns, blocks, bytes, "asked for", true};
}

Plan plan_tile(const Conv& s, Pass pass, Algorithm a, int tile, bool tf32) {
  if (tf32) return plan_tf32(s, pass, tile);
  if (winograd_is_fused(s, pass, winograd_outputs(a))) tile = std::min(tile, 32);  // its sums fill a block
  const Index blocks = blocks_of(product_of(s, pass, a), tile, tile);
  return {a, tile, tile, blocks, 4 * workspace_floats(s, pass, a, tile), "asked for"};
}

// With the tile that is expected to be fastest.
Plan plan_by(const Conv& s, Pass pass, Algorithm a, Accuracy accuracy, const Device& d) {
  const auto timed = [&](Plan p) {
    p.seconds = expected_seconds(s, pass, p, d);
    return p;
  };
  if (a == Algorithm::direct) return timed(plan_direct(s, pass));
  const bool tf32 = a == Algorithm::im2col && accuracy == Accuracy::fast && d.major >= 8;
  if (const int forced = forced_tile) return timed(plan_tile(s, pass, a, forced, tf32));
  const bool scalars = a == Algorithm::im2col && pass != Pass::grad_weight && !tf32 && !takes_fours(s, pass);
  Plan best{};
  for (const int tile : kTiles) {
    if (scalars && tile == 128) continue;
    const Plan p = timed(plan_tile(s, pass, a, tile, tf32));
    if (!best.rows || p.seconds < best.seconds) best = p;
  }
  return best;
}

const char* reason_of(const Conv& s, Algorithm a) {
  if (is_depthwise(s)) return "one filter a channel: channels fill the threads";
  if (a == Algorithm::direct) return "expected fastest: products would leave most of a device idle";
  return winograd_outputs(a) ? "expected fastest: saves multiplications by transforms"
                             : "expected fastest: a product of matrices fills the device best";
}

Plan fastest(const Conv& s, Pass pass, Accuracy accuracy, const Device& d) {
  if (const char* const reason = refusal(s, pass, Algorithm::direct))
    throw std::invalid_argument("algorithm auto can't do this convolution: " + std::string(reason));
  Plan best = plan_by(s, pass, Algorithm::direct, accuracy, d);
  double least = best.seconds;
  const bool only = is_depthwise(s) || operations(s) == 0;
  for (const Algorithm a : kAlgorithms) {
    if (a == Algorithm::direct || only || refusal(s, pass, a) || !admitted(s, pass, accuracy, a)) continue;
    const Plan p = plan_by(s, pass, a, accuracy, d);
    const double seconds = p.seconds * (winograd_outputs(a) ? kMargin : 1);
    if (seconds < least) least = seconds, best = p;
  }
  best.reason = reason_of(s, best.algorithm);
  return best;
}

// All that a plan is a function of.
using Question = std::array<Index, 32>;

Question question_of(const Conv& s, Pass pass, Algorithm a, Accuracy accuracy) {
  const auto number = [](auto value) { return static_cast<Index>(value); };
  return {number(s.layout),
          s.n,
          s.groups,
          s.ci,
          s.co,
          s.id,
          s.ih,
          s.iw,
          s.od,
          s.oh,
          s.ow,
          s.kd,
          s.kh,
          s.kw,
          s.sd,
          s.sh,
          s.sw,
          s.dil_d,
          s.dil_h,
          s.dil_w,
          s.pf,
          s.pt,
          s.pl,
          number(pass),
          number(a),
          number(accuracy),
          current_device(),
          forced_tile.load()};
}

std::size_t place_of(const Question& q, std::size_t places) {
  std::uint64_t hash = 0;
  for (const Index word : q) hash = (hash ^ static_cast<std::uint64_t>(word)) * 0x9E3779B97F4A7C15u;
  return static_cast<std::size_t>(hash >> 32) % places;
}

}  // namespace

const char* name_of(Algorithm a) {
  switch (a) {
    case Algorithm::automatic:
      return "auto";
    case Algorithm::direct:
      return "direct";
    case Algorithm::im2col:
      return "im2col";
    case Algorithm::winograd_2x2:
      return "winograd-2x2";
    case Algorithm::winograd_4x4:
      return "winograd-4x4";
  }
  return "";
}

const char* refusal(const Conv& s, Pass, Algorithm a) {
  if (!can_walk(s)) return "the device's kernels take fewer than 2^29 positions in a plane";
  return winograd_outputs(a) ? winograd_refusal(s) : nullptr;
}

// As on the host, by the same points of interpolation: docs/numerics.md.
bool admitted(const Conv& s, Pass pass, Accuracy accuracy, Algorithm a) {
  if (!winograd_outputs(a) || accuracy == Accuracy::fast) return true;
  if (accuracy == Accuracy::strict) return false;
  if (a == Algorithm::winograd_2x2) return true;
  if (pass == Pass::grad_weight) return s.n * s.oh * s.ow >= 64;
  return (pass == Pass::forward ? s.ci : s.co) >= 6;
}

Plan plan(const Conv& s, Pass pass, Algorithm a, Accuracy accuracy, const Device& d) {
  if (a == Algorithm::automatic) return fastest(s, pass, accuracy, d);
  if (const char* const reason = refusal(s, pass, a))
    throw std::invalid_argument("algorithm " + std::string(name_of(a)) + " can't do this convolution: " + reason);
  return plan_by(s, pass, a, accuracy, d);
}

Plan plan(const Conv& s, Pass pass, Algorithm a, Accuracy accuracy) {
  struct Kept {
    Question question;
    Plan plan;
  };
  constexpr std::size_t kKept = 128;  // of each thread; another layer in the same place takes it
  static thread_local std::array<std::optional<Kept>, kKept> kept;
  const Question question = question_of(s, pass, a, accuracy);
  std::optional<Kept>& own = kept[place_of(question, kKept)];
  if (!own || own->question != question) own = Kept{question, plan(s, pass, a, accuracy, known_device())};
  return own->plan;
}

// Of TF32's tiles, in whose place bfloat16's stand.
Plan plan_bf16(const Conv& s, Pass pass, Algorithm a, const Device& d) {
  if (winograd_outputs(a)) throw std::invalid_argument("algorithm must be auto, direct or im2col for bfloat16");
  constexpr Index kFewest = 8;
  const Product p = product_of(s, pass, Algorithm::im2col);
  const bool empty = is_depthwise(s) || p.columns < kFewest || p.depth < kFewest;
  if (a == Algorithm::direct || (a == Algorithm::automatic && empty)) return plan_direct(s, pass);
  return plan_by(s, pass, Algorithm::im2col, Accuracy::fast, d);
}

void set_tile(int rows) {
  if (rows != 0 && rows != 16 && rows != 32 && rows != 64 && rows != 128)
    throw std::invalid_argument("a tile must have 16, 32, 64 or 128 rows, or 0");
  forced_tile = rows;
}

}  // namespace tapwise::cuda
