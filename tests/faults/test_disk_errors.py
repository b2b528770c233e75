"""A disk that refuses a call: the close fails, nothing has landed, and the same upload again works."""

from __future__ import annotations

import pytest
from paramiko.sftp import CMD_CLOSE, CMD_EXTENDED

from tests.conftest import standing
from tests.faults.errors import ERRORS, OF_THE_CLIENT, TEMPORARY
from tests.faults.outcomes import Reference, outcomes
from tests.faults.partner import PEOPLE, Partner, request, write
from tests.faults.points import Point
from tests.faults.site import Site
from tests.waiting import until

FSYNC = "the bytes cannot be fsynced"


def fail_to_put(site: Site, point: str) -> str:
    """A put that meets the fault; what the client is told."""
    partner = Partner(site)
    site.arm(point)
    with partner.connected() as client, pytest.raises(OSError, match=r"/a\.csv: ") as failure:
        write(client, f"{partner.folder}/a.csv", PEOPLE)
    assert site.armed() == [], "nobody came by the point"
    return str(failure.value)


@pytest.mark.parametrize("point", ERRORS, ids=lambda point: point.name.replace(" ", "-"))
def test_after_an_error_of_the_disk_nothing_has_landed_and_the_put_works_again(
    shared_site: Site, undisturbed: Reference, point: Point
) -> None:
    expected = undisturbed("put")
    assert "/a.csv" in fail_to_put(shared_site, point.name)
    until(lambda: standing(shared_site.inbox) == [], shared_site.log)
    assert all(drop["state"] == "withdrawn" for drop in shared_site.drops())
    Partner(shared_site).put("a.csv", PEOPLE)
    shared_site.ended()
    assert outcomes(shared_site) == expected


def test_what_could_not_be_fsynced_cannot_be_resumed(shared_site: Site) -> None:
    fail_to_put(shared_site, FSYNC)
    partner = Partner(shared_site)
    assert not partner.exists("a.csv")
    assert [row["state"] for row in shared_site.rows("SELECT state FROM uploads WHERE feed = ?", shared_site.feed)] == [
        "aborted"
    ]


def test_a_temporary_file_whose_close_failed_cannot_be_renamed_into_a_drop(shared_site: Site) -> None:
    partner = Partner(shared_site)
    shared_site.arm(TEMPORARY.name)
    with partner.connected() as client:
        with pytest.raises(OSError, match=r"/a\.csv\.part: "):
            write(client, f"{partner.folder}/a.csv.part", PEOPLE)
        with pytest.raises(FileNotFoundError):
            client.posix_rename(f"{partner.folder}/a.csv.part", f"{partner.folder}/a.csv")
    assert standing(shared_site.inbox) == []
    partner.put("a.csv.part", PEOPLE)
    with partner.connected() as client:
        client.posix_rename(f"{partner.folder}/a.csv.part", f"{partner.folder}/a.csv")
    (job,) = shared_site.ended()
    assert job["total_rows"] == 5002


def test_a_client_that_asks_for_the_fsync_itself_cannot_close_after_it_failed(shared_site: Site) -> None:
    partner = Partner(shared_site)
    with partner.connected() as client:
        file = client.open(f"{partner.folder}/a.csv", "w")
        file.write(PEOPLE)
        shared_site.arm(OF_THE_CLIENT.name)
        with pytest.raises(OSError, match=r"a\.csv"):
            request(client, CMD_EXTENDED, "fsync@openssh.com", file.handle)
        with pytest.raises(OSError, match="upload the file again"):
            request(client, CMD_CLOSE, file.handle)
    assert not partner.exists("a.csv")
    assert shared_site.drops() == []
