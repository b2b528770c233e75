"""Contracts: the model, the built-in five, and the problem codes that partners see."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from gateway.config import did_you_mean
from gateway.contracts.model import BUILTIN_FOLDER, Contract, parse
from gateway.errors import ContractError

__all__ = ["Contract", "builtin_names", "load", "names", "parse", "path_of"]


def builtin_names() -> list[str]:
    """The names of the contracts that ship with the package."""
    return sorted(path.stem for path in BUILTIN_FOLDER.glob("*.toml"))


def names(root: Path | None = None) -> list[str]:
    """The names of all contracts that `load` finds."""
    return sorted(known(root))


def known(root: Path | None) -> dict[str, Path]:
    """The file of each contract; one in `<root>/contracts/` goes before a built-in one."""
    return {path.stem: path for folder in folders(root) for path in sorted(folder.glob("*.toml"))}


def folders(root: Path | None) -> list[Path]:
    """Where contracts are; a later folder goes before an earlier one."""
    return [BUILTIN_FOLDER, *([root / "contracts"] if root else [])]


def path_of(name: str, root: Path | None = None) -> Path:
    """The file of a contract. Raises ContractError."""
    # The folders are listed for the message only: each job asks for its contract.
    for path in places_of(name, root):
        if path.is_file():
            return path
    found = known(root)
    raise ContractError(
        f"no contract named '{name}'{did_you_mean(name, found)} (known contracts: {', '.join(sorted(found))})"
    )


@lru_cache(maxsize=256)
def places_of(name: str, root: Path | None) -> list[Path]:
    """Where the contract of that name may be; the file that goes before the others is the first."""
    places = [folder / f"{name}.toml" for folder in reversed(folders(root))]
    return [path for path in places if path.parent in folders(root)]


def load(name: str, root: Path | None = None) -> Contract:
    """The contract of that name: `<root>/contracts/<name>.toml`, else a built-in one. Raises ContractError."""
    path = path_of(name, root)
    found = path.stat()
    contract = read_once(path, (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
    if contract.name != name:
        raise ContractError(f"contracts/{path.name}: name: expected '{name}' as the file says, found '{contract.name}'")
    return contract


@lru_cache(maxsize=256)
def read_once(path: Path, version: tuple[int, ...]) -> Contract:
    """The contract in a file; every job asks for its contract, whose file seldom changes."""
    return parse(path.read_text(encoding="utf-8"), f"contracts/{path.name}")
