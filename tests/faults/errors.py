"""The calls that the system refuses in tests of a failing disk."""

from __future__ import annotations

from errno import EIO

from tests.faults.points import HANDLES, LANDING, UPLOADS, Point

OF_THE_CLIENT = Point("the fsync of a client fails", "put", "before", HANDLES, "os.fsync", inside="sync", errno=EIO)
TEMPORARY = Point(
    "the inbox of a temporary file cannot be fsynced",
    "put",
    "before",
    UPLOADS,
    "os.fsync",
    inside="store_temporary",
    errno=EIO,
)
ERRORS = (
    Point("the bytes cannot be written", "put", "before", HANDLES, "write_all", nth=4, errno=EIO),
    Point("the bytes cannot be fsynced", "put", "before", LANDING, "sync", inside="land", errno=EIO),
    Point("the inbox cannot be fsynced", "put", "before", LANDING, "os.fsync", inside="move_into_inbox", errno=EIO),
    Point("the spool cannot be fsynced", "put", "before", LANDING, "sync", inside="move_into_inbox", errno=EIO),
    Point(
        "the file cannot be renamed into the inbox",
        "put",
        "before",
        LANDING,
        "os.rename",
        inside="move_into_inbox",
        errno=EIO,
    ),
    Point("the spool file cannot be made", "put", "before", UPLOADS, "Uploads._enter", errno=EIO),
)
