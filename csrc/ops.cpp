#include "ops.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "nn.h"
#include "scratch.h"
#include "subnormals.h"
#include "threads.h"

namespace tapwise {
namespace {

constexpr Index kPackFloats = 32 * 1024;  // of one chunk of packing
constexpr Index kPackWidth = 128;         // outputs whose weights are faster packed together, see cpu/layout.cpp
constexpr Index kOwnWeights = 3 << 20;    // floats, 12 MiB: each of at most kOwners threads transforms them for itself,
constexpr int kOwners = 4;                // sooner than read what another core wrote at 11 GB/s
constexpr Index kOwnPanels = 256 << 10;   // floats, 1 MiB: the same of packed weights, where threads share out pixels,
constexpr Index kFewPanels = 32 << 10;    // and where they share out the panels
constexpr Index kClaims = 16;             // of a thread: its last one leaves the others idle for 3 % of the time

// Whether a call lays out weights once a thread, not once.
bool in_each_thread(const Plan& p) {
  if (thread_count() > kOwners) return false;
  if (p.packing != Packing::winograd) {
    const Index groups = std::max<Index>(1, p.split.panels / std::max<Index>(1, p.split.task_panels));
    return p.split.shared_floats <= (p.split.tasks / groups >= 2 * kOwners ? kOwnPanels : kFewPanels);
  }
  return p.tiling.fused && p.split.shared_floats <= kOwnWeights;
}

// Groups or panels of packed weights.
Index pieces(const Conv& s, const Plan& p) {
  return p.split.dot ? s.groups : p.split.panels;
}

// w as the plan's kernels read it, or as it is where tasks or threads lay it out.
Weights pack(const Conv& s, const Plan& p, const float* w, bool raw, const Table& t, float* packed) {
  if (p.packing == Packing::winograd) {
    const Turned back = p.turns ? turned(s) : Turned{s, 0};
    if (p.tiling.taps_in_place || raw) return {w + back.w_offset, false};
    parallel_for(p.tiling.panels, 1, [&](Index begin, Index end) {
      const FlushSubnormals flush;
      t.conv_winograd_pack(back.s, p.tiling, w + back.w_offset, packed, begin, end);
    });
    return {packed, false};
  }
  if (raw) return {w, false};
  const Index all = pieces(s, p), panel_floats = p.split.shared_floats / all;
  std::atomic<bool> finite{true};
  const Index together = std::min<Index>(kPackWidth / t.panel, all / 4);
  const Index grain = std::max<Index>({1, together, kPackFloats / std::max<Index>(1, panel_floats)});
  parallel_for(all, grain, [&](Index begin, Index end) {
    const FlushSubnormals flush;
    if (!t.conv_pack(s, p.packing, p.split.dot, w, packed, begin, end)) finite.store(false, std::memory_order_relaxed);
  });
  return {packed, finite.load(std::memory_order_relaxed)};
}

// dw is laid out as a chunk's sums are: (kd, kh, kw, ci / groups, co).
bool is_contiguous(const Conv& s) {
  const Index row = s.ci / s.groups * s.co;
  return s.w_co == 1 && s.w_ci == s.co && (s.kw == 1 || s.w_w == row) && (s.kh == 1 || s.w_h == row * s.kw) &&
         (s.kd == 1 || s.w_d == row * s.kw * s.kh);
}

// Tasks that a thread claims at a time: many of them are short, and neighbours share what they read.
Index grain(Index tasks) {
  return std::max<Index>(1, tasks / (kClaims * thread_count()));
}

ConvForward* kernel(const Table& t, const Plan& p, Pass pass) {
  if (pass == Pass::forward) {
    if (p.algorithm == Algorithm::im2col) return t.conv_im2col_forward;
    return p.depthwise ? t.conv_depthwise_forward : p.grouped ? t.conv_grouped_forward : t.conv_direct_forward;
  }
  if (p.algorithm == Algorithm::im2col) return t.conv_im2col_grad_input;
  return p.depthwise ? t.conv_depthwise_grad_input : p.grouped ? t.conv_grouped_grad_input : t.conv_direct_grad_input;
}

std::atomic<std::uint64_t> rounds{0};
thread_local std::uint64_t transformed = 0;  // the round whose tiles or weights this thread holds
thread_local bool own_finite = false;        // of packed weights

// raw: each thread transforms weights for itself.
void run_winograd(const Conv& s, const Tiling& g, const Table& t, const float* x, const float* weights, bool raw,
                  const Epilogue& e, float* y) {
  const auto in_parallel = [&](Index tasks, Index grain, const auto& body) {
    parallel_for(tasks, grain, [&](Index begin, Index end) {
      const FlushSubnormals flush;
      body(scratch(Scratch::task, g.scratch_floats), begin, end);
    });
  };
  if (g.fused) {
    const std::uint64_t number = ++rounds;
    return in_parallel(g.blocks, g.task_blocks, [&](float* own, Index begin, Index end) {
      float* const packed = raw ? scratch(Scratch::shared, g.packed_floats) : nullptr;
      if (raw && transformed != number) t.conv_winograd_pack(s, g, weights, packed, 0, g.panels);
      transformed = number;
      t.conv_winograd_forward(s, g, e, x, raw ? packed : weights, y, own, begin, end);
    });
  }
  for (Index round = 0; round < g.rounds; ++round) {
    const std::uint64_t number = ++rounds;
    in_parallel(output_tasks(g), 1, [&](float* own, Index begin, Index end) {
      float* const v = scratch(Scratch::tiles, g.v_floats);
      if (transformed != number) {
        t.conv_winograd_input(s, g, round, x, v, own, 0, g.tiles * (round + 1) / g.rounds - g.tiles * round / g.rounds);
        transformed = number;
      }
      t.conv_winograd_output(s, g, e, round, v, weights, y, own, begin, end);
    });
  }
}

void run(const Conv& s, const Plan& p, Pass pass, const Table& t, const float* from, const Weights& weights, bool raw,
         const Epilogue& e, float* to) {
  if (p.packing == Packing::winograd)
    return run_winograd(p.turns ? turned(s).s : s, p.tiling, t, from, weights.packed, raw, e, to);
  const std::uint64_t number = ++rounds;
  parallel_for(p.split.tasks, grain(p.split.tasks), [&](Index begin, Index end) {
    const FlushSubnormals flush;
    Weights own = weights;
    if (raw) {
      float* const packed = scratch(Scratch::shared, p.split.shared_floats);
      if (transformed != number)
        own_finite = t.conv_pack(s, p.packing, p.split.dot, weights.packed, packed, 0, pieces(s, p));
      transformed = number;
      own = {packed, own_finite};
    }
    kernel(t, p, pass)(s, p.split, e, from, own, to, scratch(Scratch::task, p.split.scratch_floats), begin, end);
  });
}

void convolve(const Conv& conv, Pass pass, Choice choice, const float* from, const float* w, const Epilogue& e,
              float* to) {
  const Table& t = table();
  const Conv s = simplified(conv);
  const Plan p = plan_conv(s, pass, choice, t);
  if (p.split.tasks == 0) return;
  const bool raw = in_each_thread(p);
  const Weights weights = pack(s, p, w, raw, t, raw ? nullptr : scratch(Scratch::shared, p.split.shared_floats));
  run(s, p, pass, t, from, weights, raw, e, to);
}

// dw = the chunks' sums, added in order; run(begin, end, sums, scratch with `more` floats) makes those of tasks.
template <class Run>
void add_chunks(const Conv& s, const Split& split, const Table& t, float* dw, Index more, const Run& run) {
  const bool in_place = split.chunks == 1 && is_contiguous(s);
  float* const sums = in_place ? dw : scratch(Scratch::shared, split.shared_floats);
  parallel_for(split.tasks, 1, [&](Index begin, Index end) {
    const FlushSubnormals flush;
    run(begin, end, sums, scratch(Scratch::task, split.scratch_floats + more));
  });
  if (in_place) return;
  const Index rows = s.kd * s.kh * s.kw * (s.ci / s.groups);
  parallel_for(rows, std::max<Index>(1, kPackFloats / (s.co * split.chunks)), [&](Index begin, Index end) {
    const FlushSubnormals flush;
    t.conv_unpack_grad_weight(s, split.chunks, sums, dw, begin, end);
  });
}

void run_winograd_gradient(const Conv& s, const GradTiling& g, const Table& t, const float* x, const float* dy,
                           float* dw) {
  const Index panel_floats = g.blocks * g.sums_block;
  float* const sums = scratch(Scratch::shared, g.chunks * g.sums_floats);
  const auto in_parallel = [&](Index tasks, const auto& body) {
    parallel_for(tasks, 1, [&](Index begin, Index end) {
      const FlushSubnormals flush;
      float* const own = scratch(Scratch::task, g.scratch_floats);
      float* const v = scratch(Scratch::tiles, g.x.v_floats);
      for (Index task = begin; task < end; ++task) body(task, v, own, own + g.strip_floats);
    });
  };
  const auto tiles_of = [&g](Index round) {
    return g.x.tiles * (round + 1) / g.x.rounds - g.x.tiles * round / g.x.rounds;
  };
  const auto weights = [&](Index panels, Index first) {
    in_parallel(panels * g.blocks, [&](Index task, float*, float*, float*) {
      const Index panel = task / g.blocks, block = task % g.blocks;
      t.conv_winograd_grad_weight(s, g, first + panel, sums + panel * panel_floats, dw, block, block + 1);
    });
  };
  if (g.fused) {
    in_parallel(g.chunks, [&](Index chunk, float* v, float* own, float* gradient) {
      const Index first = g.x.rounds * chunk / g.chunks, last = g.x.rounds * (chunk + 1) / g.chunks;
      for (Index round = first; round < last; ++round) {
        t.conv_winograd_input(s, g.x, round, x, v, own, 0, tiles_of(round));
        for (Index p = 0; p < g.x.panels; ++p) {
          t.conv_winograd_gradient(s, g, p, round, dy, gradient, own, 0, tiles_of(round));
          t.conv_winograd_grad_sums(s, g, p, round, round > first, v, gradient,
                                    sums + chunk * g.sums_floats + p * panel_floats, dw, 0, g.blocks);
        }
      }
    });
    return weights(g.x.panels, 0);
  }
  for (Index group = 0; group < g.groups; ++group) {
    const Index first = g.x.panels * group / g.groups, panels = g.x.panels * (group + 1) / g.groups - first;
    for (Index round = 0; round < g.x.rounds; ++round) {
      const std::uint64_t number = ++rounds;
      in_parallel(panels * g.splits, [&](Index task, float* v, float* own, float* gradient) {
        if (transformed != number) t.conv_winograd_input(s, g.x, round, x, v, own, 0, tiles_of(round));
        transformed = number;
        const Index panel = task / g.splits, split = task % g.splits;
        t.conv_winograd_gradient(s, g, first + panel, round, dy, gradient, own, 0, tiles_of(round));
        t.conv_winograd_grad_sums(s, g, first + panel, round, round > 0, v, gradient,
                                  g.at_once ? own : sums + panel * panel_floats, dw, g.blocks * split / g.splits,
                                  g.blocks * (split + 1) / g.splits);
      });
    }
    if (!g.at_once) weights(panels, first);
  }
}

bool same_layout(const PackedWeights& packed, const Conv& s, const Plan& p) {
  const Conv& o = packed.s;
  return s.kd == o.kd && s.kh == o.kh && s.kw == o.kw && s.ci == o.ci && s.co == o.co && s.groups == o.groups &&
         p.packing == packed.plan.packing && p.split.dot == packed.plan.split.dot &&
         p.split.shared_floats == packed.plan.split.shared_floats;
}

void check_packed(const PackedWeights& packed, const Conv& s, const Plan& p, const Table& t) {
  if (std::strcmp(t.isa, packed.isa) != 0 || !same_layout(packed, s, p))
    throw std::invalid_argument("w must be packed for this convolution and instruction set");
}

}  // namespace

void conv_forward(const Conv& s, Choice choice, const float* x, const float* w, const Epilogue& e, float* y) {
  convolve(s, Pass::forward, choice, x, w, e, y);
}

void conv_grad_input(const Conv& s, Choice choice, const float* dy, const float* w, const Epilogue& e, float* dx) {
  convolve(s, Pass::grad_input, choice, dy, w, e, dx);
}

PackedWeights::PackedWeights(const Conv& conv, Pass pass_, Choice choice, const float* w)
    : pass(pass_),
      isa(table().isa),
      s(simplified(conv)),
      plan(plan_conv(s, pass, {choice.algorithm, choice.accuracy, true}, table())) {
  memory = Memory(plan.split.shared_floats);
  finite = pack(s, plan, w, false, table(), memory.data()).finite;
}

void conv_packed(const Conv& conv, const PackedWeights& packed, const float* from, const Epilogue& e, float* to) {
  const Table& t = table();
  const Conv s = simplified(conv);
  const Plan p = plan_conv(s, packed.pass, {packed.plan.algorithm, Accuracy::standard, true}, t);
  check_packed(packed, s, p, t);
  if (p.split.tasks > 0) run(s, p, packed.pass, t, from, {packed.memory.data(), packed.finite}, false, e, to);
}

void separable_forward(const Conv& depthwise, const Conv& pointwise, const float* x, const AnyWeights& depthwise_w,
                       const AnyWeights& pointwise_w, const Epilogue& middle, const Epilogue& e, float* y) {
  const Table& t = table();
  const Conv s = simplified(depthwise), mix = simplified(pointwise);
  const SeparablePlan plan = plan_separable(s, mix, t);
  if (!plan.fused) throw std::invalid_argument(std::string("the convolutions can't take one pass: ") + plan.reason);
  if (plan.split.tasks == 0) return;
  float* shared = scratch(Scratch::shared, plan.split.shared_floats);
  const auto weights = [&](const Conv& conv, const AnyWeights& any) -> Weights {
    const Plan p = plan_conv(conv, Pass::forward, {Algorithm::direct}, t);
    if (!any.packed) return pack(conv, p, any.w, false, t, std::exchange(shared, shared + p.split.shared_floats));
    check_packed(*any.packed, conv, p, t);
    return {any.packed->memory.data(), any.packed->finite};
  };
  const Separable both = {weights(s, depthwise_w), weights(mix, pointwise_w), middle, e, mix.co};
  parallel_for(plan.split.tasks, grain(plan.split.tasks), [&](Index begin, Index end) {
    const FlushSubnormals flush;
    t.conv_separable_forward(s, plan.split, both, x, y, scratch(Scratch::task, plan.split.scratch_floats), begin, end);
  });
}

void conv_grad_weight(const Conv& conv, Choice choice, const float* x, const float* dy, float* dw) {
  const Table& t = table();
  const Conv s = simplified(conv);
  const Plan p = plan_conv(s, Pass::grad_weight, choice, t);
  if (p.algorithm >= Algorithm::winograd) return run_winograd_gradient(s, p.gradient, t, x, dy, dw);
  ConvGradWeight* const run = p.algorithm == Algorithm::im2col ? t.conv_im2col_grad_weight
                              : p.depthwise                    ? t.conv_depthwise_grad_weight
                              : p.grouped                      ? t.conv_grouped_grad_weight
                                                               : t.conv_direct_grad_weight;
  add_chunks(s, p.split, t, dw, 0,
             [&](Index begin, Index end, float* sums, float* own) { run(s, p.split, x, dy, sums, own, begin, end); });
}

void conv_grad_weight_bias(const Conv& conv, Choice choice, const Prologue& prologue, const float* x, const float* dy,
                           float* work, float* dw, float* db) {
  const Table& t = table();
  const Conv s = simplified(conv);
  const Plan p = plan_conv(s, Pass::grad_weight, choice, t);
  const Index pixels = s.od * s.oh * s.ow;
  if (p.algorithm != Algorithm::direct || s.groups > 1 || s.layout == Layout::channels_first || pixels * s.n == 0) {
    const bool last = s.layout == Layout::channels_last;
    float* const dz = prologue.activation == Activation::none ? nullptr : work;
    bias_grad(prologue.activation, prologue.alpha, last ? s.n * pixels : s.n, s.co, last ? 1 : pixels, dy, prologue.y,
              nullptr, dz, db);
    return conv_grad_weight(conv, choice, x, dz ? dz : dy, dw);
  }
  const Index masked = p.split.batch * p.split.rows * p.split.cols * p.split.task_panels * t.panel;
  std::vector<double> sums_of_dz(static_cast<std::size_t>(p.split.chunks * s.co));
  add_chunks(s, p.split, t, dw, masked, [&](Index begin, Index end, float* sums, float* own) {
    t.conv_direct_grad_weight_bias(s, p.split, prologue, x, dy, sums, sums_of_dz.data(), own, begin, end);
  });
  for (Index o = 0; o < s.co; ++o) {
    double sum = 0;
    for (Index chunk = 0; chunk < p.split.chunks; ++chunk)
      sum += sums_of_dz[static_cast<std::size_t>(chunk * s.co + o)];
    db[o] = static_cast<float>(sum);
  }
}

double measure_fma_peak(FmaPeak* kernel, Index steps) {
  const Index threads = thread_count();
  std::atomic<double> operations{0};
  const auto start = std::chrono::steady_clock::now();
  parallel_for(threads, 1, [&](Index, Index) {
    float sink[64];
    operations.fetch_add(kernel(steps, sink));
  });
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return operations.load() / elapsed.count() / 1e9;
}

}  // namespace tapwise
