"""`python -m gateway`: the same as the command `gateway`."""

from __future__ import annotations

from gateway.cli import gateway

if __name__ == "__main__":
    gateway(prog_name="gateway")
