"""Configuration: `gateway.toml`, `tenants/<tenant>.toml` and `GATEWAY_*` variables, as frozen settings."""

from __future__ import annotations

from gateway.config.load import LiveSettings, check_usernames, load, load_gateway, load_tenant, parse_tenant
from gateway.config.logins import LoginSettings, Role, UserSettings
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
    Settings,
    SftpSettings,
    TenantSettings,
    check_name,
)
from gateway.config.section import Section

__all__ = [
    "NAME_RULE",
    "DataSettings",
    "EngineSettings",
    "FeedSettings",
    "GatewaySettings",
    "LimitSettings",
    "LiveSettings",
    "LogSettings",
    "LoginSettings",
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
