"""One client: uploads file after file with its program, tries again until it is told that a file is in, and keeps a
journal of what it sent and what it was told."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scripts.soaking import contents
from scripts.soaking.contents import Content
from scripts.soaking.programs import Program

ENDING_SECONDS_MAX = 60.0
"""How long a client goes on with its last file when the time is up."""
TRIES_MAX = 40
REPEATED_SHARE = 0.12
HOWS = (
    "put",
    "put",
    "put",
    "temporary",
    "temporary",
    "interrupted",
    "interrupted",
    "overwritten",
    "removed",
    "renamed",
)
NEEDS = {"temporary": "temporary", "removed": "remove", "renamed": "rename"}


@dataclass(slots=True)
class Upload:
    """A file that a client wants to have in, under a name of its own; `names` are all under which it may be found.
    `removed` says that the client has tried to remove it afterwards.
    `replaced_by` is the number of the client's next upload of that name.
    """

    client: int
    number: int
    program: str
    how: str
    content: Content
    names: list[str]
    tries: int = 0
    tries_are_counted: bool = True
    acknowledged: bool = False
    removed: bool = False
    replaced_by: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Upload:
        return cls(**plain | {"content": Content(**plain["content"])})

    def __str__(self) -> str:
        return f"client {self.client} ({self.program}, {self.how}), {self.content.feed}/{self.names[0]}"


@dataclass
class Client(threading.Thread):
    """Works until the time is up. `serving` is set while the gateway accepts connections; `told` is set here when a
    file is acknowledged."""

    number: int
    program: Program
    seed: str
    seconds: float
    serving: threading.Event
    told: threading.Event
    journal: list[Upload] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(name=f"client-{self.number}", daemon=True)
        self._pick = random.Random(f"{self.seed} client {self.number}")
        self._deadline = 0.0
        self._folder = self.program.site.folder / f"client-{self.number}"

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        self._deadline = time.monotonic() + self.seconds
        self._folder.mkdir()
        while time.monotonic() < self._deadline:
            self._one()
            time.sleep(self._pick.uniform(0, 0.4))

    def _one(self) -> None:
        """One file, from the making to the last that is done to it."""
        how = self._pick.choice(HOWS)
        if not self.program.can(NEEDS.get(how, "put")) or (how == "interrupted" and not self.program.can_be_killed):
            how = "put"
        repeats = self.journal and self._pick.random() < REPEATED_SHARE
        upload, source = self._next(how, self._pick.choice(self.journal).content if repeats else None)
        if how == "interrupted":
            self._send_interrupted(upload, source)
        else:
            self._send(upload, source, "temporary" if how == "temporary" else "put")
        if how in ("overwritten", "removed", "renamed"):
            time.sleep(self._pick.choice((0.0, 0.1, 0.3, 1.0)))
            getattr(self, f"_{how}")(upload)
        source.unlink()

    def _next(self, how: str, like: Content | None = None, name: str | None = None) -> tuple[Upload, Path]:
        """The next upload, in the journal, and its file: the very bytes of `like`, or under a `name` the same form."""
        number = len(self.journal)
        key = like.key if like and not name else f"{self.number}x{number}"
        large = like.is_large if like and not name else how == "interrupted"
        content, data = contents.make(key, self.seed, large=large, suffix=like.suffix if like else None)
        source = self._folder / f"{number}"
        source.write_bytes(data)
        name = name or f"c{self.number}-{number:04}.{content.suffix}"
        upload = Upload(self.number, number, self.program.name, how, content, [name])
        upload.tries_are_counted = not self.program.tries_again
        self.journal.append(upload)
        return upload, source

    def _send(self, upload: Upload, source: Path, verb: str) -> None:
        rate = self._rate(upload)
        self._until_done(upload, lambda: self._try(upload, source, verb, rate=rate))

    def _send_interrupted(self, upload: Upload, source: Path) -> None:
        """The program is killed in the middle, and then goes on where it was, or begins anew when it cannot."""
        dies_after = self._pick.uniform(0.2, 1.0)
        if self._waits_for_the_gateway():
            upload.acknowledged = self._try(upload, source, "put", rate=self._rate(upload, 1), dies_after=dies_after)
        verbs = ["resume", "put"] if self.program.can("resume") else ["put"]
        self._until_done(upload, lambda: any(self._try(upload, source, verb) for verb in verbs))

    def _until_done(self, upload: Upload, attempt: Callable[[], bool]) -> None:
        while not upload.acknowledged and upload.tries < TRIES_MAX and self._waits_for_the_gateway():
            upload.acknowledged = attempt()
            if not upload.acknowledged:
                time.sleep(self._pick.uniform(0, 0.3))

    def _try(self, upload: Upload, source: Path, verb: str, **how: Any) -> bool:
        upload.tries += 1
        done = self.program.do(verb, str(source), path_of(upload, upload.names[0]), **how)
        if done:
            self.told.set()
        return done

    def _rate(self, upload: Upload, share: float = 0.3) -> int | None:
        """Kilobytes a second, so that a large file takes about two seconds."""
        slowly = upload.content.bytes > 200_000 and self._pick.random() < share
        return upload.content.bytes // 2_000 if slowly else None

    def _waits_for_the_gateway(self) -> bool:
        """False when the time to try again is up."""
        left = self._deadline + ENDING_SECONDS_MAX - time.monotonic()
        return left > 0 and self.serving.wait(left)

    def _overwritten(self, upload: Upload) -> None:
        name = upload.names[0]
        for verb in self._pick.sample(("put", "temporary"), 2):
            if self.program.can(verb):
                later, source = self._next("overwriting", upload.content, name)
                # Said before it is sent: it may land without an acknowledgement.
                upload.replaced_by = later.number
                self._send(later, source, verb)
                source.unlink()
                return

    def _removed(self, upload: Upload) -> None:
        if upload.acknowledged and self._waits_for_the_gateway():
            upload.removed = True
            self.program.do("remove", path_of(upload, upload.names[0]))

    def _renamed(self, upload: Upload) -> None:
        if upload.acknowledged and self._waits_for_the_gateway():
            upload.names.append(f"renamed-{upload.names[0]}")
            self.program.do("rename", *(path_of(upload, name) for name in upload.names))


def path_of(upload: Upload, name: str) -> str:
    return f"/inbox/{upload.content.feed}/{name}"
