"""A 64-bit hash of every value of a column, the same for equal values however Arrow holds them.

Chunking, dictionary encoding, 32- or 64-bit offsets and the width of a number do not count; 1 and 1.0 are equal, as
are a date and its midnight. Null, NaN, 0 and "" are four different values. Not for adversaries: a value that is made
to collide will.

Shape letters: N values of a column, M elements of its lists, W bytes.
"""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
NULL = np.uint64(0x6E756C6C6E756C6C)
NAN = np.uint64(0x4E614E4E614E4E61)
TEXT, FRACTION, HIGH, LIST, STRUCT, OTHER = (np.uint64(tag * 0x1000193 + 0x811C9DC5) for tag in range(6))
LONG_BYTES = 256  # from here on one call of a C hash costs less than a NumPy pass for each 8 bytes
NUM_NS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}  # of a unit, in a second


def mix(values_N: np.ndarray) -> np.ndarray:
    """Scatter 64-bit integers (N,), each bit of the input moving half of the output's.

    Source: splitmix64; Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    mixed_N = values_N + GOLDEN
    mixed_N ^= mixed_N >> np.uint64(30)
    mixed_N *= np.uint64(0xBF58476D1CE4E5B9)
    mixed_N ^= mixed_N >> np.uint64(27)
    mixed_N *= np.uint64(0x94D049BB133111EB)
    mixed_N ^= mixed_N >> np.uint64(31)
    return mixed_N


def key_of(name: str) -> np.uint64:
    """The hash of a name, one that no version of a library changes."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def cell_hashes(array: pa.Array) -> np.ndarray:
    """Hashes (N,) uint64 of the values of one array."""
    if isinstance(array, pa.ExtensionArray):
        return cell_hashes(array.storage)
    if isinstance(array, pa.DictionaryArray):
        return _of_dictionary(array)
    if pa.types.is_null(array.type):
        return np.full(len(array), NULL)
    hashes_N = _of_values(array)
    if array.null_count:
        hashes_N[array.is_null().to_numpy(zero_copy_only=False)] = NULL
    return hashes_N


def _of_dictionary(array: pa.DictionaryArray) -> np.ndarray:
    distinct = np.append(cell_hashes(array.dictionary), NULL)
    codes_N = pc.fill_null(array.indices.cast(pa.int64()), len(distinct) - 1).to_numpy()
    return distinct[codes_N]


def _of_values(array: pa.Array) -> np.ndarray:
    """Hashes (N,), whatever they are where the array is null."""
    kind, is_a = array.type, pa.types
    if is_a.is_boolean(kind) or is_a.is_integer(kind):
        return _of_integers(array)
    if is_a.is_floating(kind):
        return _of_floats(array)
    if is_a.is_temporal(kind) and not is_a.is_interval(kind):
        return _of_times(array)
    if _is_text(kind):
        return _of_bytes(array)
    if is_a.is_decimal(kind):
        return _of_bytes(array.cast(pa.string())) ^ FRACTION
    if is_a.is_struct(kind):
        return _of_structs(array)
    if _is_list(kind):
        return _of_lists(array)
    if is_a.is_run_end_encoded(kind):
        return cell_hashes(pc.run_end_decode(array))
    return _of_bytes(pa.array([repr(value) for value in array.to_pylist()], pa.large_string())) ^ OTHER


def _is_text(kind: pa.DataType) -> bool:
    is_a = pa.types
    checks = (
        is_a.is_string, is_a.is_large_string, is_a.is_string_view, is_a.is_binary, is_a.is_large_binary,
        is_a.is_binary_view, is_a.is_fixed_size_binary,
    )  # fmt: skip
    return any(check(kind) for check in checks)


def _is_list(kind: pa.DataType) -> bool:
    is_a = pa.types
    checks = (is_a.is_list, is_a.is_large_list, is_a.is_fixed_size_list, is_a.is_list_view, is_a.is_large_list_view)
    return any(check(kind) for check in checks)


def _numbers(array: pa.Array, kind: pa.DataType) -> np.ndarray:
    """Values (N,) of that type, 0 where null."""
    return pc.fill_null(array.cast(kind), pa.scalar(0, kind)).to_numpy(zero_copy_only=False)


def _of_integers(array: pa.Array) -> np.ndarray:
    if not pa.types.is_uint64(array.type):
        return mix(_numbers(array, pa.int64()).view(np.uint64))
    values_N = _numbers(array, pa.uint64())
    beyond_N = values_N >> np.uint64(63)  # else 2**64 - 1 would be -1
    return mix(values_N ^ (beyond_N * HIGH))


def _of_floats(array: pa.Array) -> np.ndarray:
    values_N = _numbers(array, pa.float64())
    is_whole_N = (np.abs(values_N) < 2.0**63) & (values_N == np.trunc(values_N))
    whole_N = np.where(is_whole_N, values_N, 0.0).astype(np.int64)
    bits_N = np.where(is_whole_N, whole_N.view(np.uint64), values_N.view(np.uint64) ^ FRACTION)
    return mix(np.where(np.isnan(values_N), NAN, bits_N))


