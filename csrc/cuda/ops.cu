// ops.cu — which technique a convolution takes, and calls of it.
#include <algorithm>
#include <atomic>

#include "conv.h"
#include "ops.h"

namespace tapwise::cuda {
namespace {

std::atomic<int> forced_tile{0};

struct Product {
  Index rows, columns, depth;  // of one
  Index count;                 // of groups, or of frequencies
};

// The outputs of a tile of Winograd's on each axis; 0 of other algorithms.
int winograd_outputs(Algorithm a) {
  return a == Algorithm::winograd_2x2 ? 2 : a == Algorithm::winograd_4x4 ? 4 : 0;
}

Product winograd_product_of(const Conv& s, Pass pass, int outputs) {
  const bool backward = pass == Pass::grad_input;
  const Index h = backward ? s.ih : s.oh, w = backward ? s.iw : s.ow,
              tiles = s.n * ceil_div(h, outputs) * ceil_div(w, outputs);
  const Index frequencies = (outputs + 2) * (outputs + 2);
  if (pass == Pass::grad_weight) return {s.ci, s.co, tiles, frequencies};
  const Index count = outputs == 2 ? 1 : frequencies;  // 2x2 is fused
  if (backward) return {tiles, s.ci, s.co, count};
  return {tiles, s.co, s.ci, count};
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

// The largest tile that fills a quarter of its rows and columns and leaves a large device's 128 units a block each.
int tile_of(const Conv& s, Pass pass, Algorithm a) {
  const bool fused = a == Algorithm::winograd_2x2 && pass != Pass::grad_weight;
  if (const int forced = forced_tile) return fused ? std::min(forced, 32) : forced;
  if (fused) return 32;
  const Product p = product_of(s, pass, a);
  constexpr Index kUnits = 128;
  for (const int tile : {128, 64}) {
    const Index blocks = blocks_of(p, tile, tile);
    const bool many = pass == Pass::grad_weight || blocks >= kUnits;
    if (p.columns > tile / 2 && p.rows > tile / 4 && many) return tile;
  }
  return 32;
}

Index workspace_floats(const Conv& s, Pass pass, Algorithm a, int tile) {
  if (const int outputs = winograd_outputs(a)) return winograd_workspace_floats(s, pass, outputs, tile);
  return pass == Pass::grad_weight ? im2col_partial_floats(s, tile) : im2col_packed_floats(s);
}

Algorithm automatic(const Conv& s, Pass pass) {
  constexpr Index kFewest = 8, kMostPhases = 64;
  if (is_depthwise(s)) return Algorithm::direct;
  const Product p = product_of(s, pass, Algorithm::im2col);
  const bool narrow = p.columns < kFewest || (s.ci / s.groups) * s.kd * s.kh * s.kw < kFewest;
  const bool phased = pass == Pass::grad_input && phases(s) > kMostPhases;
  return narrow || phased ? Algorithm::direct : Algorithm::im2col;
}

Plan plan_direct(const Conv& s, Pass pass, bool chosen) {
  if (!is_depthwise(s))
    return {Algorithm::direct, 0, 0, 0, 0, chosen ? "too few channels to fill a tile" : "asked for"};
  const Index bytes = pass == Pass::grad_weight ? 4 * depthwise_partial_floats(s) : 0;
  return {Algorithm::direct, 0, 0, 0, bytes, "one filter a channel: channels fill the threads"};
}

// Tiles of 16, 64 or 128 x 64.
Plan plan_tf32(const Conv& s, Pass pass, int tile, const char* reason) {
  const int rows = tile == 32 ? 64 : tile, columns = std::min(rows, 64);
  const Index blocks = blocks_of(product_of(s, pass, Algorithm::im2col), rows, columns),
              bytes = 4 * tf32_workspace_floats(s, pass);
  return {Algorithm::im2col, rows, columns, blocks, bytes, reason, true};
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

Plan plan(const Conv& s, Pass pass, Algorithm a, Accuracy accuracy) {
  const bool chosen = a == Algorithm::automatic;
  if (chosen) a = automatic(s, pass);
  if (const char* const reason = refusal(s, pass, a))
    throw std::invalid_argument("algorithm " + std::string(name_of(a)) + " can't do this convolution: " + reason);
  if (a == Algorithm::direct) return plan_direct(s, pass, chosen);
  const int tile = tile_of(s, pass, a);
  const char* const reason = chosen ? "a product of matrices fills the device best" : "asked for";
  if (a == Algorithm::im2col && accuracy == Accuracy::fast && pass != Pass::grad_weight && has_tensor_cores())
    return plan_tf32(s, pass, tile, reason);
  const Index blocks = blocks_of(product_of(s, pass, a), tile, tile);
  return {a, tile, tile, blocks, 4 * workspace_floats(s, pass, a, tile), reason};
}

void set_tile(int rows) {
  if (rows != 0 && rows != 16 && rows != 32 && rows != 64 && rows != 128)
    throw std::invalid_argument("a tile must have 16, 32, 64 or 128 rows, or 0");
  forced_tile = rows;
}

void conv_forward(const Conv& s, const Plan& p, const float* x, const float* w, const Epilogue& e, float* y,
                  Stream stream) {
  if (p.algorithm == Algorithm::direct && is_depthwise(s)) return depthwise_forward(s, x, w, e, y, stream);
  if (p.algorithm == Algorithm::direct) return direct_forward(s, x, w, e, y, stream);
  if (const int outputs = winograd_outputs(p.algorithm))
    return winograd_forward(s, outputs, p.rows, x, w, e, y, stream);
  (p.tf32 ? tf32_forward : im2col_forward)(s, p.rows, x, w, e, y, stream);
  if (!meets_padding(forward_walk(s))) return;
  const NonFinite found(s, w, stream);
  direct_forward(s, x, w, e, y, stream, found.flag());
}

void conv_grad_input(const Conv& s, const Plan& p, const float* dy, const float* w, const Epilogue& e, float* dx,
                     Stream stream) {
  if (p.algorithm == Algorithm::direct && is_depthwise(s)) return depthwise_grad_input(s, dy, w, e, dx, stream);
  if (p.algorithm == Algorithm::direct) return direct_grad_input(s, dy, w, e, dx, stream);
  if (const int outputs = winograd_outputs(p.algorithm))
    return winograd_grad_input(s, outputs, p.rows, dy, w, e, dx, stream);
  (p.tf32 ? tf32_grad_input : im2col_grad_input)(s, p.rows, dy, w, e, dx, stream);
  bool padded = false;
  for (Index phase = 0; phase < phases(s); ++phase) padded = padded || meets_padding(grad_input_walk(s, phase));
  if (!padded) return;
  const NonFinite found(s, w, stream);
  direct_grad_input(s, dy, w, e, dx, stream, found.flag());
}

void conv_grad_weight(const Conv& s, const Plan& p, const float* x, const float* dy, float* dw, Stream stream) {
  if (p.algorithm == Algorithm::direct && is_depthwise(s)) return depthwise_grad_weight(s, x, dy, dw, stream);
  if (p.algorithm == Algorithm::direct) return direct_grad_weight(s, x, dy, dw, stream);
  if (const int outputs = winograd_outputs(p.algorithm))
    return winograd_grad_weight(s, outputs, p.rows, x, dy, dw, stream);
  im2col_grad_weight(s, p.rows, x, dy, dw, stream);
  if (!meets_padding(forward_walk(s))) return;
  const NonFinite found(s.n * s.od * s.oh * s.ow * s.co, dy, stream);
  direct_grad_weight(s, x, dy, dw, stream, found.flag());
}

}  // namespace tapwise::cuda
