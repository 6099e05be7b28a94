"""Exact nearest neighbours in Euclidean distance, in chunks, with a fixed rule for ties."""

import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from genjax.errors import InvalidInputError
from genjax.metrics.layers.checks import check_points

_ENTRIES = 2**22  # distances held at once by one thread: 16 MiB, and as much for the nearest
_WHOLE = 2**29  # bytes that all distances may take at once
_TILE = 512
_ACCELERATOR_ENTRIES = 2**28
_STRIDE = 8
_LOST = 2.0**-13  # squared distance over squared norm below which float32 has lost its digits


class Neighbours(NamedTuple):
    """The nearest neighbours of every query, nearest first.

    Attributes:
        indices: `[N, k]`, positions in `points`; of equally near the smaller first.
        distances: `[N, k]`, Euclidean.
    """

    indices: Any
    distances: Any


class _Search(NamedTuple):
    """Points and queries about a common centre, in units of a power of two.

    Attributes:
        gallery: `[U, D]`, the distinct points.
        norms: `[U]`, their squared norms.
        place: `[M]`, which distinct point every point is; None where all are distinct.
        queries: `[N, D]`.
        own: `[N]`, the position of the query among the points; None for queries from outside.
        twin: `[N]`, the distinct point that equals the query; None where no query equals one.
        unit: by which distances are multiplied.
    """

    gallery: np.ndarray
    norms: np.ndarray
    place: np.ndarray | None
    queries: np.ndarray
    own: np.ndarray | None
    twin: np.ndarray | None
    unit: float


