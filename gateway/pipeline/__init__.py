"""The pipeline: a drop goes in, result files and an outcome come out. Pure: no network, no SQL."""

from gateway.pipeline.drop import Counts, Drop, Outcome, StagedFile
from gateway.pipeline.process import fail, process
from gateway.pipeline.publish import publish
from gateway.pipeline.warm import warm_up

__all__ = ["Counts", "Drop", "Outcome", "StagedFile", "fail", "process", "publish", "warm_up"]
