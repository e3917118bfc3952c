#include "nn.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>

#include "chunks.h"
#include "isa.h"
#include "scratch.h"

namespace tapwise {
namespace {

Index window_size(const Pool& s) {
  if (!s.adaptive) return s.kd * s.kh * s.kw;
  return (s.id / s.od + 1) * (s.ih / s.oh + 1) * (s.iw / s.ow + 1);
}

// Rows of y as the pooling kernels count them, and what one costs.
struct Rows {
  Index count, elements;
};

Rows rows_of(const Pool& s) {
  const bool last = s.layout == Layout::channels_last;
  return {s.n * s.od * s.oh * (last ? 1 : s.c), s.ow * (last ? s.c : 1) * window_size(s)};
}

// Rows of dx, and what one costs.
Rows rows_of_input(const Pool& s) {
  const bool last = s.layout == Layout::channels_last;
  const Index windows = s.adaptive ? 1 : (window_size(s) - 1) / (s.sd * s.sh * s.sw) + 1;
  return {s.n * s.id * s.ih * (last ? 1 : s.c), s.iw * (last ? s.c : 1) * windows};
}

// One window, which is all of the input.
bool is_global(const Pool& s) {
  const auto covers = [](Index in, Index k, Index dilation, Index pad) {
    return k == in && pad == 0 && (k == 1 || dilation == 1);
  };
  const bool whole = s.adaptive || (covers(s.id, s.kd, s.dil_d, s.pf) && covers(s.ih, s.kh, s.dil_h, s.pt) &&
                                    covers(s.iw, s.kw, s.dil_w, s.pl));
  return whole && s.od * s.oh * s.ow == 1;
}

// Windows of neighbouring rows overlap: many rows a chunk, as long as there are chunks enough.
Index rows_a_chunk(const Rows& rows) {
  constexpr Index kChunks = 24;
  return std::max<Index>({1, kChunk / rows.elements, rows.count / kChunks});
}

// The pooling whose indices these may be: what matters is the stride, whatever the window.
Pool under(const Pool& given) {
  Pool s = given;
  const auto stride = [](Index in, Index out) { return std::max<Index>(1, (2 * in + out - 1) / (2 * out)); };
  s.sh = stride(s.ih, s.oh), s.sw = stride(s.iw, s.ow);
  s.dil_h = s.dil_w = 1, s.adaptive = false;
  return s;
}

constexpr Index kFar = Index{1} << 40;
constexpr PoolReach kNowhere = {0, kFar, -kFar, kFar, -kFar};

void merge(PoolReach& all, const PoolReach& one) {
  all.largest = std::max(all.largest, one.largest);
  all.first_h = std::min(all.first_h, one.first_h), all.last_h = std::max(all.last_h, one.last_h);
  all.first_w = std::min(all.first_w, one.first_w), all.last_w = std::max(all.last_w, one.last_w);
}

// Makes the windows of s those that hold all maxima; false where gathering from them wouldn't pay.
bool hold(Pool& s, const PoolReach& r) {
  constexpr Index kWindows = 16;  // over one position
  if (s.layout == Layout::channels_first || s.id * s.od != 1 || s.ih * s.iw > kLargestPlane || r.last_h < r.first_h)
    return false;
  s.kh = r.last_h - r.first_h + 1, s.kw = r.last_w - r.first_w + 1;
  s.pt = -r.first_h, s.pl = -r.first_w;
  return ((s.kh - 1) / s.sh + 1) * ((s.kw - 1) / s.sw + 1) <= kWindows;
}

// (image, channel) pairs of one chunk. In channels_last whole images, of which few are cut: neighbouring channels share
// cache lines.
Index pairs_a_chunk(const Pool& s, Index pair_elements) {
  constexpr Index kImages = 8;
  const Index line = s.c % 32 == 0 ? 32 : 16;  // 64 channels @112, n1: 134 us by 32, 188 by 16
  const Index pairs = std::max<Index>(1, kChunk / pair_elements);
  if (s.layout == Layout::channels_first) return pairs;
  if (pairs >= s.c || s.n >= kImages || s.c % line != 0) return (pairs + s.c - 1) / s.c * s.c;
  const Index lines = (s.n * s.c / line + kImages - 1) / kImages;
  return std::min(s.c, std::max(pairs, lines * line) / line * line);
}

// body(staged, begin, end) of rows: [begin, end) of `rows`, of which a task takes `grain`, or to widen what they read
// whole images.
template <class Body>
void split_rows(Index images, Index rows, Index grain, Index image_floats, bool is_bf16, const Body& body) {
  const Table& t = table();
  if (!is_bf16 || rows == 0) {
    parallel_for(rows, grain, [&](Index begin, Index end) {
      Staged staged(t, 0);
      body(staged, 0, 0, begin, end);
    });
    return;
  }
  const Index a_image = rows / images, together = std::max<Index>(1, kChunk / image_floats);
  parallel_for(images, together, [&](Index first, Index last) {
    Staged staged(t, (last - first) * image_floats + 32);
    body(staged, first, last, first * a_image, last * a_image);
  });
}

template <class Body>
void split_staged(Index units, Index unit_elements, bool is_bf16, const Body& body) {
  split(units, unit_elements,
        [&](Index begin, Index end) { in_stages(table(), is_bf16, unit_elements, begin, end, body); });
}

}  // namespace

Index pool_scratch_floats(const Pool& s) {
  const Index forward = 3 * s.iw + 1024, covering = 4 * (s.od + s.oh + s.od * s.oh), row = 2 * s.iw + 2 * s.ow + 64;
  return std::max(forward, covering + 2 * ((s.ow > 1 ? s.sw : 1) + 1 + std::min(s.kw, s.ow)) + row);
}

void max_pool(const Pool& s, Source x, Target y, std::int32_t* indices) {
  const Table& t = table();
  const Rows rows = rows_of(s);
  const Index in = s.c * s.id * s.ih * s.iw, out = s.c * s.od * s.oh * s.ow;
  // Subnormals stay as they are: comparing them costs nothing, and the result is one of the inputs to the bit.
  split_rows(s.n, rows.count, rows_a_chunk(rows), in + out, x.is_bf16,
             [&](Staged& staged, Index first, Index last, Index begin, Index end) {
               t.max_pool_forward(s, staged.read(x, first * in, last * in), staged.write(y, first * out, last * out),
                                  indices, scratch(Scratch::task, pool_scratch_floats(s)), begin, end);
             });
}

void max_pool_grad(const Pool& given, Source dy, const std::int32_t* indices, Target dx) {
  const Table& t = table();
  const Index plane = given.id * given.ih * given.iw, outputs = given.od * given.oh * given.ow;
  const Index in = given.c * plane, out = given.c * outputs;
  Pool s = under(given);
  PoolReach all = kNowhere;
  std::mutex merging;
  const Rows rows = rows_of(s);
  parallel_for(rows.count, rows_a_chunk(rows), [&](Index begin, Index end) {
    PoolReach reach = kNowhere;
    t.max_pool_reach(s, indices, reach, begin, end);
    const std::lock_guard<std::mutex> lock(merging);
    merge(all, reach);
  });
  if (all.largest >= plane) {
    const auto [lowest, highest] = std::minmax_element(indices, indices + given.n * given.c * outputs);
    throw std::invalid_argument("indices must be >= 0 and < " + std::to_string(plane) + ", got " +
                                std::to_string(*lowest) + " to " + std::to_string(*highest));
  }
  const bool gathers = hold(s, all);
  const Rows dx_rows = rows_of_input(s);
  const Index units = gathers ? dx_rows.count : s.n * s.c;
  const Index grain = gathers ? rows_a_chunk(dx_rows) : pairs_a_chunk(s, plane + outputs);
  split_rows(
      s.n, units, grain, in + out, dy.is_bf16, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
        const FlushSubnormals flush;
        const float* const from = staged.read(dy, first * out, last * out);
        float* const to = staged.write(dx, first * in, last * in);
        if (gathers)
          t.max_pool_grad_input(s, from, indices, to, scratch(Scratch::task, pool_scratch_floats(s)), begin, end);
        else
          t.max_pool_scatter_grad_input(s, from, indices, to, nullptr, begin, end);
      });
}

