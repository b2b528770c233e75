"""Configuration: `gateway.toml`, `tenants/<tenant>.toml` and `GATEWAY_*` variables, as frozen settings."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gateway.errors import ConfigError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 of a-z 0-9 . _ -, beginning with a letter or digit"
GIB = 1024**3
ROLES_THAT_UPLOAD = frozenset({"admin", "creator", "approver"})

Role = Literal["admin", "creator", "approver", "viewer"]
Seconds = Annotated[float, Field(ge=0)]
Model = typing.TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A table of a configuration file: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SftpSettings(Section):
    """`[sftp]`: where the server listens and how one logs in."""

    host: str = "0.0.0.0"
    port: int = Field(default=2222, ge=0, le=65535)
    host_keys: tuple[str, ...] = ("host_keys/ssh_host_ed25519_key",)
    passwords: bool = True
    login_seconds_max: Seconds = 30
    keepalive_seconds: Seconds = 20
    handles_max_per_session: int = Field(default=256, ge=1)


class DataSettings(Section):
    """`[data]`: where drops, spool and ledger live."""

    dir: str = "data"


class PickupSettings(Section):
    """`[pickup]`: when a landed drop becomes a job."""

    settle_seconds: Seconds = 2
    scan_seconds: Annotated[float, Field(gt=0)] = 30
    grace_seconds: Seconds = 300
    tries_max: int = Field(default=3, ge=1)


class EngineSettings(Section):
    """`[engine]`: the worker processes that run jobs."""

    workers: int = Field(default=2, ge=1)


class LogSettings(Section):
    """`[log]`: what the log looks like."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class GatewaySettings(Section):
    """The whole of `gateway.toml`."""

    sftp: SftpSettings = SftpSettings()
    data: DataSettings = DataSettings()
    pickup: PickupSettings = PickupSettings()
    engine: EngineSettings = EngineSettings()
    log: LogSettings = LogSettings()


class UserSettings(Section):
    """`[users.<username>]`: a login of a tenant."""

    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    role: Role
    keys: tuple[str, ...] = ()
    password: str | None = Field(default=None, repr=False, pattern=r"^\$argon2id\$")

    @property
    def may_upload(self) -> bool:
        """Admins, creators and approvers upload; a viewer only reads (C4)."""
        return self.role in ROLES_THAT_UPLOAD


class FeedSettings(Section):
    """`[feeds.<feed>]`: one kind of file, and the policies for it."""

    contract: str
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    strict: bool = False
    on_error: Literal["reject_rows", "reject_file"] = "reject_rows"
    max_error_rate: float = Field(default=1.0, ge=0, le=1)
    on_duplicate: Literal["skip", "process", "reject"] = "skip"
    result_format: Literal["same", "csv", "ndjson", "parquet"] = "same"
    null_marker: str | None = None
    drop_bytes_max: int = Field(default=5 * GIB, ge=1)
    expanded_bytes_max: int = Field(default=20 * GIB, ge=1)
    problems_max: int = Field(default=100_000, ge=1)
    temporary_names: tuple[str, ...] = ()


class TenantSettings(Section):
    """The whole of `tenants/<tenant>.toml`."""

    environment: Literal["test", "production"] = "production"
    timezone: str = "UTC"
    retention_days: int = Field(default=3650, ge=1)
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

    @property
    def data_dir(self) -> Path:
        return self.root / self.gateway.data.dir

    @property
    def ledger_path(self) -> Path:
        return self.data_dir / "ledger.db"

    @property
    def spool_dir(self) -> Path:
        """Uploads in flight and claimed work; never shown over SFTP."""
        return self.data_dir / "spool"

    @property
    def host_key_paths(self) -> tuple[Path, ...]:
        return tuple(self.root / key for key in self.gateway.sftp.host_keys)

    def tenant_dir(self, tenant: str) -> Path:
        """What SFTP shows to the tenant's users as `/`: inbox, outbox, samples."""
        return self.data_dir / "tenants" / tenant

    def user(self, username: str) -> tuple[str, UserSettings] | None:
        """The tenant and the settings of a login; usernames are unique in a gateway."""
        for name, tenant in self.tenants.items():
            if username in tenant.users:
                return name, tenant.users[username]
        return None


