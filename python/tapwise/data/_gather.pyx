# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=True
"""One pass over a batch: y[i] = x[rows[i]] * scale + offset."""

ctypedef fused Element:
    unsigned char
    float


def gather(const Element[:, ::1] x, const Py_ssize_t[::1] rows, float scale, float offset, float[:, ::1] y):
    """x (items, size) uint8 or float32, rows (n,) intp -> y (n, size) float32, which must not overlap x.

    The product and the sum are rounded one after the other, as NumPy does: compile without contraction.
    """
    cdef Py_ssize_t items = x.shape[0], size = x.shape[1], n = rows.shape[0], i, j
    cdef const Element* source
    cdef float* target
    if y.shape[0] != n or y.shape[1] != size:
        raise ValueError(f"y must have shape ({n}, {size}), got ({y.shape[0]}, {y.shape[1]})")
    for i in range(n):
        if not 0 <= rows[i] < items:
            raise IndexError(f"rows must be in [0, {items}), got {rows[i]}")
    if n == 0 or size == 0:
        return
    with nogil:
        for i in range(n):
            source = &x[rows[i], 0]
            target = &y[i, 0]
            for j in range(size):
                target[j] = source[j] * scale + offset