def _of_times(array: pa.Array) -> np.ndarray:
    """By seconds and nanoseconds: one count of nanoseconds would overflow for dates before 1678."""
    kind = array.type
    if pa.types.is_date32(kind):
        midnight_N = _numbers(array.cast(pa.int32()), pa.int64()) * 86_400
        return mix(midnight_N.view(np.uint64)) + mix(np.zeros(1, np.uint64))
    per_second = 1_000 if pa.types.is_date64(kind) else NUM_NS[kind.unit]
    seconds_N, rest_N = np.divmod(_numbers(_as_count(array), pa.int64()), per_second)
    return mix(seconds_N.view(np.uint64)) + mix((rest_N * (1_000_000_000 // per_second)).view(np.uint64))


def _as_count(array: pa.Array) -> pa.Array:
    return array.cast(pa.int32()) if pa.types.is_time32(array.type) else array.cast(pa.int64())


def _of_bytes(array: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_binary(array.type):
        array = array.cast(pa.binary())
    array = array.cast(pa.large_binary())
    _, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return hash_bytes(content or pa.py_buffer(b""), ends[:-1], ends[1:] - ends[:-1])


def hash_bytes(content: pa.Buffer, starts_N: np.ndarray, lengths_N: np.ndarray) -> np.ndarray:
    """Hashes (N,) of stretches of one buffer, eight bytes of each stretch at a time."""
    hashes_N = mix(lengths_N.astype(np.uint64) ^ TEXT)
    is_long_N = lengths_N >= LONG_BYTES
    if is_long_N.any():
        view = memoryview(content)
        for row in np.flatnonzero(is_long_N):
            stretch = view[starts_N[row] : starts_N[row] + lengths_N[row]]
            digest = hashlib.blake2b(stretch, digest_size=8).digest()
            hashes_N[row] ^= np.uint64(int.from_bytes(digest, "little"))
    _add_words(hashes_N, content, starts_N, np.where(is_long_N, 0, lengths_N))
    return mix(hashes_N)


def _add_words(hashes_N: np.ndarray, content: pa.Buffer, starts_N: np.ndarray, lengths_N: np.ndarray) -> None:
    rows = np.flatnonzero(lengths_N)
    if not len(rows):
        return
    first, last = int(starts_N[rows].min()), int((starts_N[rows] + lengths_N[rows]).max())
    bytes_W = np.zeros(last - first + 8, np.uint8)  # the last word may reach 7 bytes beyond the last text
    bytes_W[:-8] = np.frombuffer(content, np.uint8)[first:last]
    words = np.ndarray((len(bytes_W) - 7,), "<u8", bytes_W, strides=(1,))  # the 8 bytes from each byte on
    at = 0
    while len(rows):
        num_left = np.minimum(lengths_N[rows] - at, 8)
        word = words[starts_N[rows] - first + at] & (~np.uint64(0) >> ((8 - num_left).astype(np.uint64) * np.uint64(8)))
        hashes_N[rows] = mix(hashes_N[rows] ^ word)
        at += 8
        rows = rows[lengths_N[rows] > at]


def _of_structs(array: pa.StructArray) -> np.ndarray:
    hashes_N = np.full(len(array), STRUCT)
    for field, child in zip(array.type, array.flatten(), strict=True):
        hashes_N += mix(cell_hashes(child) ^ key_of(field.name))
    return mix(hashes_N)


def _of_lists(array: pa.Array) -> np.ndarray:
    kind = array.type.value_type
    array = array.cast(pa.large_list(kind))  # one layout for all
    starts_N = array.offsets.to_numpy()[:-1]
    lengths_N = np.diff(array.offsets.to_numpy())
    first, last = int(array.offsets[0].as_py()), int(array.offsets[-1].as_py())
    elements = array.values.slice(first, last - first)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _in_order(cell_hashes(elements), starts_N - first, lengths_N)
    # Pixels: by their bytes, an eighth of the work; which of them are null counts apart.
    values_M = _numbers(elements, kind)
    size = values_M.itemsize
    hashes_N = hash_bytes(pa.py_buffer(values_M), (starts_N - first) * size, lengths_N * size)
    if elements.null_count:
        is_null_M = elements.is_null().to_numpy(zero_copy_only=False).astype(np.uint64)
        hashes_N += _in_order(is_null_M, starts_N - first, lengths_N) - _in_order(
            np.zeros_like(is_null_M), starts_N - first, lengths_N
        )
    return hashes_N ^ LIST


def _in_order(hashes_M: np.ndarray, starts_N: np.ndarray, lengths_N: np.ndarray) -> np.ndarray:
    """Hashes (N,) of lists from those of their elements, the place of each in its list counted."""
    place_M = np.arange(len(hashes_M)) - np.repeat(starts_N, lengths_N)
    mixed_M = mix(hashes_M + mix(place_M.astype(np.uint64)))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed_M, dtype=np.uint64)])
    return mix(sums[starts_N + lengths_N] - sums[starts_N] + mix(lengths_N.astype(np.uint64)))
