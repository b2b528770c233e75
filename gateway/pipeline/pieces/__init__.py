"""Drops that are larger than memory: rows are laid down on the disk as they are judged, and put in order from there.

What comes out are the very bytes that the direct way would write. `spool` takes the good rows, chunk by chunk, as
sorted runs; `alike` finds the few that may repeat another one, by their hashes; `shards` brings those together and
decides about them; `arranged` gives the rows in their final order, a part at a time; `conclude` writes the results.
"""

from gateway.pipeline.pieces.conclude import conclude
from gateway.pipeline.pieces.spool import FOLDER, Spool

__all__ = ["FOLDER", "Spool", "conclude"]