void average_pool(const Pool& s, Source x, Target y) {
  const Table& t = table();
  const Rows rows = rows_of(s);
  const Index plane = s.id * s.ih * s.iw, in = s.c * plane, out = s.c * s.od * s.oh * s.ow;
  const bool global = is_global(s);
  const auto kernel = global ? t.average_pool_global_forward : t.average_pool_forward;
  const Index units = global ? s.n * s.c : rows.count, grain = global ? pairs_a_chunk(s, plane) : rows_a_chunk(rows);
  split_rows(s.n, units, grain, in + out, x.is_bf16,
             [&](Staged& staged, Index first, Index last, Index begin, Index end) {
               const FlushSubnormals flush;
               kernel(s, staged.read(x, first * in, last * in), staged.write(y, first * out, last * out),
                      scratch(Scratch::task, pool_scratch_floats(s)), begin, end);
             });
}

void average_pool_grad(const Pool& s, Source dy, Target dx) {
  const Table& t = table();
  const Rows rows = rows_of_input(s);
  const Index in = s.c * s.id * s.ih * s.iw, out = s.c * s.od * s.oh * s.ow;
  split_rows(s.n, rows.count, rows_a_chunk(rows), in + out, dy.is_bf16,
             [&](Staged& staged, Index first, Index last, Index begin, Index end) {
               const FlushSubnormals flush;
               t.average_pool_grad_input(s, staged.read(dy, first * out, last * out),
                                         staged.write(dx, first * in, last * in),
                                         scratch(Scratch::task, pool_scratch_floats(s)), begin, end);
             });
}

