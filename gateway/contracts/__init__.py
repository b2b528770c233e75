"""Contracts: the model, the built-in five, and the problem codes that partners see."""

from __future__ import annotations

from pathlib import Path

from gateway.config import did_you_mean
from gateway.contracts.model import Contract, builtin_folder, parse
from gateway.errors import ContractError

__all__ = ["Contract", "builtin_names", "load", "parse"]


def builtin_names() -> list[str]:
    """The names of the contracts that ship with the package."""
    return sorted(path.stem for path in builtin_folder().glob("*.toml"))


def load(name: str, root: Path | None = None) -> Contract:
    """The contract of that name: `<root>/contracts/<name>.toml`, else a built-in one. Raises ContractError."""
    folders = [folder for folder in (root and root / "contracts", builtin_folder()) if folder]
    known = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.toml"))}
    if name not in known:
        raise ContractError(
            f"no contract named '{name}'{did_you_mean(name, known)} (known contracts: {', '.join(sorted(known))})"
        )
    path = known[name]
    contract = parse(path.read_text(encoding="utf-8"), f"contracts/{path.name}")
    if contract.name != name:
        raise ContractError(f"contracts/{path.name}: name: expected '{name}' as the file says, found '{contract.name}'")
    return contract
