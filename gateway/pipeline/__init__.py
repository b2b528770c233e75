"""The pipeline: a drop goes in, result files and an outcome come out. Pure: no network, no SQL."""

from gateway.pipeline.drop import Counts, Drop, Outcome, StagedFile, Suspect
from gateway.pipeline.process import fail, outcome_of, process
from gateway.pipeline.publish import publish
from gateway.pipeline.warm import warm_up

__all__ = ["Counts", "Drop", "Outcome", "StagedFile", "Suspect", "fail", "outcome_of", "process", "publish", "warm_up"]