def nearest(
    points: Any,
    *,
    k: int,
    queries: Any = None,
    chunk: int | None = None,
    method: str = "auto",
) -> Neighbours:
    """Return the k nearest points of every query, or of every point among the others.

    Without queries every point is one, and is no neighbour of itself; equal points are. Equal
    points are exactly 0 apart and equally far from every query; of equally near points the one
    with the smaller index comes first, at the last place, too. Distances that differ by less than
    rounding may come in either order. Where a nearest neighbour is so much nearer than the points
    are to their mean that float32 loses its digits, the query is searched again in float64.

    "numpy" takes products in BLAS and selects in all cores; distances of points from each other are
    symmetric and taken once where all fit in 512 MiB. "jax" takes `lax.top_k` on the default
    device. 50,000 points of 2,048 dimensions need less than 2 GiB besides the input. Traced points
    are searched at once by "jax"; there points nearer than rounding count as equal.

    Args:
        points: `[M, D]`.
        k: how many; at most M - 1 without and M with queries; static.
        queries: `[N, D]`, or None for the points themselves.
        chunk: how many queries are searched at once; None chooses.
        method: "numpy", "jax", or "auto": "numpy" on a CPU and "jax" on accelerators.

    Returns:
        NumPy arrays [N, k]; of traced points JAX arrays.

    Raises:
        InvalidInputError: k out of range, values that are not finite, widths that differ.

    Example:
        >>> found = nearest([[0.0], [1.0], [3.0], [1.0]], k=2)
        >>> found.indices.tolist(), found.distances.tolist()
        ([[1, 3], [3, 0], [1, 3], [1, 0]], [[1.0, 1.0], [0.0, 1.0], [2.0, 2.0], [0.0, 1.0]])
    """
    points, _ = check_points(points)
    if queries is not None:
        queries, _ = check_points(queries, name="queries")
    _check(points, k, queries, chunk, method)
    if isinstance(points, jax.core.Tracer) or isinstance(queries, jax.core.Tracer):
        return _traced(points, queries, k)
    if method == "auto":
        method = "numpy" if jax.default_backend() == "cpu" else "jax"
    search = _prepare(np.asarray(points), None if queries is None else np.asarray(queries))
    count, width = search.queries.shape[0], points.shape[0]
    indices = np.empty((count, k), np.int32)
    distances = np.empty((count, k), search.gallery.dtype)
    entries = _ENTRIES if method == "numpy" else _ACCELERATOR_ENTRIES
    step = chunk or max(1, min(count, entries // width))
    run = _with_threads if method == "numpy" else _on_device
    whole = search.gallery.itemsize * width**2 <= _WHOLE and width > _TILE
    if run is _with_threads and queries is None and search.place is None and whole and not chunk:
        run = _by_halves
    for start, where, squares in run(search, k, step):
        rows = slice(start, start + len(where))
        indices[rows], distances[rows] = where, squares
    _search_again(search, indices, distances, k)
    np.sqrt(distances, out=distances)
    distances *= search.unit
    return Neighbours(indices, distances)


def _check(points: Any, k: int, queries: Any, chunk: int | None, method: str) -> None:
    most = points.shape[0] - (queries is None)
    if not 1 <= k <= most:
        raise InvalidInputError(f"k: found {k}; 1 to {most} neighbours exist among the points.")
    if queries is not None and queries.shape[1] != points.shape[1]:
        raise InvalidInputError(
            f"queries: found {queries.shape[1]} dimensions; the points have {points.shape[1]}."
        )
    if chunk is not None and chunk < 1:
        raise InvalidInputError(f"chunk: found {chunk}; at least 1 query is searched at once.")
    if method not in ("auto", "numpy", "jax"):
        raise InvalidInputError(f"method: found '{method}'; allowed are auto, numpy and jax.")


def _prepare(points: np.ndarray, queries: np.ndarray | None) -> _Search:
    kind = np.result_type(points, points if queries is None else queries)
    centre = points.mean(axis=0, dtype=np.float64)
    spread = max(
        float(np.max(np.maximum(rows.max(axis=0) - centre, centre - rows.min(axis=0))))
        for rows in (points, queries)
        if rows is not None
    )
    unit = 2.0 ** np.floor(np.log2(spread)) if 0 < spread < np.inf else 1.0
    # The centre is rounded to a grid, so that whole numbers stay whole and their ties exact, and
    # the unit keeps squares from overflowing; both are exact in binary.
    centre = (np.round(centre / (unit / 4)) * (unit / 4)).astype(kind)

    def about_centre(rows):
        # Adding 0 turns -0 into 0: equal rows are equal bytes.
        moved = rows.astype(kind) - centre
        moved *= kind.type(1 / unit)
        moved += kind.type(0)
        return moved

    gallery = about_centre(points)
    if queries is None:
        own, asked = np.arange(len(gallery), dtype=np.int32), gallery
        gallery, place = distinct_rows(gallery)
        twin = own if place is None else place
    else:
        asked, own, twin = about_centre(queries), None, None
        distinct, place = distinct_rows(np.concatenate([gallery, asked]))
        if place is not None:
            # Queries that equal no point stand in the gallery, too, but in no point's place.
            twin, place, gallery = place[len(gallery) :], place[: len(gallery)], distinct
    norms = np.einsum("nd,nd->n", gallery, gallery)
    return _Search(gallery, norms, place, asked, own, twin, float(unit))


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the distinct rows in order, and which of them every row is; None if all differ.

    Rows are equal where their bytes are.

    Example:
        >>> rows, place = distinct_rows(np.array([[1.0], [2.0], [1.0]]))
        >>> rows.ravel().tolist(), place.tolist()
        ([1.0, 2.0], [0, 1, 0])
    """
    rows = np.ascontiguousarray(rows)
    hashes = np.fromiter((hash(row.tobytes()) for row in rows), np.int64, len(rows))
    _, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return rows, None
    if not np.array_equal(rows, rows[first][place]):  # two rows of one hash
        _, first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return rows[np.sort(first)], rank[place.ravel()].astype(np.int32)


def _with_threads(
    search: _Search, k: int, step: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Search chunk by chunk in as many threads as cores, each with one thread of BLAS."""
    starts = range(0, len(search.queries), step)

    def one(start):
        rows = slice(start, start + step)
        return start, *_select(_squares(search, rows), k)

    threads = min(_cores(), len(starts))
    if threads == 1:
        yield from map(one, starts)
        return
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        # Results wait for no more than their turn: they are small beside the distances.
        yield from pool.map(one, starts)


def _by_halves(search: _Search, k: int, step: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Take every product once, as distances are symmetric: half the work, and all held at once."""
    points, norms = search.gallery, search.norms
    count = len(points)
    squares = np.empty((count, count), points.dtype)

    def tiles(start):
        rows, later = slice(start, start + _TILE), slice(start, None)
        found = np.matmul(points[rows] * -2, points[later].T)
        found += norms[None, later]
        found += norms[rows, None]
        np.maximum(found, 0, out=found)
        squares[rows, later] = found
        squares[start + _TILE :, rows] = found[:, _TILE:].T

    def one(start):
        return start, *_select(squares[start : start + step], k)

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(_cores()) as pool:
        list(pool.map(tiles, range(0, count, _TILE)))
        np.fill_diagonal(squares, np.inf)
        yield from pool.map(one, range(0, count, step))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


def _squares(search: _Search, rows: Any) -> np.ndarray:
    """Return the squared distances of some queries from all points; infinite from themselves."""
    asked = search.queries[rows]
    squares = np.matmul(asked * -2, search.gallery.T)
    squares += search.norms[None]
    squares += np.einsum("nd,nd->n", asked, asked)[:, None]
    np.maximum(squares, 0, out=squares)
    each = np.arange(len(asked))
    if search.twin is not None:
        squares[each, search.twin[rows]] = 0
    if search.place is not None:
        squares = squares[:, search.place]
    if search.own is not None:
        squares[each, search.own[rows]] = np.inf
    return squares


def _select(squares: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and values of the k smallest of every row, ties by position."""
    if squares.dtype == np.float64:
        return _select_of_doubles(squares, k)
    # A partition of whole rows would cost as much as the products. Every eighth entry says about
    # how small the k smallest are; what is not above that is sorted.
    sampled = k // _STRIDE + int(3 * np.sqrt(k / _STRIDE)) + 4
    if _STRIDE * (sampled + 1) >= squares.shape[1]:
        return _sorted_keys(_keys(squares, np.arange(squares.shape[1])[None]), k)
    sample = np.partition(squares[:, ::_STRIDE], sampled, axis=1)
    near = squares <= sample[:, sampled, None]
    counts = np.count_nonzero(near, axis=1)
    few = np.flatnonzero(counts < k)
    near[few], counts[few] = True, squares.shape[1]
    found = np.flatnonzero(near)
    each = np.arange(len(squares))
    columns = found - np.repeat(each * squares.shape[1], counts)
    keys = np.full((len(squares), counts.max()), np.iinfo(np.uint64).max)
    places = np.arange(len(found)) + np.repeat(
        each * keys.shape[1] - np.cumsum(counts) + counts, counts
    )
    keys.ravel()[places] = _keys(squares.ravel()[found], columns)
    return _sorted_keys(keys, k)


def _keys(squares: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return whole numbers in the order of the values, and of the columns where these are equal.

    Of floats from 0 on the bits are in the order of the values; adding 0 turns -0 into 0.
    """
    bits = (squares + np.float32(0)).view(np.uint32).astype(np.uint64)
    return (bits << np.uint64(32)) | columns.astype(np.uint64)


def _sorted_keys(keys: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    keys.sort(axis=1)
    keys = keys[:, :k]
    values = (keys >> np.uint64(32)).astype(np.uint32).view(np.float32)
    return keys.astype(np.uint32).astype(np.int32), values


def _select_of_doubles(squares: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    indices = np.empty((len(squares), k), np.int32)
    last = np.partition(squares, k - 1, axis=1)[:, k - 1]
    for row, (values, most) in enumerate(zip(squares, last, strict=True)):
        near = np.flatnonzero(values <= most)
        indices[row] = near[np.argsort(values[near], kind="stable")[:k]]
    return indices, np.take_along_axis(squares, indices, axis=1)


def _search_again(search: _Search, indices: np.ndarray, distances: np.ndarray, k: int) -> None:
    """Search in float64 what float32 could not tell apart; writes squared distances in place."""
    if distances.dtype == np.float64:
        return
    apart = np.min(distances, axis=1, where=distances > 0, initial=np.inf)
    norms = np.einsum("nd,nd->n", search.queries, search.queries)
    # Zeros that no equal point explains are differences that rounding has swallowed.
    zeros = np.count_nonzero(distances == 0, axis=1)
    lost = np.flatnonzero((apart < _LOST * norms) | (zeros != np.minimum(_equals(search), k)))
    if not lost.size:
        return
    gallery = search.gallery.astype(np.float64)
    exact = search._replace(
        gallery=gallery,
        norms=np.einsum("nd,nd->n", gallery, gallery),
        queries=search.queries[lost].astype(np.float64),
        own=None if search.own is None else search.own[lost],
        twin=None if search.twin is None else search.twin[lost],
    )
    width = len(gallery) if search.place is None else len(search.place)
    for start, where, squares in _with_threads(exact, k, max(1, _ENTRIES // width)):
        rows = lost[start : start + len(where)]
        indices[rows], distances[rows] = where, squares


def _equals(search: _Search) -> np.ndarray:
    """Return how many points equal each query, without itself."""
    if search.place is None or search.twin is None:
        return np.zeros(len(search.queries), int)
    sizes = np.bincount(search.place, minlength=len(search.gallery))
    return sizes[search.twin] - (search.own is not None)


@functools.partial(jax.jit, static_argnames="k")
def _chunk_on_device(gallery, norms, place, asked, own, twin, *, k):
    squares = norms[None] - 2 * jnp.matmul(asked, gallery.T, precision="highest")
    squares = jnp.maximum(squares + jnp.sum(asked * asked, axis=1)[:, None], 0)
    each = jnp.arange(asked.shape[0])
    if twin is not None:
        squares = squares.at[each, twin].set(0)
    if place is not None:
        squares = squares[:, place]
    if own is not None:
        squares = squares.at[each, own].set(jnp.inf)
    negative, where = jax.lax.top_k(-squares, k)  # of equals the smaller index comes first
    return where, -negative


def _on_device(search: _Search, k: int, step: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Search chunk by chunk on the default device."""
    with jax.enable_x64(search.gallery.dtype == np.float64):
        fixed = jax.device_put((search.gallery, search.norms, search.place))
        count = len(search.queries)
        for start in range(0, count, step):
            # The last chunk repeats its last query: one program serves all.
            rows = np.minimum(np.arange(start, start + step), count - 1)
            own, twin = (None if a is None else a[rows] for a in (search.own, search.twin))
            found = _chunk_on_device(*fixed, search.queries[rows], own, twin, k=k)
            where, squares = (np.asarray(part)[: count - start] for part in found)
            yield start, where, squares


def _traced(points: Any, queries: Any, k: int) -> Neighbours:
    points = jnp.asarray(points)
    centre = jnp.mean(points, axis=0, keepdims=True)
    # Rounded to a grid as in `_prepare`, so that whole numbers stay whole.
    _, exponent = jnp.frexp(jnp.max(jnp.abs(points - centre)))
    grid = jnp.ldexp(jnp.ones((), points.dtype), exponent - 3)
    centre = jnp.round(centre / grid) * grid
    gallery = points - centre
    asked = gallery if queries is None else jnp.asarray(queries) - centre
    norms = jnp.sum(gallery * gallery, axis=1)[None]
    own = jnp.sum(asked * asked, axis=1)[:, None]
    squares = norms - 2 * jnp.matmul(asked, gallery.T, precision="highest") + own
    rounding = 16 * jnp.finfo(squares.dtype).eps * (norms + own)
    squares = jnp.where(squares <= rounding, 0, squares)
    if queries is None:
        squares = jnp.where(jnp.eye(len(points), dtype=bool), jnp.inf, squares)
    negative, where = jax.lax.top_k(-squares, k)
    return Neighbours(where, jnp.sqrt(-negative))
