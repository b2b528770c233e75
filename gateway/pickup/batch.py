"""A batch: begun jobs of one tenant that go through their passage together.

Mostly it is one job. Of many small drops one worker gets several at once, so that it need not wait for the ledger
between them, and their outcomes are committed together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.engine import Answer, Engine, Task
from gateway.ledger import Ledger
from gateway.pickup.holding import holding
from gateway.pickup.passage import Passage, Result
from gateway.pickup.publication import Decided
from gateway.pipeline.drop import Outcome

TOGETHER_MAX = 16
"""Small drops of one batch: few enough that a tenant who comes meanwhile does not wait long for a worker."""

AHEAD = 2
"""With so many of its jobs left a batch is about to end: while they are judged, another slot prepares the next one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One or more passages.

    `on_free` hears that the worker is free, or will be in a moment; `on_judged`, of which share the file was refused.
    """

    ledger: Ledger
    engine: Engine
    passages: Sequence[Passage]
    on_free: Callable[[], None]
    on_judged: Callable[[float], None]
    patient: bool = False
    """Whether it is for the worker that gets what the others leave."""

    def run(self) -> list[Decided]:
        """From validating to what can be published now, without what must wait or went back to the queue."""
        outcomes = [(passage, outcome) for passage in self.passages if (outcome := passage.staged_before())]
        begun = [(passage, passage.take()) for passage in self.passages if passage.job.status != "pending_refresh"]
        groups = apart([passage for passage, _ in begun])
        here = {passage.job.id for passage, is_here in begun if is_here}
        for group in groups:
            with holding(*(passage.same_bytes for passage in group)):
                outcomes += self.decide(group, here, is_last=group is groups[-1])
        return [decided for passage, outcome in outcomes if (decided := passage.in_order(outcome))]

    def decide(self, group: Sequence[Passage], here: set[str], *, is_last: bool) -> list[tuple[Passage, Outcome]]:
        """The outcomes of those that have one now; what becomes of the others is in the ledger as well."""
        begun = [passage.begin(here=passage.job.id in here) for passage in group]
        answers = self.judge([task for task in begun if isinstance(task, Task)], is_last=is_last)
        given = iter(answers)
        results = [
            (passage, passage.result(task.drop, next(given)) if isinstance(task, Task) else task)
            for passage, task in zip(group, begun, strict=True)
        ]
        outcomes = [(passage, result) for passage, result in results if isinstance(result, Outcome)]
        for passage, _ in outcomes:
            passage.retract()
        self.commit(results)
        return outcomes

    def commit(self, results: Sequence[tuple[Passage, Result]]) -> None:
        """In one transaction: from here on the results are decided, and only their publication is left."""
        with self.ledger.transaction():
            for passage, result in results:
                passage.write(result)

    def judge(self, tasks: Sequence[Task], *, is_last: bool) -> list[Answer]:
        """The answers of a worker, where there is anything for one to do."""
        if not tasks:
            return []

        def see_answer(left: int) -> None:
            if is_last and left <= AHEAD:
                self.on_free()

        answers = self.engine.run(tasks, see_answer, patient=self.patient)
        refused = sum(isinstance(answer, Outcome) and answer.status == "failed" for answer in answers)
        self.on_judged(refused / len(answers))
        return answers


def apart(passages: Sequence[Passage]) -> list[list[Passage]]:
    """Passages in their order, in groups of which none has the same bytes twice."""
    groups: list[list[Passage]] = []
    for passage in passages:
        if not groups or passage.same_bytes in {other.same_bytes for other in groups[-1]}:
            groups.append([])
        groups[-1].append(passage)
    return groups
