"""Sites on which gateways are killed, each with a feed of its own for every test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.outcomes import Outcome, Reference, outcomes
from tests.faults.partner import SCRIPTS, Partner
from tests.faults.site import Site

numbers = itertools.count(1)


class SharedSites:
    """A site whose gateway goes on to serve the next test: the restart of one is the start of the other."""

    def __init__(self, new_folder: Callable[[], Path], *, store: bool = False) -> None:
        self._store = store
        self._new_folder = new_folder
        self._site: Site | None = None

    def take(self) -> Site:
        """The site, at rest and with an unused feed. One that a test has left in disorder is replaced."""
        if self._site is not None and (self._site.has_died() or self._site.armed() or not self._site.is_at_rest()):
            self.end()
        if self._site is None:
            self._site = Site(self._new_folder(), store=self._store)
            self._site.serve()
        self._site.use_feeds(f"people-{next(numbers)}")
        return self._site

    def end(self) -> None:
        if self._site is not None:
            self._site.kill()
            self._site = None


@pytest.fixture(scope="session")
def shared_sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedSites]:
    sites = SharedSites(lambda: tmp_path_factory.mktemp("site") / "root")
    yield sites
    sites.end()


@pytest.fixture
def shared_site(shared_sites: SharedSites) -> Site:
    """A gateway that serves already, for tests which leave it as it was."""
    return shared_sites.take()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    """The outcomes of a script when nobody is killed, by name of the script. They come from a gateway of their own."""
    known: dict[str, dict[str, Outcome]] = {}
    sites = SharedSites(lambda: tmp_path_factory.mktemp("undisturbed") / "root")

    def reference(script: str) -> dict[str, Outcome]:
        if script not in known:
            site = sites.take()
            partner = Partner(site)
            SCRIPTS[script](partner)
            site.ended(len(partner.acknowledged))
            known[script] = outcomes(site)
        return known[script]

    yield reference
    sites.end()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site of the test's own, that nobody serves yet."""
    site = Site(tmp_path / "site")
    yield site
    site.kill()
