"""Every setting of a broker: as a flag, as a `DIBS_*` environment variable, and in a TOML file.

A flag goes before the environment, the environment before the file, the file before the default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from dibs.contract.metrics_page import metrics_address

from .addresses import check_address, is_local
from .call_limits import CallerLimits
from .jwks_source import check_source
from .limits import Limits
from .quotas import NamespaceQuotas
from .redis_url import check_redis_url, read_redis_url
from .units import Span

ENV_PREFIX = "DIBS_"


class BadSettings(Exception):
    """A setting cannot be used; the text is one sentence that names the option."""


def default_data_dir() -> Path:
    """Where a private Redis keeps its data unless told otherwise, by the XDG base directory rules."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "dibs"


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(BaseSettings, Limits, CallerLimits, NamespaceQuotas):
    """Settings of a broker; immutable. Build with `Settings.load`, or directly with keyword arguments."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    listen: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=("127.0.0.1:7411",),
        min_length=1,
        description="Addresses to listen on: host:port, [v6]:port or unix:/path; port 0 takes a free one.",
    )
    insecure: bool = Field(
        default=False,
        description="Take plaintext connections from other hosts; else only loopback and unix sockets.",
    )
    tls_cert: Path | None = Field(
        default=None,
        description="PEM file with this broker's certificate and the intermediate ones behind it: every host:port "
        "speaks TLS then; unix sockets do not.",
    )
    tls_key: Path | None = Field(
        default=None, description="PEM file with the key of that certificate; nobody else may be able to read it."
    )
    tls_client_ca: Path | None = Field(
        default=None, description="PEM file with the authorities whose certificates clients may show."
    )
    tls_client_auth: Literal["none", "require"] | None = Field(
        default=None,
        description="Whether clients must show a certificate. Default: require with --tls-client-ca, else none.",
    )
    auth_file: Path | None = Field(
        default=None,
        description="TOML file that says who may call, and what: principals with digests of their tokens, names in "
        "their certificates, roles and limits. Default: everybody may do everything.",
    )
    jwt_jwks: str | None = Field(
        default=None,
        description="Keys (JWKS) of an issuer whose signed tokens (JWT) are taken: a file, or an https:// URL that is "
        "asked again and may be away. Default: such tokens are not taken.",
    )
    jwt_issuer: str | None = Field(default=None, description="Who signs them: the claim iss.")
    jwt_audience: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(), description="For whom they are: one of these is in the claim aud."
    )
    jwt_claim: str = Field(
        default="dibs", min_length=1, description="Name of the claim with their grants, written as in --auth-file."
    )
    jwt_leeway: Span = Field(
        default=timedelta(seconds=30),
        ge=timedelta(0),
        le=timedelta(minutes=10),
        description="By how much the clocks of issuer and broker may differ.",
    )
    jwt_refresh: Span = Field(
        default=timedelta(minutes=5),
        ge=timedelta(seconds=1),
        le=timedelta(days=1),
        description="Time between looks at keys that come from a URL.",
    )
    audit_log: str | None = Field(
        default=None,
        min_length=1,
        description="File to which calls that change what is others', and refused ones, are appended as lines of JSON; "
        "or stderr. Default: none.",
    )
    reflection: bool = Field(
        default=True,
        description="Tell programs such as grpcurl what this broker serves (grpc.reflection).",
    )
    redis: str | None = Field(
        default=None,
        repr=False,
        description="Redis to work on: redis://, rediss:// or unix:// URL. Default: a private one.",
    )
    redis_file: Path | None = Field(
        default=None,
        description="File that holds the URL of the Redis to work on, such as a mounted secret; instead of --redis.",
    )
    redis_ca: Path | None = Field(
        default=None,
        description="PEM file with authorities to know a rediss:// Redis by, besides those that the system trusts.",
    )
    redis_cert: Path | None = Field(
        default=None, description="PEM file with the certificate that a rediss:// Redis wants to see of its clients."
    )
    redis_key: Path | None = Field(
        default=None, description="PEM file with the key of that certificate; nobody else may be able to read it."
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder where the private Redis keeps its data between runs. "
        "Default: $XDG_DATA_HOME/dibs, or ~/.local/share/dibs.",
    )
    key_prefix: str = Field(
        default="dibs", pattern=r"^[A-Za-z0-9_./@-]{1,64}$", description="Start of every key in Redis."
    )
    allow_eviction: bool = Field(
        default=False, description="Work on a Redis that may evict keys under memory pressure: queued items may vanish."
    )
    redis_timeout: Span = Field(
        default=timedelta(seconds=2),
        ge=timedelta(milliseconds=50),
        le=timedelta(minutes=1),
        description="A Redis call that is not answered in this time fails.",
    )
    poll_interval: Span = Field(
        default=timedelta(milliseconds=800),
        ge=timedelta(milliseconds=10),
        le=timedelta(minutes=1),
        description="Look this often for items that no hint told of, such as those of a broker that died; "
        "at most 1,000 looks a second in all.",
    )
    idle_poll_interval: Span = Field(
        default=timedelta(minutes=1),
        ge=timedelta(milliseconds=10),
        le=timedelta(hours=1),
        description="The same in namespaces where nobody waits here for anything.",
    )
    request_id_window: Span = Field(
        default=timedelta(minutes=2),
        ge=timedelta(seconds=1),
        le=timedelta(days=1),
        description="How long the reply to an Enqueue is remembered under its request_id.",
    )
    once_retention: Span = Field(
        default=timedelta(hours=24),
        ge=timedelta(minutes=1),
        le=timedelta(days=366),
        description="How long an at-most-once item whose result is wanted may run before it is forgotten.",
    )
    task_retention: Span = Field(
        default=timedelta(days=30),
        ge=timedelta(minutes=1),
        le=timedelta(days=3650),
        description="How long a task is known by name after a worker registered it last.",
    )
    grace: Span = Field(
        default=timedelta(seconds=10),
        ge=timedelta(0),
        le=timedelta(hours=1),
        description="How long calls in flight may take to finish at shutdown.",
    )
    drain_delay: Span = Field(
        default=timedelta(0),
        ge=timedelta(0),
        le=timedelta(hours=1),
        description="How long to go on taking calls at shutdown after health says NOT_SERVING.",
    )
    max_concurrent_streams: int = Field(
        default=10_000, ge=1, le=2**31 - 1, description="Most calls at a time on one connection."
    )
    max_pending_calls: int = Field(
        default=10_000,
        ge=1,
        le=2**31 - 1,
        description="Most calls over all connections that have come and are not begun; further ones end as CANCELLED, "
        "and clients try them again.",
    )
    max_connections: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Most connections at a time on each address; further ones are closed at once. Never more than the "
        "process may have files open, but for some that it needs itself.",
    )
    max_connection_idle: Span | None = Field(
        default=timedelta(minutes=10),
        ge=timedelta(seconds=1),
        le=timedelta(days=366),
        description="Close connections on which there was no call for this long; clients open them anew for the next.",
    )
    handshake_timeout: Span = Field(
        default=timedelta(seconds=5),
        ge=timedelta(milliseconds=100),
        le=timedelta(minutes=2),
        description="A connection that has not finished its handshake by then is closed.",
    )
    keepalive_time: Span = Field(
        default=timedelta(seconds=30),
        ge=timedelta(seconds=1),
        le=timedelta(days=1),
        description="A connection that has been silent this long is pinged.",
    )
    keepalive_timeout: Span = Field(
        default=timedelta(seconds=10),
        ge=timedelta(milliseconds=100),
        le=timedelta(minutes=10),
        description="A connection that does not answer a ping in this time is closed.",
    )
    min_ping_interval: Span = Field(
        default=timedelta(seconds=5),
        ge=timedelta(milliseconds=100),
        le=timedelta(hours=1),
        description="Clients that ping more often are told to go away.",
    )
    max_connection_age: Span | None = Field(
        default=None,
        ge=timedelta(seconds=1),
        le=timedelta(days=366),
        description="Close connections of this age, give or take a tenth, so that clients spread anew. Default: never.",
    )
    max_connection_age_grace: Span = Field(
        default=timedelta(seconds=30),
        ge=timedelta(0),
        le=timedelta(days=1),
        description="How long the calls on such a connection may take to finish.",
    )
    metrics: str | None = Field(
        default=None,
        description="Address to serve metrics at, for Prometheus: host:port, or a port for this machine only. "
        "Default: nowhere.",
    )
    max_metric_names: int = Field(
        default=1_000,
        ge=0,
        le=100_000,
        description="Most names of queues, and of tasks, that metrics tell apart.",
    )
    ready_file: Path | None = Field(
        default=None,
        description="File that holds the addresses, one a line, while the broker listens; how others learn what port 0 "
        "became. Default: none.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level to log.")
    log_format: Literal["text", "json"] = Field(
        default="text", description="text for people, json for machines (one object a line)."
    )

    @field_validator("listen")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_address(address) for address in value)

    @field_validator("jwt_jwks")
    @classmethod
    def _jwt_jwks(cls, value: str | None) -> str | None:
        return value if value is None else check_source(value)

    @field_validator("metrics")
    @classmethod
    def _metrics_address(cls, value: str | None) -> str | None:
        if value is not None:
            metrics_address(value)
        return value

    @field_validator("redis")
    @classmethod
    def _redis_url(cls, value: str | None) -> str | None:
        return value if value is None else check_redis_url(value)

    @field_validator("log_level", "log_format", "tls_client_auth", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _redis_in_a_file(cls, given: Any) -> Any:
        """The file is read once; from then on its URL is as if it had been given."""
        path = given.get("redis_file")
        if not path:
            return given
        if given.get("redis"):
            raise ValueError("--redis (DIBS_REDIS) and --redis-file (DIBS_REDIS_FILE) cannot both be given")
        try:
            return {**given, "redis": read_redis_url(Path(path))}
        except ValueError as error:
            raise ValueError(f"--redis-file {path}: {error}") from None

    @model_validator(mode="after")
    def _together(self) -> Self:
        """What no field can tell alone."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        if len({self.jwt_jwks is None, self.jwt_issuer is None, not self.jwt_audience}) > 1:
            raise ValueError("--jwt-jwks, --jwt-issuer and --jwt-audience go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("--tls-client-ca means nothing without --tls-cert and --tls-key")
        if self.wants_client_certificates and self.tls_client_ca is None:
            raise ValueError("--tls-client-auth require needs --tls-client-ca, to know good certificates by")
        if (self.redis_cert is None) != (self.redis_key is None):
            raise ValueError("--redis-cert and --redis-key go together")
        if (self.redis_ca or self.redis_cert) and not (self.redis or "").lower().startswith("rediss:"):
            raise ValueError("--redis-ca and --redis-cert are for TLS: --redis must be a rediss:// URL")
        if not self.insecure and self.tls_cert is None:
            for address in self.listen:
                if not is_local(address):
                    raise ValueError(
                        f"listening on {address} in plaintext would let everybody on the network in: "
                        "give it --tls-cert and --tls-key, listen on loopback, or say --insecure"
                    )
        return self

    @property
    def asks_who_calls(self) -> bool:
        """Whether calls are made by principals, and not by everybody."""
        return self.auth_file is not None or self.jwt_jwks is not None

    @property
    def wants_client_certificates(self) -> bool:
        """Whether clients must show a certificate."""
        return self.tls_client_auth == "require" or (self.tls_client_auth is None and self.tls_client_ca is not None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flag, then environment; `load` adds the file."""
        return init_settings, env_settings

    @classmethod
    def load(cls, options: Mapping[str, Any], config: Path | None = None) -> Settings:
        """Settings from flags, environment and, if named, a TOML file.

        Args:
            options: values by field name; None: not given.
            config: the file; its keys are the field names, `_` or `-` between the words.

        Raises:
            BadSettings: with one sentence that names the option.
        """
        from_file = {} if config is None else _read(config)

        class Configured(cls):  # type: ignore[misc,valid-type]
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                **_: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return init_settings, env_settings, InitSettingsSource(settings_cls, from_file)

        try:
            loaded: Settings = Configured(**{name: value for name, value in options.items() if value is not None})
        except ValidationError as error:
            raise BadSettings(_sentence(error, config)) from None
        return loaded


def _read(config: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(config.read_text())
    except OSError as error:
        raise BadSettings(f"--config {config} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"--config {config} is not valid TOML: {error}") from None
    return {key.replace("-", "_"): value for key, value in found.items()}


def _sentence(error: ValidationError, config: Path | None) -> str:
    first = error.errors(include_url=False)[0]
    text = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return text
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return f"--config {config}: there is no option {name!r}"
    flag = name.replace("_", "-")
    # A URL may hold a password.
    given = "" if name == "redis" else f" is {first['input']!r:.100}"
    return f"--{flag} ({ENV_PREFIX}{name.upper()}){given}: {text[:1].lower()}{text[1:]}"
