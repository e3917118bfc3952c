# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=True
"""One pass over a batch: images sampled by affine maps, colours changed, scaled to floats.

    x (items, ih, iw, c) -> y (n, oh, ow, c)    augment: row by row, so that a row stays in the first-level cache
    y                    -> y of pairs          blend: MixUp and CutMix

Coordinates are fixed-point numbers of 32 fractional bits, floats are rounded after every operation: augment_numpy.py
gives the same bits. Compile without contraction.
"""

ctypedef fused Element:
    unsigned char
    float

ctypedef unsigned int Word
ctypedef long long Fixed

cdef enum:
    CONSTANT = 0  # fill modes; the fourth, wrap, is what is left
    NEAREST = 1
    REFLECT = 2

cdef enum:
    SHIFT = 0  # steps
    CONTRAST = 1
    SATURATION = 2
    HUE = 3
    ERASE = 4


cdef inline Py_ssize_t fold(Fixed i, Py_ssize_t n, int mode) noexcept nogil:
    """The pixel in [0, n) that stands for i; -1: the fill value."""
    cdef Fixed period = n if mode > REFLECT else 2 * n
    if 0 <= i < n:
        return i
    if mode == CONSTANT:
        return -1
    if mode == NEAREST:
        return 0 if i < 0 else n - 1
    i %= period
    if i < 0:
        i += period
    return i if i < n else 2 * n - 1 - i


cdef inline float tap(const Element* x, Py_ssize_t row, Py_ssize_t column, Py_ssize_t iw, Py_ssize_t c, float fill) \
        noexcept nogil:
    return fill if row < 0 or column < 0 else <float>x[(row * iw + column) * c]


cdef inline void bilinear_row(const Element* x, Py_ssize_t ih, Py_ssize_t iw, Py_ssize_t c, Fixed sx, Fixed sy,
                              Fixed dx, Fixed dy, Py_ssize_t ow, int mode, float fill, float* y) noexcept nogil:
    cdef Py_ssize_t j, k, top, left, bottom, right
    cdef Fixed ix, iy
    cdef float fx, fy, a, b
    cdef const Element* p
    cdef const Element* q
    for j in range(ow):
        ix = sx >> 32
        iy = sy >> 32
        fx = <float>(<int>(<Word>sx >> 8)) * <float>(1.0 / 16777216)
        fy = <float>(<int>(<Word>sy >> 8)) * <float>(1.0 / 16777216)
        if 0 <= ix < iw - 1 and 0 <= iy < ih - 1:
            p = x + (iy * iw + ix) * c
            q = p + iw * c
            for k in range(c):
                a = <float>p[k] + fx * (<float>p[k + c] - <float>p[k])
                b = <float>q[k] + fx * (<float>q[k + c] - <float>q[k])
                y[k] = a + fy * (b - a)
        else:
            left = fold(ix, iw, mode)
            right = fold(ix + 1, iw, mode)
            top = fold(iy, ih, mode)
            bottom = fold(iy + 1, ih, mode)
            for k in range(c):
                a = tap(x + k, top, left, iw, c, fill)
                a = a + fx * (tap(x + k, top, right, iw, c, fill) - a)
                b = tap(x + k, bottom, left, iw, c, fill)
                b = b + fx * (tap(x + k, bottom, right, iw, c, fill) - b)
                y[k] = a + fy * (b - a)
        y += c
        sx += dx
        sy += dy


cdef inline void nearest_row(const Element* x, Py_ssize_t ih, Py_ssize_t iw, Py_ssize_t c, Fixed sx, Fixed sy,
                             Fixed dx, Fixed dy, Py_ssize_t ow, int mode, float fill, float* y) noexcept nogil:
    cdef Py_ssize_t j, k, row, column
    sx += <Fixed>1 << 31
    sy += <Fixed>1 << 31
    for j in range(ow):
        row = fold(sy >> 32, ih, mode)
        column = fold(sx >> 32, iw, mode)
        for k in range(c):
            y[k] = tap(x + k, row, column, iw, c, fill)
        y += c
        sx += dx
        sy += dy


cdef inline float clip(float value, float low, float high) noexcept nogil:
    value = low if value < low else value
    return high if value > high else value


cdef inline Word mixed(Word h) noexcept nogil:
    """MurmurHash3's finalizer."""
    h = (h ^ (h >> 16)) * <Word>0x85EBCA6B
    h = (h ^ (h >> 13)) * <Word>0xC2B2AE35
    return h ^ (h >> 16)