void activation(Activation kind, float alpha, Index size, Source x, Target y) {
  const Table& t = table();
  split_staged(size, 1, x.is_bf16, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    t.activation_forward(kind, alpha, staged.read(x, first, last), staged.write(y, first, last), begin, end);
  });
}

void activation_grad(Activation kind, float alpha, Index size, Source dy, Source y, Source x, Target dx) {
  const Table& t = table();
  split_staged(size, 1, dy.is_bf16, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    t.activation_grad_input(kind, alpha, staged.read(dy, first, last), staged.read(y, first, last),
                            staged.read(x, first, last), staged.write(dx, first, last), begin, end);
  });
}

void add(Activation kind, float alpha, Index size, Source a, Source b, Target y) {
  const Table& t = table();
  split_staged(size, 1, a.is_bf16, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    t.add_forward(kind, alpha, staged.read(a, first, last), staged.read(b, first, last), staged.write(y, first, last),
                  begin, end);
  });
}

void concatenate(Index rows, const std::vector<Part>& parts, Target y) {
  const Index item = y.is_bf16 ? sizeof(std::uint16_t) : sizeof(float);
  Index width = 0;
  for (const Part& part : parts) width += part.width;
  split(rows, width, [&](Index begin, Index end) {
    char* to = static_cast<char*>(y.data) + begin * width * item;
    for (Index row = begin; row < end; ++row)
      for (const Part& part : parts) {
        const Index bytes = part.width * item;
        std::memcpy(to, static_cast<const char*>(part.data) + row * bytes, static_cast<std::size_t>(bytes));
        to += bytes;
      }
  });
}

void dropout(Index size, Source x, Target y, double rate, std::uint64_t seed) {
  const Table& t = table();
  const auto dropped = static_cast<std::uint32_t>(rate * 4294967296.0);
  const float scale = static_cast<float>(1.0 / (1.0 - rate));
  split_staged(size, 1, x.is_bf16, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    t.dropout_forward(staged.read(x, first, last), staged.write(y, first, last), dropped, scale, seed, begin, end);
  });
}

void cast(Index size, Source x, Target y) {
  const Table& t = table();
  parallel_for(size, kChunk, [&](Index begin, Index end) {
    if (x.is_bf16)
      t.bf16_widen(static_cast<const std::uint16_t*>(x.data) + begin, static_cast<float*>(y.data) + begin, end - begin);
    else
      t.bf16_round(static_cast<const float*>(x.data) + begin, static_cast<std::uint16_t*>(y.data) + begin, end - begin);
  });
}

void softmax(Index rows, Index classes, Source x, Target y) {
  const Table& t = table();
  split_staged(rows, classes, x.is_bf16, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    t.softmax_forward(classes, staged.read(x, first, last), staged.write(y, first, last), begin, end);
  });
}

void softmax_grad(Index rows, Index classes, Source dy, Source y, Target dx) {
  const Table& t = table();
  split_staged(rows, classes, dy.is_bf16, [&](Staged& staged, Index first, Index last, Index begin, Index end) {
    t.softmax_grad_input(classes, staged.read(dy, first, last), staged.read(y, first, last),
                         staged.write(dx, first, last), begin, end);
  });
}

void softmax_cross_entropy(Index rows, Index classes, const float* logits, const std::int32_t* labels,
                           const float* targets, float* loss) {
  const Table& t = table();
  split(rows, classes, [&](Index begin, Index end) {
    t.softmax_cross_entropy_forward(classes, logits, labels, targets, loss, begin, end);
  });
}

void softmax_cross_entropy_grad(Index rows, Index classes, const float* logits, const std::int32_t* labels,
                                const float* targets, const float* scale, float* dlogits) {
  const Table& t = table();
  split(rows, classes, [&](Index begin, Index end) {
    t.softmax_cross_entropy_grad_input(classes, logits, labels, targets, scale, dlogits, begin, end);
  });
}

}  // namespace tapwise
