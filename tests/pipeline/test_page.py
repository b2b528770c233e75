"""report.html: what a person is told, and that nothing in a file can do harm to who reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gateway import contracts
from gateway.config import FeedSettings
from gateway.contracts.codes import CODES
from gateway.pipeline import histogram
from gateway.pipeline.drop import Drop
from gateway.pipeline.page import size, when
from gateway.pipeline.process import fail
from tests.pipeline.conftest import AS_OF, Result, Run

USERPILOT, PROFILES, EVENTS = "userpilot-import", "clevertap-profiles", "clevertap-events"
VOID = {"meta", "br"}
BLOCKS = {"p", "li", "td", "th", "dt", "dd"}
# Elements and attributes by which a page can load or run something.
LOADING = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image", "a", "video", "audio"}
REACHING = {"src", "href", "xlink:href", "srcset", "action", "data", "background", "poster"}
# A name with markup, an end of a bidi override, an escape sequence of terminals, and a zero-width space.
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\u202egnp.exe", "\x1b[31mred", "z\u200bw")


class Page(HTMLParser):
    """The page as elements (path, attributes), and the text under each path; refuses what is not well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in BLOCKS:
            self.texts.append(("/".join(self.open), " "))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element, line {self.getpos()[0]}"

    def handle_data(self, data: str) -> None:
        self.texts.append(("/".join(self.open), data))

    def under(self, tag: str) -> list[str]:
        """The texts of the elements of a name."""
        return [text for path, text in self.texts if tag in path.split("/")]

    @property
    def text(self) -> str:
        """All that a reader sees, on one line."""
        return " ".join("".join(text for path, text in self.texts if "style" not in path.split("/")).split())

    @property
    def verdict(self) -> str:
        return " ".join("".join(self.under("h1")).split())


@dataclass
class Seen:
    """A run, and the page that it wrote."""

    result: Result
    page: Page
    report: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.report = self.result.report


Show = Callable[..., Seen]


