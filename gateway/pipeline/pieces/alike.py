"""Rows that may be alike, by the hash of what would make them so.

Equal hashes are rare unless the rows are equal: only what is found here is looked at in full.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gateway.contracts import Contract
from gateway.pipeline.order import key_of
from gateway.pipeline.pieces.numbers import Numbers
from gateway.pipeline.rows import PLACE

# So many hashes are sorted at once: 32 MB.
HASHES_MAX = 4 << 20


def hashes(frame: pl.DataFrame, contract: Contract) -> NDArray[np.uint64] | None:
    """What says that rows may be alike: their identity, or all that a repeated event has in common; None where no
    row is too many."""
    if contract.kind == "profiles":
        return frame.select(key_of(contract).hash().alias("hash"))["hash"].to_numpy()
    if contract.allow_repeats:
        return None
    names = list(contract.unique) or [name for name in frame.columns if name not in PLACE]
    # A column that a chunk does not have is null in its rows, and adds nothing to the sum.
    parts = [
        pl.when(pl.col(name).is_not_null()).then(pl.col(name).hash(zlib.crc32(name.encode()))).otherwise(0)
        for name in names
    ]
    return frame.select(pl.sum_horizontal(parts).alias("hash"))["hash"].to_numpy()


def alike(found: Numbers[np.uint64], rows: Numbers[np.int64], rows_max: int) -> NDArray[np.bool_]:
    """By record number, up to `rows_max`, the rows whose hash another one has too."""
    mask = np.zeros(rows_max + 1, dtype=np.bool_)
    if len(found) == 0:
        return mask
    classes = np.uint64(len(found) // HASHES_MAX + 1)
    for number in range(int(classes)):
        pairs = list(of_class(found, rows, np.uint64(number), classes))
        if not pairs:
            continue
        of_hash, of_row = (np.concatenate(part) for part in zip(*pairs, strict=True))
        ordered = np.sort(of_hash)
        twins = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twins):
            mask[of_row[np.isin(of_hash, np.unique(twins))]] = True
    return mask


def of_class(
    found: Numbers[np.uint64], rows: Numbers[np.int64], number: np.uint64, classes: np.uint64
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """The hashes of one residue class, and the rows that have them."""
    for hashed, placed in zip(found.parts(), rows.parts(), strict=True):
        chosen = hashed % classes == number
        yield hashed[chosen], placed[chosen]
