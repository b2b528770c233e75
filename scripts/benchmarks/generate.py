"""Userpilot import files for benchmarks: 828,000 rows are 562 MB of NDJSON, 1 % of them bad in ten ways."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROWS = 828_000
Row = dict[str, Any]

COLUMNS = (
    "event_type", "event_name", "source", "user_id", "company_id", "hostname", "pathname", "country_code",
    "screen_width", "screen_height", "operating_system", "browser", "browser_language", "user_agent", "device_type",
    "inserted_at", "metadata",
)  # fmt: skip
BREAKAGES: dict[str, Callable[[Row], Row]] = {
    "unknown_event_type": lambda row: row | {"event_type": "page_views"},
    "missing_required": lambda row: row | {"user_id": "", "company_id": ""},
    "not_non_negative_integer": lambda row: row | {"screen_width": -1},
    "bad_time": lambda row: row | {"inserted_at": "28/07/2024"},
    "not_allowed": lambda row: row | {"source": "elsewhere"},
    "not_object": lambda row: row | {"metadata": "none"},
    "bad_country": lambda row: row | {"country_code": "XX"},
    "bad_language": lambda row: row | {"browser_language": "not a language"},
    "bad_hostname": lambda row: row | {"hostname": "no host at all"},
    "broken record": lambda row: row,
}


def rows(count: int, seed: int = 1) -> Iterator[tuple[Row, str | None]]:
    """Records, and how each bad one is bad."""
    pick = random.Random(seed)
    kinds = ["identify_user"] * 3 + ["identify_company"] + ["page_view"] * 8 + ["track"] * 8
    for number in range(count):
        kind = pick.choice(kinds)
        browser, system = pick.choice(["Chrome", "Edge", "Safari", "Firefox"]), pick.choice(["Mac", "Windows", "iOS"])
        day, clock = f"{pick.randint(1, 12):02}-{pick.randint(1, 28):02}", pick.randint(0, 86399)
        time = f"{clock // 3600:02}:{clock // 60 % 60:02}:{clock % 60:02}.{pick.randint(0, 999999):06}"
        metadata = {"created_at": str(pick.randint(16 * 10**8, 17 * 10**8)), "name": f"User-{pick.randint(0, 9999)}"}
        metadata |= {f"prop_{at}": f"value_{pick.randint(0, 999)}" for at in range(pick.randint(2, 12))}
        row: Row = {
            "event_type": kind,
            "event_name": pick.choice(["created_project", "upgraded"]) if kind == "track" else "",
            "source": "web-client",
            "user_id": f"User-{pick.randint(0, 99999)}-{number % 1000:03}",
            "company_id": f"Company-{pick.randint(0, 999)}-{number % 1000:03}",
            "hostname": "campfire-example.userpilot.io",
            "pathname": pick.choice(["/home/", "/profile/settings/", "/reports/weekly/"]),
            "country_code": pick.choice(["DE", "US", "FR", "PS", "UK", "GB"]),
            "screen_width": pick.randint(300, 3000),
            "screen_height": pick.randint(300, 3000),
            "operating_system": system,
            "browser": browser,
            "browser_language": pick.choice(["en-US", "de-DE", "fr-FR"]),
            "user_agent": f"{browser} - Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) "
            f"{browser}/{pick.randint(80, 120)}.0.{pick.randint(0, 50)}.0 Safari/537.36",
            "device_type": pick.choice(["Mobile", "Desktop"]),
            "inserted_at": f"2024-{day} {time}",
            "metadata": {} if kind == "page_view" else metadata,
        }
        bad = pick.choice(list(BREAKAGES)) if number % 100 == 99 else None
        yield (BREAKAGES[bad](row) if bad else row), bad


def write_ndjson(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row, bad in rows(count):
            line = json.dumps(row)
            file.write((line[:-9] if bad == "broken record" else line) + "\n")


def write_csv(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, bad in rows(count):
            cells = [json.dumps(row[name]) if name == "metadata" else row[name] for name in COLUMNS]
            writer.writerow(cells[:-3] if bad == "broken record" else cells)


def generated(folder: Path, form: str, count: int) -> Path:
    """The file of that form and size in `folder`, made when it is not there yet."""
    path = folder / f"userpilot-{count}.{form}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        (write_ndjson if form == "ndjson" else write_csv)(partial, count)
        partial.rename(path)
    return path