cdef inline float normal(Word number, Word key0, Word key1, const float* quantiles) noexcept nogil:
    """The number of an image's element -> a normal number: 12 bits choose a quantile, 20 lie between it and the next."""
    cdef Word h = mixed(mixed(number ^ key0) + key1)
    cdef const float* q = quantiles + (h >> 20)
    return q[0] + <float>(<int>(h & 0xFFFFF)) * <float>(1.0 / 1048576) * (q[1] - q[0])


cdef inline void saturate(float* p, float factor, float low) noexcept nogil:
    """HSV's saturation times factor, at most 1."""
    cdef float most = max(p[0], p[1], p[2]), least = min(p[0], p[1], p[2])
    cdef float spread = most - least
    cdef int k
    if not spread > 0:
        return
    if spread * factor > most - low:
        factor = (most - low) / spread
    for k in range(3):
        p[k] = max(low, most - (most - p[k]) * factor)


cdef inline void turn_hue(float* p, float sixths) noexcept nogil:
    """HSV's hue, of which six are a turn, plus sixths in [-6, 6]."""
    cdef float most = max(p[0], p[1], p[2]), spread = most - min(p[0], p[1], p[2])
    cdef float hue, t
    cdef int k
    if not spread > 0:
        return
    if p[0] == most:
        hue = (p[1] - p[2]) / spread
    elif p[1] == most:
        hue = (p[2] - p[0]) / spread + 2
    else:
        hue = (p[0] - p[1]) / spread + 4
    hue = hue + sixths
    hue = hue + 6 if hue < 0 else hue
    hue = hue - 6 if hue >= 6 else hue
    for k in range(3):
        t = hue + (5 - 2 * k)
        t = t - 6 if t >= 6 else t
        p[k] = most - spread * clip(min(t, 4 - t), 0, 1)


cdef void colour_row(int code, const double* v, Py_ssize_t i, Py_ssize_t ow, Py_ssize_t c, const float* means,
                     const float* quantiles, float* y) noexcept nogil:
    """One step on row i. What v holds: augment.py."""
    cdef Py_ssize_t j, k
    cdef float factor = <float>v[0], low = <float>v[1], high = <float>v[2]
    if code == SHIFT:
        for j in range(ow * c):
            y[j] = clip(y[j] + factor, low, high)
    elif code == CONTRAST:
        for j in range(ow):
            for k in range(c):
                y[j * c + k] = clip((y[j * c + k] - means[k]) * factor + means[k], low, high)
    elif code == SATURATION:
        for j in range(ow):
            saturate(y + 3 * j, factor, low)
    elif code == HUE:
        for j in range(ow):
            turn_hue(y + 3 * j, factor)
    elif v[3] <= i < v[5]:
        for j in range(<Py_ssize_t>v[4], <Py_ssize_t>v[6]):
            for k in range(c):
                if factor > 0:
                    y[j * c + k] = clip(
                        factor * normal(<Word>((i * ow + j) * c + k), <Word>v[7], <Word>v[8], quantiles), low, high)
                else:
                    y[j * c + k] = <float>v[7 + (k if k < 3 else 2)]


cdef void scale_row(float* y, Py_ssize_t size, float scale, float offset, float stddev, Word first, const Word* key,
                    const float* quantiles) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(size):
        y[j] = y[j] * scale + offset
    if stddev > 0:
        for j in range(size):
            y[j] = y[j] + stddev * normal(first + <Word>j, key[0], key[1], quantiles)


cdef void channel_means(const float* y, Py_ssize_t pixels, Py_ssize_t c, float* means) noexcept nogil:
    cdef Py_ssize_t j, k
    cdef double total
    for k in range(c):
        total = 0
        for j in range(pixels):
            total += y[j * c + k]
        means[k] = <float>(total / pixels)


cdef struct Steps:
    int count
    const int* codes
    const float* quantiles
    float scale
    float offset
    float stddev


cdef inline void sample_row(const Element* x, Py_ssize_t ih, Py_ssize_t iw, Py_ssize_t c, const Fixed* m, bint nearest,
                            Py_ssize_t row, Py_ssize_t ow, int mode, float fill, float* y) noexcept nogil:
    cdef Fixed sx = m[1] * row + m[2], sy = m[4] * row + m[5]
    if nearest:
        nearest_row(x, ih, iw, c, sx, sy, m[0], m[3], ow, mode, fill, y)
    elif c == 1:  # the compiler unrolls a known number of channels
        bilinear_row(x, ih, iw, 1, sx, sy, m[0], m[3], ow, mode, fill, y)
    elif c == 3:
        bilinear_row(x, ih, iw, 3, sx, sy, m[0], m[3], ow, mode, fill, y)
    else:
        bilinear_row(x, ih, iw, c, sx, sy, m[0], m[3], ow, mode, fill, y)