@pytest.fixture
def show(run: Run, tmp_path: Path) -> Show:
    """`show(body, contract, **given)`: run the pipeline, and read the page."""

    def call(body: bytes | str, contract: str, **given: Any) -> Seen:
        result = run(body, contract, **given)
        return Seen(result, Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")))

    return call


def track(**changes: Any) -> dict[str, Any]:
    record = {
        "event_type": "track", "event_name": "clicked", "source": "backend-http", "user_id": "u1",
        "inserted_at": "2024-07-01T00:00:00Z", "metadata": {},
    }  # fmt: skip
    return record | changes


def ndjson(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def mixed() -> bytes:
    """Rows with problems of several codes, columns and levels, some of them more than five times."""
    rows = [track(user_id=f"u{at}", inserted_at=f"2024-07-{1 + at % 28:02}T10:00:00Z") for at in range(60)]
    for row in rows[:8]:
        row["screen_width"] = -1
    for row, hostile in zip(rows[8:], HOSTILE, strict=False):
        row["source"] = hostile
    rows[20]["source"] = "x" * 260
    rows[21]["user_id"] = ""
    del rows[22]["source"]
    return ndjson(*rows, rows[30]) + b'{"a": \n\n[1]\n'


SOME_BAD = "identity,Name,Phone\n1,Ann,1\n2,Bob,+2\n3,Cy,3\n"
VERDICTS = {
    "all accepted": ("identity,Name\n1,Ann\n2,Bob\n", {}, "good", "All 2 rows were accepted."),
    "one row": ("identity,Name\n1,Ann\n", {}, "good", "The one row was accepted."),
    "merged": (
        "identity,Name\n1,Ann\n1,Bob\n2,Cy\n", {}, "good", "All 3 rows are fine: 2 accepted, 1 merged into another.",
    ),
    "some rejected": (SOME_BAD, {}, "fix", "1 of 3 rows needs fixing; the other 2 were accepted."),
    "all rejected": ("identity,Name\n,Ann\n,Bob\n", {}, "refused", "None of the 2 rows could be accepted."),
    "no rows": ("identity,Name\n", {}, "good", "There are no rows in this file, so there was nothing to store."),
    "refused": ("Identity,Name\n1,Ann\n", {}, "refused", "The file was refused; nothing in it was accepted."),
    "too many": (SOME_BAD, {"on_error": "reject_file"}, "refused", "The file was refused: 1 of 3 rows needs fixing."),
    "known": (
        SOME_BAD, {"duplicate_of": "job-1"}, "good", "This file was already processed; nothing was stored again.",
    ),
    "known and refused": (
        SOME_BAD, {"duplicate_of": "job-1", "on_duplicate": "reject"}, "refused",
        "The file was refused: it was already processed.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "given", "tone", "sentence"), VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_comes_first_and_has_the_numbers(
    show: Show, body: str, given: dict[str, Any], tone: str, sentence: str
) -> None:
    page = show(body, PROFILES, **given).page
    assert page.verdict == sentence
    first = next(attributes for tag, attributes in page.elements if tag == "header")
    assert first["class"] == f"verdict {tone}"
    assert next(tag for tag, _ in page.elements if tag in ("h1", "h2")) == "h1"


def test_a_refused_file_is_told_why_where_and_what_to_do(show: Show) -> None:
    seen = show("Identity,Name\n1,Ann\n", PROFILES)
    problem = seen.report["problems"][0]
    for told in (problem["message"], problem["hint"], CODES[problem["code"]].meaning, "(line 1)"):
        assert told in seen.page.text


def test_a_file_that_fails_as_a_whole_must_be_sent_as_a_whole(show: Show) -> None:
    page = show(SOME_BAD, PROFILES, on_error="reject_file").page
    assert "The 2 rows without fault were withheld" in page.text
    assert "upload all of it again" in page.text
    assert "Do not send the other rows again" not in page.text


def test_a_failure_of_the_gateway_does_not_blame_the_file(tmp_path: Path) -> None:
    drop = Drop(
        job_id="job-1", tenant="acme", feed="feed", name="a.csv", generation=1, path=tmp_path / "gone", sha256="",
        as_of=AS_OF, uploaded_by=None, contract=contracts.load(PROFILES), policy=FeedSettings(contract=PROFILES),
    )  # fmt: skip
    fail(drop, tmp_path / "out", "gateway_failure", "a worker died")
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert page.verdict == "We could not process this file."
    assert "Your file is not at fault" in page.text
    assert "What to fix" not in page.text


def test_every_kind_of_problem_has_its_count_meaning_hint_and_examples(show: Show) -> None:
    seen = show(mixed(), USERPILOT, name="events.ndjson")
    text = seen.page.text
    found = [tag for tag, attributes in seen.page.elements if tag == "article"]
    kinds = {(problem["code"], problem["column"], problem["level"]) for problem in seen.report["problems"]}
    assert len(found) == len(kinds) > 5
    articles = [part.split("</article>")[0] for part in seen.page.source.split("<article")[1:]]
    for code, column, level in kinds:
        (article,) = (
            part for part in articles
            if f">{code}<" in part and f'class="problem {level}"' in part
            and (not column or f"<bdi>{column}</bdi>" in part)
        )  # fmt: skip
        of_kind = [p for p in seen.report["problems"] if (p["code"], p["column"], p["level"]) == (code, column, level)]
        assert CODES[code].meaning in Page(f"<p>{article.split('>', 1)[1]}</p>").text
        assert "What to do:" in article
        assert 1 <= article.count('data-label="Line"') <= 5
        assert all(f'data-label="Line">{problem["line"]}<' in article for problem in of_kind[:5])
    assert "The first 5 of 8" in text


def test_counts_by_kind_are_complete_where_the_list_of_problems_is_cut(show: Show) -> None:
    body = "identity,Phone\n" + "".join(f"{at},+{at}\n" for at in range(1500))
    seen = show(body, PROFILES, problems_max=3)
    assert len(seen.report["problems"]) == 3
    assert seen.report["problems_by_code"] == {"phone_not_digits": 1500}
    assert "1,500 rows phone_not_digits" in seen.page.text
    assert "lists the first of these problems" in seen.page.text


def test_the_numbers_are_those_of_the_report(show: Show) -> None:
    seen = show(mixed(), USERPILOT, name="events.ndjson")
    for name in ("accepted", "merged", "duplicate", "rejected", "withheld"):
        assert re.search(rf"{name.capitalize()} {seen.report[f'{name}_rows']:,} ", seen.page.text)
    assert f"Rows read {seen.report['total_rows']:,} and 1 blank line," in seen.page.text
    assert seen.report["duplicate_rows"] == 1
    for code, count in seen.report["problems_by_code"].items():
        pieces = re.findall(rf"([\d,]+) rows? {code}\b|The file {code}\b", seen.page.text)
        assert sum(int(piece.replace(",", "") or 1) for piece in pieces) == count


@pytest.mark.parametrize("name", ["events.ndjson", "<img src=x onerror=alert(1)>\u202e.ndjson"])
def test_a_hostile_value_is_text_that_can_be_seen(show: Show, name: str) -> None:
    seen = show(mixed(), USERPILOT, name=name)
    assert "<script>alert(1)</script>" in seen.page.text
    assert '"><img src=x onerror=alert(1)>' in seen.page.text
    assert "a\\u202egnp.exe" in seen.page.text
    assert "z\\u200bw" in seen.page.text
    hidden = [char for char in seen.page.source if not char.isprintable() and char != "\n"]
    assert hidden == []
    assert not LOADING & {tag for tag, _ in seen.page.elements}
    assert not [name for _, attributes in seen.page.elements for name in attributes if name.startswith("on")]


def test_hostile_names_of_columns_and_values_of_the_header_are_text_too(show: Show) -> None:
    header = 'identity,"<b onclick=alert(1)>x</b>","{{ 7*7 }}<N/A>","' + "long" * 250 + '"\n'
    seen = show(header + "1,a,b,c\n", PROFILES)
    assert "<b onclick=alert(1)>x</b>" in seen.page.text
    assert "{{ 7*7 }}<N/A>" in seen.page.text
    assert "b" not in {tag for tag, _ in seen.page.elements}
    assert len(seen.page.source) < 40_000


@pytest.mark.parametrize("body", [mixed(), b"not\x00text", ndjson(track())], ids=["bad", "refused", "good"])
def test_the_page_needs_nothing_from_elsewhere(show: Show, body: bytes) -> None:
    page = show(body, USERPILOT, name="events.ndjson").page
    assert not LOADING & {tag for tag, _ in page.elements}
    assert not REACHING & {name for _, attributes in page.elements for name in attributes}
    styles = "".join(page.under("style")) + "".join(str(given.get("style", "")) for _, given in page.elements)
    assert not re.search(r"url\(|@import|https?:|//", styles)
    policies = [given["content"] for _, given in page.elements if given.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


@pytest.mark.parametrize("body", [mixed(), b"not\x00text", ndjson(track())], ids=["bad", "refused", "good"])
def test_the_page_can_be_read_by_a_screen_reader(show: Show, body: bytes) -> None:
    page = show(body, USERPILOT, name="events.ndjson").page
    tags = [tag for tag, _ in page.elements]
    assert tags.count("h1") == tags.count("main") == 1
    assert ("html", {"lang": "en"}) in page.elements
    assert tags.count("caption") == tags.count("table")
    assert all("scope" in given for tag, given in page.elements if tag == "th")
    ids = [str(given["id"]) for _, given in page.elements if "id" in given]
    assert len(ids) == len(set(ids))
    named = [name for _, given in page.elements for name in (given.get("aria-labelledby") or "").split()]
    assert set(named) <= set(ids)


def bar_rows(page: Page) -> list[int]:
    """The rows that each bar of the chart says it has."""
    bars = [text for path, text in page.texts if path.endswith("svg/rect/title")]
    return [int(bar.rsplit(": ", 1)[1].split(" ")[0].replace(",", "")) for bar in bars]


def test_the_bars_of_the_chart_hold_all_accepted_rows(show: Show) -> None:
    seen = show(mixed(), USERPILOT, name="events.ndjson")
    assert sum(bar_rows(seen.page)) == seen.report["accepted_rows"] > 1
    heights = [float(str(given["height"])) for tag, given in seen.page.elements if tag == "rect"]
    assert max(heights) == 100
    assert "Accepted rows per day, UTC" in seen.page.under("figcaption")
    assert len([tag for tag, _ in seen.page.elements if tag == "desc"]) == 1


def test_rows_of_one_moment_or_without_times_have_no_chart(show: Show) -> None:
    once = show(ndjson(track(user_id="a"), track(user_id="b")), USERPILOT, name="e.ndjson").page
    assert bar_rows(once) == []
    assert "All are of 1 Jul 2024, 00:00:00 UTC." in once.text
    assert "When it happened" not in show("identity,Name\n1,Ann\n", PROFILES).page.text


def test_rows_out_of_order_and_the_way_times_were_read_are_told(show: Show) -> None:
    body = "identity,evtName,ts\n1,a,1722400000000\n1,b,1722300000\n"
    text = show(body, EVENTS).page.text
    assert "1 row came after a later one" in text
    assert "1 in milliseconds instead of seconds" in text
    assert "The first is of 30 Jul 2024, 00:40:00 UTC, the last of 31 Jul 2024, 04:26:40 UTC." in text


def test_the_page_names_the_files_the_job_and_who_uploaded(show: Show) -> None:
    seen = show(SOME_BAD, PROFILES, name="2024/people.csv", repairs="job-7", generation=3)
    told = seen.report
    for file in told["files"]:
        if not file["name"].endswith(".report.html"):
            assert file["name"] in seen.page.text
            assert file["sha256"] in seen.page.text
    assert [file["role"] for file in told["files"]] == ["original", "rejected", "accepted", "errors", "report"]
    for fact in (told["job_id"], told["contract"]["sha256"], told["contract"]["name"], "ann@acme.example", "job-7"):
        assert fact in seen.page.text
    assert "1 Aug 2024, 12:00:00 UTC by ann@acme.example" in seen.page.text
    assert "rows that job job-7 had rejected" in seen.page.text


def test_the_page_stands_before_the_report_which_names_it(show: Show) -> None:
    seen = show(SOME_BAD, PROFILES)
    assert [file.name for file in seen.result.outcome.files][-2:] == ["drop.csv.report.html", "drop.csv.report.json"]
    named = seen.report["files"][-1]
    page = seen.page.source.encode()
    assert (named["name"], named["bytes"]) == ("drop.csv.report.html", len(page))


def test_the_same_drop_gives_the_same_page_but_for_the_times_of_its_run(show: Show) -> None:
    def without_run(page: Page) -> str:
        return re.sub(r"<dt>Processed.*", "", page.source)

    first = without_run(show(mixed(), USERPILOT, name="events.ndjson").page)
    assert first == without_run(show(mixed(), USERPILOT, name="events.ndjson").page)


@pytest.mark.parametrize(
    ("first", "last", "width", "buckets"),
    [
        ("2024-07-01T00:00:00", "2024-07-01T00:00:00", "second", 1),
        ("2024-07-01T00:00:00.5", "2024-07-01T00:00:40", "second", 41),
        ("2024-07-01T00:00:00", "2024-07-01T00:30:00", "minute", 31),
        ("2024-07-01T00:10:00", "2024-07-02T00:00:00", "hour", 25),
        ("2024-07-01T00:00:00", "2024-07-31T23:59:59", "day", 31),
        ("2024-07-01T00:00:00", "2024-12-31T00:00:00", "week", 27),
        ("2022-11-30T00:00:00", "2024-02-29T00:00:00", "month", 16),
        ("2015-03-31T00:00:00", "2024-12-31T00:00:00", "quarter", 40),
        ("1999-12-31T00:00:00", "2024-12-31T00:00:00", "year", 26),
        ("0001-01-01T00:00:00", "9999-12-31T23:59:59", "500 years", 20),
    ],
)
def test_buckets_have_a_width_that_people_think_in(first: str, last: str, width: str, buckets: int) -> None:
    moments = [datetime.fromisoformat(last), None, datetime.fromisoformat(first)]
    found = histogram.spread(pl.DataFrame({"at": moments}, schema={"at": pl.Datetime("us")}), "at")
    assert found is not None
    assert (found.width, len(found.buckets), found.rows) == (width, buckets, 2)
    assert found.buckets[0].count >= 1
    assert found.buckets[-1].count >= 1
    if width == "week":
        assert {bucket.start.weekday() for bucket in found.buckets} == {0}


def test_there_are_never_more_buckets_than_fit_on_a_phone() -> None:
    for exponent in range(11):
        for step in range(1, 10):
            moments = [
                AS_OF.replace(tzinfo=None),
                AS_OF.replace(tzinfo=None) - timedelta(seconds=step * 10**exponent / 4),
            ]
            found = histogram.spread(pl.DataFrame({"at": moments}, schema={"at": pl.Datetime("us")}), "at")
            assert found is not None
            assert 1 <= len(found.buckets) <= histogram.BUCKETS_MAX
            assert found.rows == 2


def test_sizes_and_times_are_told_as_people_tell_them() -> None:
    assert [size(n) for n in (0, 1, 999, 1000, 1234567, 999_999, 5_368_709_120)] == [
        "0 bytes", "1 byte", "999 bytes", "1 kB", "1.23 MB", "1 MB", "5.37 GB",
    ]  # fmt: skip
    assert when("2024-07-28T08:55:35.000000Z") == "28 Jul 2024, 08:55:35 UTC"
    assert when("2024-07-28T08:55:35.120000Z") == "28 Jul 2024, 08:55:35.12 UTC"
    assert when("2024-07-28T08:55:35.120000Z", exact=False) == "28 Jul 2024, 08:55:35 UTC"
