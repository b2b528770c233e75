"""The settings: every section, key, default and limit. A key's docstring is its comment in gateway.toml."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator, model_validator

from gateway.config.logins import KeyLines, LoginSettings, Networks, UserSettings
from gateway.config.mistakes import did_you_mean
from gateway.config.section import Section

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
NAME_RULE: Final = "1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit"
GIB: Final = 1024**3

Points = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Hours = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Days = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class SftpSettings(Section):
    """Where the SFTP server listens, and how one logs in."""

    host: str = "0.0.0.0"
    """The address to listen on. "127.0.0.1" serves this machine only."""
    port: int = Field(default=2222, ge=0, le=65535)
    """The port to listen on. 0 takes a free one; `gateway serve` prints it."""
    host_keys: tuple[str, ...] = Field(
        default=("host_keys/ssh_host_ed25519_key", "host_keys/ssh_host_rsa_key"), min_length=1
    )
    """The private keys by which clients recognise this server; paths are relative to this file. Of several of one kind
    the first is used, and the others are announced, so that clients learn them: `gateway host-keys rotate`."""
    crypto: Literal["default", "strict"] = "default"
    """"default" lets older clients in, by algorithms that are sound but no longer the best; "strict" takes only a
    key exchange that is safe from quantum computers, and AES-GCM: OpenSSH 9.9 and newer."""
    passwords: bool = False
    """Whether users who have a password may log in with it. Keys always work."""
    login_seconds_max: Seconds = 30
    """How long a client may take to log in."""
    keepalive_seconds: Seconds = 20
    """How often a silent client is asked whether it is still there. 0 never asks."""
    handles_max_per_session: int = Field(default=256, ge=1)
    """How many files and folders a session may hold open at once."""
    processes: int = Field(default=1, ge=1, le=64)
    """How many processes serve the port. One is enough for most; with several, many clients at once get more than one
    core. All limits hold for them together, and one that dies takes only its own sessions with it. Each checks two
    passwords at once, for 64 MiB each."""


class LimitSettings(Section):
    """How much of the gateway one may take. Who is over a limit is told so in words."""

    connections_max: int = Field(default=512, ge=2)
    """How many connections there may be at once."""
    connections_max_per_address: int = Field(default=128, ge=1)
    """How many of them from one address; fewer than all, so that others can log in."""
    connections_max_per_tenant: int = Field(default=128, ge=1)
    """How many of them for one tenant; fewer than all, so that others can log in."""
    connections_max_per_user: int = Field(default=64, ge=1)
    """How many of them for one user."""
    unauthenticated_max: int = Field(default=128, ge=1)
    """How many connections may be logging in at once."""
    unauthenticated_max_per_address: int = Field(default=32, ge=1)
    """How many of them from one address."""
    tries_max: int = Field(default=6, ge=1)
    """How many wrong keys and passwords a connection may try."""
    sessions_max_per_connection: int = Field(default=16, ge=1)
    """How many sessions and commands a connection may have at once."""
    sessions_max_per_tenant: int = Field(default=256, ge=1)
    """How many a tenant may have at once in all its connections."""
    handles_max_per_tenant: int = Field(default=1024, ge=1)
    """How many files the sessions of a tenant may hold open at once, all together."""
    idle_seconds: Seconds = 900
    """After this long without a request, and without an open upload, a session is ended. 0 never ends one."""
    upload_bytes_per_second_max_per_user: int = Field(default=0, ge=0)
    """How fast the sessions of a user together may upload. 0 is no limit."""
    download_bytes_per_second_max_per_user: int = Field(default=0, ge=0)
    """How fast they may download. 0 is no limit."""
    disk_reserve_bytes: int = Field(default=GIB, ge=0)
    """So much of the disk uploads leave free, for the ledger, results, and what else is on it. When no more is left,
    clients are told that there is no space; reports, downloads and removals go on."""

    @model_validator(mode="after")
    def leaves_room(self) -> LimitSettings:
        for key in ("connections_max_per_address", "connections_max_per_tenant"):
            if getattr(self, key) >= self.connections_max:
                raise ValueError(
                    f"{key} = {getattr(self, key)} leaves nothing of connections_max = {self.connections_max} "
                    "for others; make it smaller"
                )
        return self


class DefenderSettings(Section):
    """Who comes again and again without a login that works is refused for a while. An address collects points, and
    apart from it a user; whose points reach the threshold is banned: the address gets no answer but until when (IPv6
    by /64), the user cannot log in with a password, but with a key."""

    enabled: bool = True
    """Whether points are counted, and bans are in force."""
    allow: Networks = ("127.0.0.0/8", "::1/128")
    """Addresses and networks that are never banned, as in "203.0.113.7" or "2001:db8:1::/48". An address from which
    a proxy passes on everybody belongs here."""
    threshold: float = Field(default=20, gt=0, allow_inf_nan=False)
    """So many points are a ban."""
    known_factor: float = Field(default=5, ge=1, allow_inf_nan=False)
    """An address from which a key has logged in within the last 30 days may collect so many times the threshold."""
    half_life_seconds: float = Field(default=600, gt=0, allow_inf_nan=False)
    """After so long, half of the points are forgotten."""
    ban_seconds: float = Field(default=600, gt=0, allow_inf_nan=False)
    """How long the first ban lasts; each further one twice as long as the one before."""
    ban_seconds_max: float = Field(default=86_400, gt=0, allow_inf_nan=False)
    """The longest ban. After so long without another one, the next is a first one again."""
    connections_at_once: float = Field(default=16, ge=1, allow_inf_nan=False)
    """So many connections an address may open at once; after that, it has to wait. Where a key has logged in of late,
    `known_factor` times as many, here and in `connections_per_second`."""
    connections_per_second: float = Field(default=8, gt=0, allow_inf_nan=False)
    """So many a second it may open then. A connection costs a key exchange, before anybody has logged in."""
    unknown_user_points: Points = 5
    """For a username that there is not."""
    password_points: Points = 2
    """For a wrong password."""
    key_points: Points = 1
    """For a connection that offered keys, and none of them could log in."""
    bad_packet_points: Points = 5
    """For bytes that are not the protocol."""
    no_login_points: Points = 1
    """For a connection that ended in its key exchange."""


class DataSettings(Section):
    """Where the data is: what partners drop and get back, the spool and the ledger."""

    dir: str = "data"
    """A directory on a local disk, relative to this file or absolute. One gateway a data directory."""


class PickupSettings(Section):
    """When a file that has landed becomes a job."""

    settle_seconds: Seconds = 2
    """How long a landed file must be left alone before it is picked up. A client that was cut off closes its
    file like one that is done, and some set times or rename after they close."""
    scan_seconds: float = Field(default=30, gt=0, allow_inf_nan=False)
    """How often the inboxes are looked through in any case; a landing wakes the scan at once."""
    grace_seconds: Seconds = 300
    """How long a file that was picked up stays visible to its sender, because clients look after they upload."""
    retry_seconds: Seconds = 10
    """How long a job whose worker died waits before it is begun again; after the second time twice as long."""
    tries_max: int = Field(default=3, ge=1)
    """How often a job whose worker died is begun before its drop is quarantined."""
    on_quarantine: tuple[str, ...] = ()
    """A command and its arguments that is started for each drop that is quarantined; the job comes as JSON on its
    standard input. A second time for the same drop only when the gateway was killed while it ran."""


class EngineSettings(Section):
    """The worker processes that run jobs."""

    workers: int = Field(default=2, ge=1)
    """How many jobs run at the same time, each in a process of its own."""
    memory_bytes_max: int = Field(default=0, ge=0)
    """How much memory a job may take, in bytes; a file that needs more is refused, and its partner told so. 0: the
    workers share three quarters of the machine's memory."""
    whole_bytes_max: int = Field(default=1024**3, ge=0)
    """The largest text that a job holds in memory as a whole, in bytes: it takes up to five times as much there. A
    larger one goes by way of the disk, which needs about twice its size for a while; the results are the same. Where
    memory is short, it is an eighth of what a job may take."""
    seconds_max: Seconds = 1800
    """How long a job may run; a file that needs longer is refused, and its partner told so. 0: as long as it takes."""