def load(root: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of a configuration directory.

    `environment` defaults to the process's own; `GATEWAY_<SECTION>_<KEY>` overrides a key of gateway.toml.
    Raises ConfigError that names the file, the key, the value and the likely intention.
    """
    path = root / "gateway.toml"
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file; `gateway init {root}` makes one")
    document = read_toml(path)
    apply_environment(document, os.environ if environment is None else environment)
    gateway = checked(GatewaySettings, document, path.name)
    tenants = {file.stem: load_tenant(file) for file in sorted((root / "tenants").glob("*.toml"))}
    usernames: dict[str, str] = {}
    for tenant, settings in tenants.items():
        for username in settings.users:
            if other := usernames.get(username):
                raise ConfigError(
                    f"tenants/{tenant}.toml: users.{username}: the username is taken by tenant '{other}'; "
                    f"usernames are unique in a gateway, try '{tenant}-{username}'"
                )
            usernames[username] = tenant
    return Settings(root=root, gateway=gateway, tenants=tenants)


def load_tenant(path: Path) -> TenantSettings:
    """The settings of one `tenants/<tenant>.toml`."""
    shown = f"tenants/{path.name}"
    try:
        check_name(path.stem)
    except ValueError as error:
        raise ConfigError(f"{shown}: {error}") from None
    return checked(TenantSettings, read_toml(path), shown)


class LiveSettings:
    """The settings of a directory that follow its files while the gateway runs."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen = self._signature()
        self.current = load(root)

    def refresh(self) -> bool:
        """Load again when a file has changed; True when `current` is new.

        Raises ConfigError once for each broken state of the files; `current` then stays as it was.
        """
        signature = self._signature()
        if signature == self._seen:
            return False
        self._seen = signature
        # What gateway.toml and the environment say was used at start-up; only tenants follow their files.
        self.current = load(self._root).model_copy(update={"gateway": self.current.gateway})
        return True

    def _signature(self) -> tuple[tuple[str, int, int, int], ...]:
        """Name, inode, size and mtime (ns) of each tenant's file."""
        files = [(file.name, file.stat()) for file in (self._root / "tenants").glob("*.toml")]
        return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in files))


def check_name(name: str) -> str:
    """The name of a tenant, user or feed, or ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot be a name: {NAME_RULE}")
    return name


def did_you_mean(value: str, known: typing.Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no known name is near."""
    near = difflib.get_close_matches(value, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file, or ConfigError with the place where it broke."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def checked(model: type[Model], document: Mapping[str, Any], shown: str) -> Model:
    """The document as a `model`; ConfigError says `file: key: what is wrong; what was likely meant`."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        lines = [explain(model, shown, detail) for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


def explain(model: type[BaseModel], shown: str, detail: Any) -> str:
    """One pydantic error as a sentence of ours."""
    place = [str(part) for part in detail["loc"]]
    key = ".".join(place)
    if detail["type"] == "extra_forbidden":
        known = known_keys(model, place[:-1])
        return f"{shown}: {key}: unknown key{did_you_mean(place[-1], known)} (known keys: {', '.join(sorted(known))})"
    if detail["type"] == "missing":
        return f"{shown}: {key}: this key is missing and has no default"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        message += did_you_mean(detail["input"], re.findall(r"'([^']+)'", message))
    secret = place[-1:] == ["password"]
    found = "" if secret or isinstance(detail["input"], dict) else f", found {detail['input']!r}"
    return f"{shown}: {key}: {message}{found}"


def known_keys(model: type[BaseModel], place: list[str]) -> list[str]:
    """The keys of the table at `place`, walking nested models and mappings of models."""
    for part in place:
        field = model.model_fields.get(part)
        for inner in models_in(field.annotation) if field else ():
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation mentions."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def apply_environment(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Put each `GATEWAY_<SECTION>_<KEY>` into the document of gateway.toml."""
    known: dict[str, tuple[str, str]] = {}
    for section, field in GatewaySettings.model_fields.items():
        for model in models_in(field.annotation):
            known |= {f"GATEWAY_{section}_{key}".upper(): (section, key) for key in model.model_fields}
    for variable, value in environment.items():
        if not variable.startswith("GATEWAY_") or variable == "GATEWAY_CONFIG":
            continue
        if variable not in known:
            raise ConfigError(f"{variable}: no such setting{did_you_mean(variable, known)}")
        section, key = known[variable]
        parsed: Any = value.split(os.pathsep) if key == "host_keys" else value
        document.setdefault(section, {})[key] = parsed

