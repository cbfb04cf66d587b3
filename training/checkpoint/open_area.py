"""From a URI to the storage behind it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from training.checkpoint.area import Area
from training.checkpoint.local import LocalArea
from training.checkpoint.remote import RemoteArea
from training.errors import StorageError
from training.redact import shown


def open_area(uri: str) -> Area:
    """Nothing is made or asked yet.

    Args:
        uri: absolute path, file:///..., s3://bucket/prefix?endpoint_override=..., gs://bucket/prefix

    Raises:
        StorageError: none of these.
    """
    if "://" not in uri:
        if not Path(uri).is_absolute():
            raise StorageError(
                f"checkpoints cannot go to {uri!r}: it is no absolute path", "another worker has another working folder"
            )
        return LocalArea(Path(uri))
    where = shown(uri).partition("?")[0]
    try:
        store, path = pafs.FileSystem.from_uri(uri)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise StorageError(
            f"checkpoints cannot go to {where}: {str(error).splitlines()[0].replace(uri, where)}",
            "examples: /mnt/runs, s3://bucket/folder, gs://bucket/folder",
        ) from error
    return LocalArea(Path(path)) if isinstance(store, pafs.LocalFileSystem) else RemoteArea(store, path, where)