class StoreSettings(Section):
    """The store: what was accepted becomes profiles, companies and events of each tenant, in Delta tables, which
    Spark, Trino, DuckDB and polars read as they are."""

    enabled: bool = True
    """Whether accepted rows go into the store. Reports and results are the partners' in any case."""
    url: str = ""
    """Where it is: a folder, relative to this file or absolute, or an address such as "s3://bucket/gateway", with a
    folder below it for each tenant. Empty is the folder "store" in the data directory."""
    options: Mapping[str, str] = Field(default={}, repr=False)
    """What the service of that address asks for, as in { aws_region = "eu-west-1" }. Secrets are better left to the
    environment: AWS_ACCESS_KEY_ID and its like are understood, and GATEWAY_STORE_OPTIONS takes these as JSON."""

    @field_validator("options", mode="before")
    @classmethod
    def from_the_environment(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            # Without the value, which may be a secret.
            raise ValueError('it must be a table of texts, or one as JSON: {"aws_region": "eu-west-1"}') from None


class RetentionSettings(Section):
    """How long things are kept that are done with. 0 keeps them for ever."""

    archive_days: Days = 30
    """The files of drops, as they came, after their job has ended: so long can a job be run again."""
    outbox_days: Days = 30
    """Reports and results in the outbox."""
    partial_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 72
    """Uploads that broke off, or that never got their final name: so long can they be gone on with."""
    ledger_days: Days = 400
    """The ledger's detail: transitions, uploads and the audit. Drops and jobs stay."""


class LogSettings(Section):
    """What the log looks like."""

    format: Literal["auto", "console", "json"] = "auto"
    """"console" for people, "json" for machines; "auto" is console on a terminal, else json."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written: "debug", "info", "warning" or "error"."""


class GatewaySettings(Section):
    """The whole of `gateway.toml`."""

    sftp: SftpSettings = SftpSettings()
    login: LoginSettings = LoginSettings()
    limits: LimitSettings = LimitSettings()
    defender: DefenderSettings = DefenderSettings()
    data: DataSettings = DataSettings()
    pickup: PickupSettings = PickupSettings()
    engine: EngineSettings = EngineSettings()
    store: StoreSettings = StoreSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()


class FeedSettings(Section):
    """`[feeds.<feed>]`: one kind of file, and the policies for it."""

    contract: str
    """What the files must look like: a built-in contract, or contracts/<name>.toml beside gateway.toml."""
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    """"utf-8" (UTF-16 with a byte order mark is understood as well) or "latin-1"."""
    strict: bool = False
    """Reject rows where a lenient feed fills in a value and warns."""
    on_error: Literal["reject_rows", "reject_file"] = "reject_rows"
    """"reject_rows": good rows in, bad rows out. "reject_file": one bad row fails the whole drop."""
    max_error_rate: float = Field(default=1.0, ge=0, le=1)
    """The share of bad rows, 0 to 1, above which the whole drop fails."""
    complete_on: Literal["close", "rename", "done_marker", "sha256"] = "close"
    """What shows that a file is whole: "close" (a clean close, which is no proof), "rename" from a temporary name,
    "done_marker" (an empty <name>.done beside it) or "sha256" (<name>.sha256 beside it, as sha256sum writes it)."""
    proof_hours: Hours = 24
    """How long a file waits for such a proof before it is refused, and a proof for its file."""
    suspect_hours: Hours = 24
    """How long a file that looks cut off waits for a new upload of its name, or for an operator."""
    on_suspect: Literal["refuse", "process"] = "refuse"
    """What happens then: "refuse" the file, or "process" what is whole of it."""
    on_overwrite: Literal["next", "replace"] = "next"
    """A new upload of a name that waits for its job: "next" (both are processed, in order) or "replace" (the new one
    only). Before it has settled, a file is replaced in any case."""
    on_duplicate: Literal["skip", "process", "reject"] = "skip"
    """What to do with the very same bytes again: "skip", "process" or "reject"."""
    result_format: Literal["same", "csv", "ndjson", "parquet"] = "same"
    """The format of the accepted rows: "same" as the drop, "csv", "ndjson" or "parquet"."""
    unknown_identity: Literal["accept", "reject", "hold"] = "accept"
    """An event of somebody of whom there is no profile: "accept" it with a warning, "reject" it, or "hold" the whole
    file until the profiles are there; later files pass."""
    hold_hours: Hours = 24
    """How long such a file is held for its profiles; then those of its events are rejected that still have none."""
    trigger_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 72
    """Events that are at most so old when they are uploaded are marked as such that may trigger something; none is
    dropped for its age."""
    activity_log_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30
    """Events that are at most so old when they are uploaded are marked for the activity log; none is dropped."""
    null_marker: str | None = None
    """A cell that holds just this blanks the stored value; an empty cell leaves it as it is."""
    drop_bytes_max: int = Field(default=5 * GIB, ge=1)
    """The largest file that is taken, in bytes."""
    inbox_files_max: int = Field(default=100_000, ge=1)
    """The most files and folders that may wait: in the inbox, as uploads (also those that broke off), and for the end
    of their jobs."""
    inbox_bytes_max: int = Field(default=50 * GIB, ge=1)
    """The most bytes that they may have together."""
    expanded_bytes_max: int = Field(default=20 * GIB, ge=1)
    """The most that a compressed file may expand to, in bytes."""
    expansion_ratio_max: int = Field(default=500, ge=1)
    """How many times its size a compressed file may expand to; the first 64 MiB are free."""
    rows_max: int = Field(default=50_000_000, ge=1)
    """The most rows that a file may have."""
    columns_max: int = Field(default=4096, ge=1)
    """The most columns that a header may have."""
    line_bytes_max: int = Field(default=16 * 1024**2, ge=1, le=16 * 1024**2)
    """The longest record, in bytes: 16 MiB at most."""
    json_depth_max: int = Field(default=64, ge=1, le=128)
    """How deep the JSON of a record, or of a value in a CSV, may nest; rows that nest deeper are rejected."""
    problems_max: int = Field(default=100_000, ge=1)
    """The most problems that errors.csv lists; all are counted."""
    temporary_names: tuple[str, ...] = ()
    """Name patterns (*.uploading) that are never picked up, besides .filepart .partial .part .tmp .in.* and .*"""


class TenantSettings(Section):
    """The whole of `tenants/<tenant>.toml`."""

    environment: Literal["test", "production"] = "production"
    """"test" or "production". Only a test tenant can be reset."""
    timezone: str = "UTC"
    """The zone of times that name none, as in "Europe/Dublin"."""
    retention_days: int | None = Field(default=None, ge=1, examples=[365])
    """Events older than this are rejected; without it, none is too old."""
    disabled: bool = False
    """No user of this tenant can log in, and sessions that are open are ended. What has landed is still processed."""
    allow_from: Networks = ()
    """Addresses and networks from which its users may log in, as in "203.0.113.7" or "2001:db8:1::/48". None: from
    everywhere."""
    user_ca: KeyLines = ()
    """The public keys of those who may issue OpenSSH user certificates for users of this tenant, and of no other. A
    certificate must name the username as a principal."""
    users: Mapping[str, UserSettings] = Field(default_factory=dict)
    feeds: Mapping[str, FeedSettings] = Field(default_factory=dict)

    @field_validator("timezone")
    @classmethod
    def known_timezone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"no time zone named '{value}'{did_you_mean(value, available_timezones())}")
        return value

    @field_validator("users", "feeds")
    @classmethod
    def usable_names(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in value:
            check_name(name)
        return value

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Settings(Section):
    """Everything that is configured in one directory."""

    root: Path
    gateway: GatewaySettings
    tenants: Mapping[str, TenantSettings]

    @cached_property
    def data_dir(self) -> Path:
        return self.root / self.gateway.data.dir

    @property
    def ledger_path(self) -> Path:
        return self.data_dir / "ledger.db"

    @property
    def store_url(self) -> str:
        """Where the store is: an address, or a folder with its whole path."""
        url = self.gateway.store.url
        return url if "://" in url else str((self.root / url if url else self.data_dir / "store").absolute())

    @cached_property
    def spool_dir(self) -> Path:
        """Uploads in flight and claimed work; never shown over SFTP."""
        return self.data_dir / "spool"

    @property
    def host_key_paths(self) -> tuple[Path, ...]:
        """Where the keys are that are listed; of those that are so by default, the ones that are there."""
        paths = tuple(self.root / key for key in self.gateway.sftp.host_keys)
        if "host_keys" in self.gateway.sftp.model_fields_set:
            return paths
        return tuple(path for path in paths if path.exists()) or paths

    def tenant_dir(self, tenant: str) -> Path:
        """What SFTP shows to the tenant's users as `/`: inbox, outbox, samples."""
        return self.data_dir / "tenants" / tenant

    def user(self, username: str) -> tuple[str, UserSettings] | None:
        """The tenant and the settings of a login; usernames are unique in a gateway."""
        for name, tenant in self.tenants.items():
            if username in tenant.users:
                return name, tenant.users[username]
        return None


def check_name(name: str) -> str:
    """The name of a tenant, user or feed, or ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot be a name: {NAME_RULE}")
    return name
