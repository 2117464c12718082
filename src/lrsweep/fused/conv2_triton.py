"""The Triton kernels of conv2_kernel.py. The docstring of that file explains them.

The axes of a tile are in its name: m pixels of all images, i and o channels in and out, j products.
"""

import triton
import triton.language as tl


@triton.jit
def forward_kernel(
    x,
    weight,
    bias,
    active,
    out,
    winner,
    num_images,
    weight_stride,
    bias_stride,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    PRECISION: tl.constexpr,
    PIXELS: tl.constexpr,
    STEP: tl.constexpr,
):
    Y: tl.constexpr = HEIGHT // 2 - 1
    X: tl.constexpr = WIDTH // 2 - 1
    run = tl.load(active + tl.program_id(1)).to(tl.int64)
    m = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)  # image, y, x
    i, o = tl.arange(0, STEP), tl.arange(0, OUT)
    inside = (m < num_images * (Y * X))[:, None]
    corner = _first_pixel(m, HEIGHT, WIDTH)  # of the upper left window of the 2 × 2 square
    x_mi = x + run * (num_images * (HEIGHT * WIDTH * IN)) + (corner * IN)[:, None] + i[None, :]
    weight_io = weight + run * weight_stride + i[:, None] + (o * (9 * IN))[None, :]
    sum0 = tl.zeros((PIXELS, OUT), tl.float32)
    sum1 = tl.zeros((PIXELS, OUT), tl.float32)
    sum2 = tl.zeros((PIXELS, OUT), tl.float32)
    sum3 = tl.zeros((PIXELS, OUT), tl.float32)
    for step in range(9 * (IN // STEP)):
        rs, first_i = step // (IN // STEP), step % (IN // STEP) * STEP
        w_io = tl.load(weight_io + rs * IN + first_i)
        window_mi = x_mi + (rs // 3 * WIDTH + rs % 3) * IN + first_i
        sum0 = tl.dot(tl.load(window_mi, inside, 0.0), w_io, sum0, PRECISION)
        sum1 = tl.dot(tl.load(window_mi + IN, inside, 0.0), w_io, sum1, PRECISION)
        sum2 = tl.dot(tl.load(window_mi + WIDTH * IN, inside, 0.0), w_io, sum2, PRECISION)
        sum3 = tl.dot(tl.load(window_mi + (WIDTH + 1) * IN, inside, 0.0), w_io, sum3, PRECISION)
    largest, place = _larger(sum0, 0, sum1, 1)
    largest, place = _larger(largest, place, sum2, 2)
    largest, place = _larger(largest, place, sum3, 3)
    value = largest + tl.load(bias + run * bias_stride + o)[None, :]
    is_off = value <= 0  # False for NaN, which ReLU keeps
    at = run * (num_images * (Y * X * OUT)) + (m * OUT)[:, None] + o[None, :]
    tl.store(out + at, tl.where(is_off, 0.0, value), inside)
    tl.store(winner + at, tl.where(is_off, 4, place).to(tl.uint8), inside)


@triton.jit
def grad_x_kernel(
    grad,
    winner,
    weight,
    active,
    grad_x,
    num_images,
    weight_stride,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    PRECISION: tl.constexpr,
    PIXELS: tl.constexpr,
    STEP: tl.constexpr,
):
    Y: tl.constexpr = HEIGHT // 2 - 1
    X: tl.constexpr = WIDTH // 2 - 1
    run = tl.load(active + tl.program_id(1)).to(tl.int64)
    m = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)  # image, row, column
    i, o = tl.arange(0, IN), tl.arange(0, STEP)
    inside = m < num_images * (HEIGHT * WIDTH)
    row, column = m // WIDTH % HEIGHT, m % WIDTH
    image = m // (HEIGHT * WIDTH)
    weight_oi = weight + run * weight_stride + (o * (9 * IN))[:, None] + i[None, :]
    sum_mi = tl.zeros((PIXELS, IN), tl.float32)
    for step in range(9 * (OUT // STEP)):
        rs, first_o = step // (OUT // STEP), step % (OUT // STEP) * STEP
        r, s = row - rs // 3, column - rs % 3  # the output pixel of the convolution that reads this pixel with the weights of rs
        exists = (inside & (r >= 0) & (r < 2 * Y) & (s >= 0) & (s < 2 * X))[:, None]
        pooled = (image * Y + r // 2) * X + s // 2
        at = run * (num_images * (Y * X * OUT)) + (pooled * OUT + first_o)[:, None] + o[None, :]
        is_winner = tl.load(winner + at, exists, 4) == (r % 2 * 2 + s % 2)[:, None]
        grad_mo = tl.where(is_winner, tl.load(grad + at, exists, 0.0), 0.0)
        w_oi = tl.load(weight_oi + first_o * (9 * IN) + rs * IN)
        sum_mi = tl.dot(grad_mo, w_oi, sum_mi, PRECISION)
    at = run * (num_images * (HEIGHT * WIDTH * IN)) + (m * IN)[:, None] + i[None, :]
    tl.store(grad_x + at, sum_mi, inside[:, None])


@triton.jit
def grad_weight_kernel(
    x,
    grad,
    winner,
    active,
    partial,
    num_images,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    PRECISION: tl.constexpr,
    IMAGES: tl.constexpr,
    PIXELS: tl.constexpr,
    STEP: tl.constexpr,
):
    Y: tl.constexpr = HEIGHT // 2 - 1
    X: tl.constexpr = WIDTH // 2 - 1
    run = tl.load(active + tl.program_id(2)).to(tl.int64)
    o, j = tl.arange(0, OUT), tl.program_id(0) * STEP + tl.arange(0, STEP)
    first = tl.program_id(1) * (IMAGES * Y * X)
    end = tl.minimum(first + IMAGES * Y * X, num_images * (Y * X))
    x_j = x + run * (num_images * (HEIGHT * WIDTH * IN)) + j // (3 * IN) * (WIDTH * IN) + j % (3 * IN)
    sum_oj = tl.zeros((OUT, STEP), tl.float32)
    for step in range((IMAGES * Y * X + PIXELS - 1) // PIXELS):
        m = first + step * PIXELS + tl.arange(0, PIXELS)  # image, y, x
        inside = (m < end)[:, None]
        at = run * (num_images * (Y * X * OUT)) + (m * OUT)[:, None] + o[None, :]
        grad_mo = tl.load(grad + at, inside, 0.0)
        winner_mo = tl.load(winner + at, inside, 4)
        x_mj = x_j[None, :] + (_first_pixel(m, HEIGHT, WIDTH) * IN)[:, None]
        for place in tl.static_range(4):
            window_mj = tl.load(x_mj + (place // 2 * WIDTH + place % 2) * IN, inside & (j < 9 * IN)[None, :], 0.0)
            window_mj = tl.where((j == 9 * IN)[None, :], 1.0, window_mj)  # the column of the bias
            sum_oj = tl.dot(tl.trans(tl.where(winner_mo == place, grad_mo, 0.0)), window_mj, sum_oj, PRECISION)
    num_columns = tl.num_programs(0) * STEP
    chunk = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64)
    tl.store(partial + chunk * (OUT * num_columns) + (o * num_columns)[:, None] + j[None, :], sum_oj)


@triton.jit
def _first_pixel(m, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """The upper left pixel of the part of x that pooled pixel m depends on."""
    Y: tl.constexpr = HEIGHT // 2 - 1
    X: tl.constexpr = WIDTH // 2 - 1
    return (m // (Y * X) * HEIGHT + m // X % Y * 2) * WIDTH + m % X * 2


@triton.jit
def _larger(value, place, other, other_place: tl.constexpr):
    """The larger value and its place. As in PyTorch's pooling, the first of equal values wins, and the last NaN wins over all."""
    wins = (other > value) | (other != other)
    return tl.where(wins, other, value), tl.where(wins, other_place, place)
