"""The pipeline: a drop goes in, result files and an outcome come out. Pure: no network, no SQL.

Imported module by module: the gateway's own process names drops and publishes outcomes, and starts without polars.
"""