cdef void augment_image(const Element* x, Py_ssize_t ih, Py_ssize_t iw, Py_ssize_t c, const Fixed* m, bint nearest,
                        int mode, float fill, const Steps* s, const double* values, Py_ssize_t width, const Word* key,
                        float* means, Py_ssize_t oh, Py_ssize_t ow, float* y) noexcept nogil:
    """A contrast needs the means of all that the steps before it gave: each begins another round of the rows."""
    cdef int first = 0, last = 0, step
    cdef Py_ssize_t i
    cdef bint sampled = False
    while True:
        while last < s.count and (s.codes[last] != CONTRAST or (sampled and last == first)):
            last += 1
        for i in range(oh):
            if not sampled:
                sample_row(x, ih, iw, c, m, nearest, i, ow, mode, fill, y + i * ow * c)
            for step in range(first, last):
                colour_row(s.codes[step], values + step * width, i, ow, c, means, s.quantiles, y + i * ow * c)
            if last == s.count:
                scale_row(y + i * ow * c, ow * c, s.scale, s.offset, s.stddev, <Word>(i * ow * c), key, s.quantiles)
        if last == s.count:
            return
        channel_means(y, oh * ow, c, means)
        first = last
        sampled = True


def augment(const Element[:, :, :, ::1] x, const Py_ssize_t[::1] rows, const Fixed[:, ::1] maps, int mode, float fill,
            bint nearest, const int[::1] codes, const double[:, :, ::1] values, float scale, float offset,
            float stddev, const Word[:, ::1] keys, const float[::1] quantiles, float[::1] means,
            float[:, :, :, ::1] y):
    """y[i] = steps(x[rows[i]] at maps[i] of each pixel) * scale + offset, plus noise of stddev.

    maps (n, 6): column m[0] j + m[1] i + m[2] and row m[3] j + m[4] i + m[5] of x for pixel (i, j) of y.
    values (n, steps, 10) as augment.py says, which checks everything; means (c,) is scratch.
    """
    cdef Py_ssize_t ih = x.shape[1], iw = x.shape[2], c = x.shape[3], oh = y.shape[1], ow = y.shape[2], i
    cdef bint whole
    cdef Steps s
    if y.shape[0] == 0 or oh * ow * c == 0:
        return
    s.count = <int>codes.shape[0]
    s.codes = &codes[0] if s.count else NULL
    s.quantiles = &quantiles[0]
    s.scale, s.offset, s.stddev = scale, offset, stddev
    with nogil:
        for i in range(y.shape[0]):
            whole = <Word>(maps[i, 0] | maps[i, 1] | maps[i, 2] | maps[i, 3] | maps[i, 4] | maps[i, 5]) == 0
            augment_image(&x[rows[i], 0, 0, 0], ih, iw, c, &maps[i, 0], nearest or whole, mode, fill, &s,
                          &values[i, 0, 0] if s.count else NULL, values.shape[2], &keys[i, 0], &means[0], oh, ow,
                          &y[i, 0, 0, 0])


def blend(const float[:, :, :, ::1] x, const Py_ssize_t[::1] partners, const float[::1] weights,
          const Py_ssize_t[:, ::1] boxes, float[:, :, :, ::1] y):
    """y[i] = x[i], but w x[i] + (1 - w) x[partners[i]] in the box of rows [b[0], b[2]) and columns [b[1], b[3])."""
    cdef Py_ssize_t oh = x.shape[1], ow = x.shape[2], c = x.shape[3], i, row, j, left, right
    cdef const float* p
    cdef const float* q
    cdef float* target
    cdef float w, rest
    if x.shape[0] == 0 or oh * ow * c == 0:
        return
    with nogil:
        for i in range(x.shape[0]):
            w = weights[i]
            rest = 1 - w
            left = boxes[i, 1] * c
            right = boxes[i, 3] * c
            for row in range(oh):
                p = &x[i, row, 0, 0]
                q = &x[partners[i], row, 0, 0]
                target = &y[i, row, 0, 0]
                for j in range(ow * c):
                    target[j] = p[j]
                if boxes[i, 0] <= row < boxes[i, 2]:
                    for j in range(left, right):
                        target[j] = w * p[j] + rest * q[j]
