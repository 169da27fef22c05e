"""Labels and features as Parquet: a row a frame, for pandas, DuckDB, Spark and Hugging Face datasets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.batch.contract import NotReadyError, Result, Step
from storage.durable.files import appearing
from storage.formats.contract import KeepsFeatures
from storage.formats.features.weights import FEATURES
from storage.formats.table import open_recording
from storage.shards.choose import VAL_SHARE, By, choose_side
from storage.shards.samples import GROUP_BYTES, facts_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


def write_parquet(
    recordings: Sequence[Path], out: Path, *, by: By = "recording", val_share: float = VAL_SHARE
) -> Result:
    """Write what is known of each frame into ``train.parquet`` and ``val.parquet``: the same bytes each time.

    The columns are those of `storage.shards.samples.facts_of`; ``time``, which is ``wall_ns`` as a time (UTC, to the
    microsecond); and ``features``: 256 float32, of recordings that keep them. A recording is a row group. No picture is
    decoded.

    Parameters
    ----------
    recordings : sequence of path
    out : path
        A directory. Each file appears when it is whole.
    by, val_share
        Which recordings are held out: as for `storage.shards.choose.choose_side`.

    Raises
    ------
    NotReadyError
        pyarrow is not installed.
    StorageError
        A recording can't be read, or is of hosts on both sides; or a file of that name is there already.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise NotReadyError("pyarrow is not installed; pip install 'pi-capture[parquet]' brings it") from None
    schema = _schema()
    writers: dict[str, Any] = {}
    frames = 0
    with ExitStack() as stack:
        for path in recordings:
            with open_recording(path) as recording:
                side = choose_side(recording, path, by, val_share)
                facts = facts_of(recording, path)
                features = recording.features[:] if isinstance(recording, KeepsFeatures) else None
            if side not in writers:
                file = stack.enter_context(appearing(out / f"{side}.parquet"))
                writer = pyarrow.parquet.ParquetWriter(file, schema, compression="zstd")
                writers[side] = stack.enter_context(writer)
            if facts:
                writers[side].write_table(_table(facts, features, schema))
            frames += len(facts)
    return Result(frames)


def _table(facts: list[dict[str, Any]], features: NDArray[np.float32] | None, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {name: [row[name] for row in facts] for name in facts[0]}
    columns["time"] = [None if wall_ns is None else wall_ns // 1000 for wall_ns in columns["wall_ns"]]
    if features is None:
        columns["features"] = pa.nulls(len(facts), schema.field("features").type)
    else:
        columns["features"] = pa.FixedSizeListArray.from_arrays(features.reshape(-1), FEATURES)
    return pa.Table.from_pydict(columns, schema)


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("recording", pa.string(), nullable=False),
            pa.field("index", pa.int64(), nullable=False),
            ("label", pa.string()),
            pa.field("timestamp_ns", pa.int64(), nullable=False),
            ("wall_ns", pa.int64()),
            ("time", pa.timestamp("us", "UTC")),
            ("session", pa.string()),
            ("host", pa.string()),
            ("camera", pa.string()),
            ("features", pa.list_(pa.float32(), FEATURES)),
        ]
    )


PARQUET = Step("parquet", write_parquet, GROUP_BYTES)
