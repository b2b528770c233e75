"""Configuration: `gateway.toml`, `tenants/<tenant>.toml` and `GATEWAY_*` variables, as frozen settings."""

from __future__ import annotations

from gateway.config.load import LiveSettings, check_usernames, load, load_gateway, load_tenant, parse_tenant
from gateway.config.mistakes import checked, did_you_mean, read_toml
from gateway.config.model import (
    NAME_RULE,
    DataSettings,
    EngineSettings,
    FeedSettings,
    GatewaySettings,
    LimitSettings,
    LogSettings,
    PickupSettings,
    Role,
    Section,
    Settings,
    SftpSettings,
    TenantSettings,
    UserSettings,
    check_name,
)

__all__ = [
    "NAME_RULE",
    "DataSettings",
    "EngineSettings",
    "FeedSettings",
    "GatewaySettings",
    "LimitSettings",
    "LiveSettings",
    "LogSettings",
    "PickupSettings",
    "Role",
    "Section",
    "Settings",
    "SftpSettings",
    "TenantSettings",
    "UserSettings",
    "check_name",
    "check_usernames",
    "checked",
    "did_you_mean",
    "load",
    "load_gateway",
    "load_tenant",
    "parse_tenant",
    "read_toml",
]
