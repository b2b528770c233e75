"""`python -m gateway`: the same as the command `gateway`."""

from __future__ import annotations

if __name__ == "__main__":
    # Only here: a worker process runs this module too, under another name.
    from gateway.cli import gateway

    gateway(prog_name="gateway")
