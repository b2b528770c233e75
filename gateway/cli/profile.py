"""`gateway profile`: what is stored of somebody, where each attribute came from, and the last events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from gateway.cli.events import COLUMNS as EVENT_COLUMNS
from gateway.cli.events import event_json, event_line
from gateway.cli.jobs import ID_SHOWN, JSON_OPTION, shown_time
from gateway.cli.listing import harmless, plainly, print_list, wide_console
from gateway.cli.options import config_option
from gateway.cli.stored import files_of_jobs, json_object, opened_store, settings_of
from gateway.errors import StoreError

if TYPE_CHECKING:
    from gateway.store.lookup import Attribute, Profile

COLUMNS = ("ATTRIBUTE", "VALUE", "TIME (UTC)", "FILE", "ROW", "JOB")
BLANKED = "(blanked)"


@click.command()
@click.argument("tenant")
@click.argument("identity")
@click.option("--namespace", help="Only of this identity column: identity, objectId, id, email, user_id, company_id.")
@click.option("--events", "count", type=click.IntRange(0), default=20, show_default=True, help="The last so many.")
@JSON_OPTION
@config_option
def profile(tenant: str, identity: str, namespace: str | None, count: int, as_json: bool, root: Path) -> None:
    """Show what is stored of IDENTITY: each attribute, the file and row it came from, and the last events."""
    settings = settings_of(root, tenant)
    store = opened_store(settings, tenant)
    from gateway.store.lookup import Wanted, last_events, profiles

    found = profiles(store, identity, namespace)
    events = last_events(store, Wanted(identity, namespace), count) if count else []
    if not found and not events:
        raise unknown(tenant, identity, namespace)
    files = files_of_jobs(settings, jobs_in(found, events))
    if as_json:
        click.echo(as_json_text(found, events, files))
        return
    if not found:
        click.echo(plainly(f"'{identity}' has events, and no profile."))
    elif len(found) > 1:
        spaces = ", ".join(one.namespace for one in found)
        click.echo(plainly(f"'{identity}' is in {len(found)} namespaces ({spaces}); --namespace shows one.\n"))
    for one in found:
        print_profile(one, files)
    if events:
        click.echo(f"The last {len(events):,} events:" if len(events) > 1 else "The last event:")
        print_list(EVENT_COLUMNS, (event_line(event, files) for event in events), gives_way="PROPERTIES")


def unknown(tenant: str, identity: str, namespace: str | None) -> StoreError:
    where = f"{namespace} '{identity}'" if namespace else f"'{identity}'"
    return StoreError(
        f"Nothing is stored of {where} in tenant '{tenant}'.",
        hint="Identities are compared to the letter; what was rejected, or waits, is not stored (`gateway jobs`).",
    )


def jobs_in(found: Sequence[Profile], events: Sequence[dict[str, Any]]) -> set[str]:
    """The ids of all jobs that anything came from."""
    of_profiles = {job for one in found for job in (one.created_by, one.updated_by)}
    return of_profiles | {said.job for one in found for said in one.attributes} | {event["job"] for event in events}


def print_profile(found: Profile, files: dict[str, str]) -> None:
    facts = [
        (found.table, f"{found.namespace} {found.identity}"),
        ("created", f"{shown_time(found.created)} by {files.get(found.created_by, '-')} (job {found.created_by})"),
        ("updated", f"{shown_time(found.updated)} by {files.get(found.updated_by, '-')} (job {found.updated_by})"),
    ]
    for name, value in facts:
        wide_console().print(f"{name:<10}", harmless(value), soft_wrap=True)
    click.echo()
    print_attributes(found, files)
    click.echo()


def print_attributes(found: Profile, files: dict[str, str]) -> None:
    """Whole lines for a pipe; on a terminal values are folded, and ids cut to what tells them apart."""
    console = wide_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        folds = column in ("VALUE", "FILE")
        table.add_column(column, no_wrap=not folds, overflow="fold", justify="right" if column == "ROW" else "left")
    for one in found.attributes:
        job = one.job[:ID_SHOWN] if console.is_terminal else one.job
        table.add_row(
            harmless(one.name), shown_value(one), shown_time(one.time), harmless(files.get(one.job, "-")),
            f"{one.row:,}", harmless(job),
        )  # fmt: skip
    console.print(table)


def shown_value(one: Attribute) -> Text:
    return Text(BLANKED, "dim") if one.value is None else harmless(one.value)


def as_json_text(found: Sequence[Profile], events: Sequence[dict[str, Any]], files: dict[str, str]) -> str:
    """One object: the profiles of each name space, and the last events."""
    told = ",\n".join(profile_json(one, files) for one in found)
    last = ",\n".join(event_json(event, files) for event in events)
    return f'{{"profiles": [{told}],\n"events": [{last}]}}'


def profile_json(found: Profile, files: dict[str, str]) -> str:
    names = ("table", "namespace", "identity", "created", "updated", "created_by", "updated_by")
    attributes = {one.name: attribute_json(one, files) for one in found.attributes}
    return json_object({name: getattr(found, name) for name in names}, {"attributes": json_object({}, attributes)})


def attribute_json(one: Attribute, files: dict[str, str]) -> str:
    plain = {"time": one.time, "job": one.job, "file": files.get(one.job), "row": one.row, "blanked": one.value is None}
    return json_object(plain, {"value": "null" if one.value is None else one.value})
