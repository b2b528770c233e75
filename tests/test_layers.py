"""Imports point downwards only, and each part keeps to what it is for (DESIGN.md, invariants 10 and 11)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "gateway"

# A part may import those that stand after it. Parts on one line do not import each other.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"serve"},
    {"backup", "reset"},
    {"alarm", "retention"},
    {"sftp"},
    {"pickup"},
    {"storekeeper"},
    {"storekeeping"},
    {"engine"},
    {"pipeline"},
    {"store"},
    {"contracts"},
    {"ledger"},
    {"allowance", "exposure", "log"},
    {"config"},
    {"locks"},
    {"errors", "clock", "durable"},
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

PURE = {"pipeline", "contracts", "store"}
NOT_IN_PURE = {
    "gateway.ledger",
    "sqlite3",
    "sqlite_utils",
    "asyncio",
    "asyncssh",
    "paramiko",
    "socket",
    "urllib.request",
    "http",
}
SQL = {"sqlite3", "sqlite_utils"}
ASYNC_PLACES = ("sftp/", "serve.py", "cli/serve.py")


@dataclass(frozen=True)
class Import:
    """One imported module, and where."""

    file: str
    line: int
    module: str

    @property
    def part(self) -> str:
        """The part of the package in which the import stands."""
        return Path(self.file).parts[0].removesuffix(".py")

    @property
    def target(self) -> str | None:
        """The part of the package that is imported, None for other packages and for `gateway` itself."""
        names = self.module.split(".")
        return names[1] if names[0] == "gateway" and len(names) > 1 else None

    def __str__(self) -> str:
        return f"gateway/{self.file}:{self.line} imports {self.module}"


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imports_of(file: str, tree: ast.Module) -> Iterator[Import]:
    """All imports, those in functions as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"gateway/{file}:{node.lineno} has a relative import"
            module = node.module or ""
            # `from gateway import clock` names a part; `from gateway.clock import now` names what is in it.
            if module == "gateway":
                names = [alias.name for alias in node.names if alias.name in RANK or is_module(alias.name)]
                yield from (Import(file, node.lineno, f"gateway.{name}") for name in names)
            else:
                yield Import(file, node.lineno, module)


def is_module(name: str) -> bool:
    return (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()


def all_imports() -> list[Import]:
    return [found for file, tree in sources() for found in imports_of(file, tree)]


def is_of(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_every_part_of_the_package_has_a_layer() -> None:
    parts = {Path(file).parts[0].removesuffix(".py") for file, _ in sources()} - {"__init__"}
    assert parts <= set(RANK), f"give these a layer in this test: {sorted(parts - set(RANK))}"


def test_imports_point_downwards_only() -> None:
    upward = [
        str(found)
        for found in all_imports()
        if found.target is not None
        and found.target != found.part
        and found.part != "__init__"
        and RANK.get(found.target, -1) <= RANK.get(found.part, len(LAYERS))
    ]
    assert upward == []


def test_pipeline_contracts_and_store_know_no_network_no_sql_and_no_event_loop() -> None:
    assert [str(found) for found in all_imports() if found.part in PURE and is_of(found.module, NOT_IN_PURE)] == []


def test_only_the_ledger_speaks_sql() -> None:
    assert [str(found) for found in all_imports() if found.part != "ledger" and is_of(found.module, SQL)] == []


def test_async_lives_in_sftp_and_serve_only() -> None:
    found = [
        str(one) for one in all_imports() if is_of(one.module, {"asyncio"}) and not one.file.startswith(ASYNC_PLACES)
    ]
    found += [
        f"gateway/{file}:{node.lineno} defines async {node.name}"
        for file, tree in sources()
        if not file.startswith(ASYNC_PLACES)
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert found == []


def test_an_upward_import_is_found_wherever_it_hides() -> None:
    source = "def late():\n    from gateway import serve\n    import gateway.sftp.listener\n"
    found = list(imports_of("ledger/drops.py", ast.parse(source)))
    assert [str(one) for one in found] == [
        "gateway/ledger/drops.py:2 imports gateway.serve",
        "gateway/ledger/drops.py:3 imports gateway.sftp.listener",
    ]
    assert all(RANK[one.target or ""] < RANK[one.part] for one in found)
