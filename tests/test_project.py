"""The project's frame: what pyproject.toml and the lock promise."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()


def normal(name: str) -> str:
    """A distribution's name as packaging compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[<>=~!\[ ;]", requirement)[0]) for requirement in requirements}


def test_every_package_that_is_imported_is_declared() -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "gateway").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    tops = {module.partition(".")[0] for module in modules} - {"gateway"} - set(sys.stdlib_module_names)
    distributions = packages_distributions()
    declared = named(PROJECT["project"]["dependencies"])
    undeclared = {top for top in tops if not {normal(name) for name in distributions.get(top, [])} & declared}
    assert undeclared == set()


def test_the_lock_has_everything_that_is_declared_with_hashes() -> None:
    locked = {normal(name) for name in re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)}
    assert named(PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]) <= locked
    entries = re.split(r"^(?=\S+==)", LOCK, flags=re.MULTILINE)[1:]
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_locks_name_no_host() -> None:
    assert re.findall(r"\w+://|--index|--find-links|--extra", LOCK) == []
    node = (ROOT / "tests" / "sftp" / "node" / "package-lock.json").read_text()
    # The home pages of sponsors are in it, but not where a package comes from.
    assert re.findall(r'"resolved"', node) == []


def test_asyncssh_is_pinned_exactly() -> None:
    assert "asyncssh==2.24.1" in PROJECT["project"]["dependencies"]
    assert re.search(r"^asyncssh==2\.24\.1 ", LOCK, re.MULTILINE)


def test_log_events_are_short_sentences_in_lower_case() -> None:
    events = [
        (event.value, f"{path.relative_to(ROOT)}:{node.lineno}")
        for path in (ROOT / "gateway").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.") and node.args
        if isinstance(event := node.args[0], ast.Constant)
    ]
    assert len(events) > 20
    assert [(event, at) for event, at in events if "_" in str(event) or not str(event)[:1].islower()] == []
