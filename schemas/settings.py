"""Settings: environment variables with the prefix ``LATENTSTREAM_``, then ``.env``, then the local stack.

Nested names are joined by two underscores: ``LATENTSTREAM_REDIS__PREFIX=shop``. Where neither names an
address of Kafka or Redis, the one of the local stack (``latentstream stack up``) is used.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import platformdirs
from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.documents import MAX_EXPLAINED, MAX_K
from schemas.events import MAX_ID_LENGTH
from schemas.filters import parse_filter
from schemas.keys import DEFAULT_PROFILE, PROFILE_NAME
from schemas.model_settings import ModelSettings, Section

ENV_PREFIX: Final = "LATENTSTREAM_"
DEFAULT_HOME: Final = Path(platformdirs.user_data_dir("latentstream", appauthor=False))
STACK_STATE: Final = Path("stack") / "stack.json"


class TlsSettings(Section):
    """Certificates; hosts are always verified, by the system's authorities where no other is given."""

    ssl_cafile: Path | None = Field(None, description="Authority that signed the server's certificate. With TLS.")
    ssl_certfile: Path | None = Field(None, description="Our own certificate, where the server asks for one.")
    ssl_keyfile: Path | None = Field(None, description="Its key, where that is not in the same file.")

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _certificates_are_used(self) -> Self:
        given = [name for name in TlsSettings.model_fields if getattr(self, name) is not None]
        if given and not self.tls:
            raise ValueError(f"{' and '.join(given)} would be ignored: the connection is set to be without TLS")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("ssl_keyfile needs ssl_certfile")
        return self


class KafkaSettings(TlsSettings):
    """Where the events are."""

    bootstrap_servers: str = Field("", description="host:port, several separated by commas.")
    items_topic: str = Field("items", description="Topic of item events.")
    interactions_topic: str = Field("interactions", description="Topic of interaction events.")
    dead_letters_topic: str = Field("dead-letters", description="Topic for what cannot be processed.")
    anomalies_topic: str = Field("anomalies", description="Topic of items that the encoder marks as anomalies.")
    group_prefix: str = Field("latentstream", description="Consumer groups are called PREFIX-encoder and so on.")
    create_topics: bool = Field(True, description="Create missing topics. Off where an operator creates them.")
    partitions: int = Field(4, ge=1, le=1024, description="Partitions of topics that are created.")
    replication_factor: int = Field(1, ge=1, description="Replicas of topics that are created.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="With SASL_PLAINTEXT or SASL_SSL."
    )
    sasl_username: str | None = Field(None, description="With SASL_PLAINTEXT or SASL_SSL.")
    sasl_password: SecretStr | None = Field(None, description="With SASL_PLAINTEXT or SASL_SSL.")
    session_timeout_ms: int = Field(
        45_000, ge=1_000, description="A worker silent for longer loses its partitions. Brokers want 6,000 or more."
    )
    assignment: Literal["eager", "cooperative"] = Field(
        "eager",
        description="How partitions are divided when a worker comes or goes: all of them anew, or only those that "
        "move. The same for all workers of a group; stop them all to change it.",
    )
    max_poll_interval_ms: int = Field(300_000, ge=10_000, description="So does one that is stuck for longer.")

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> Self:
        needed = ("sasl_mechanism", "sasl_username", "sasl_password")
        missing = [name for name in needed if getattr(self, name) is None]
        if self.security_protocol.startswith("SASL") and missing:
            raise ValueError(f"security_protocol {self.security_protocol} needs {', '.join(missing)} as well")
        return self


class RedisSettings(TlsSettings):
    """Where codes and recommendations go."""

    url: SecretStr = Field(SecretStr(""), description="redis://[user:password@]host:port/db, or rediss:// for TLS.")
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = Field(
        "ls", description="Every key starts with PREFIX: ."
    )
    timeout_s: float = Field(10.0, gt=0, description="A command that takes longer is repeated.")

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.get_secret_value().startswith("rediss://")


class EventSettings(Section):
    """What is accepted from the topics."""

    max_bytes: int = Field(512 * 1024, ge=1024, le=1 << 24, description="A larger value goes to the dead letters.")
    batch: int = Field(1024, ge=1, le=65_536, description="Most events taken from Kafka at a time.")
    dead_letter_limit: int = Field(
        500, ge=1, description="A worker stops when so many of the last `dead_letter_window` events were bad."
    )
    dead_letter_window: int = Field(1000, ge=1, description="How many events the limit looks back over.")


class ProfileSettings(Section):
    """What stands in the lists of one profile."""

    k: int | None = Field(None, ge=1, le=MAX_K, description="Length of its lists, where it is not `recommend.k`.")
    filter: dict[str, Any] | None = Field(None, description="Only items that match; the README has the syntax.")
    diversity: float = Field(0.0, ge=0, le=1, description="0: the best items; 1: the least alike ones.")
    category: str | None = Field(
        None, min_length=1, max_length=MAX_ID_LENGTH, description="The attribute that `per_category` counts by."
    )
    per_category: int | None = Field(None, ge=1, le=MAX_K, description="Most items of one category.")
    explain: int = Field(0, ge=0, le=MAX_EXPLAINED, description="Items of the history that are named as reasons.")

    @field_validator("filter")
    @classmethod
    def _is_filter(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            parse_filter(value)  # A BadFilter is a ValueError, as pydantic wants it.
        return value

    @model_validator(mode="after")
    def _cap_is_whole(self) -> Self:
        if (self.category is None) != (self.per_category is None):
            raise ValueError("category and per_category go together")
        return self


ProfileName = Annotated[str, StringConstraints(pattern=PROFILE_NAME.pattern)]


class RecommendSettings(Section):
    """What is served."""

    k: int = Field(50, ge=1, le=MAX_K, description="Length of the finished lists.")
    profiles: dict[ProfileName, ProfileSettings] = Field(
        {},
        description=f"Further lists for each user, by name; {DEFAULT_PROFILE!r} changes the list without a name. JSON.",
    )
    history: int = Field(500, ge=1, le=10_000, description="Interactions kept for each user, the newest.")
    popularity_half_life_days: float = Field(7.0, gt=0, description="After so long an interaction counts half.")
    trending_half_life_hours: float = Field(24.0, gt=0, description="The same for what trends. Shorter than the above.")
    popular_refresh_s: float = Field(2.0, gt=0, description="How often the lists of what is popular are made anew.")
    query_timeout_s: float = Field(10.0, gt=0, description="Queries older than this are dropped: nobody waits.")
    query_wait_s: float = Field(
        1.0, gt=0, description='Queries that have waited longer, with others behind them, are told "busy".'
    )
    reply_ttl_s: int = Field(60, ge=1, description="How long a reply waits to be read.")
    log_events: int = Field(
        32_768, ge=1, description="Events in each partition's change log. A reader further behind loads all codes anew."
    )

    @model_validator(mode="after")
    def _trends_are_short(self) -> Self:
        if self.trending_half_life_hours >= 24 * self.popularity_half_life_days:
            raise ValueError("trending_half_life_hours must be shorter than popularity_half_life_days")
        return self


class DriftSettings(Section):
    """When what comes in differs so much from what the model was trained on that it is due for training."""

    threshold: float = Field(
        0.25, gt=0, description="Population stability index beyond which it is due; .1 is said to be a small change."
    )
    events: int = Field(
        10_000,
        ge=100,
        description="So many events of a worker decide, and half of what counts is newer. Less where events are few.",
    )
    wait_s: float = Field(
        3600.0, ge=0, description="For so long after a training drift asks for no other one. A person may: SET ls:due."
    )


class SwapSettings(Section):
    """How a new model takes the place of the current one."""

    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of a worker's time for the new model. Less is slower and leaves events more.",
    )
    keep_s: float = Field(
        3600.0,
        ge=0,
        description="So long the codes of the model before stay in Redis: until then a rollback takes seconds. At most "
        "`delete.retention.ms` of the items' topic.",
    )


class TrainerSettings(Section):
    """When `latentstream worker trainer` trains, and what it takes for a new model to be promoted."""

    interval_s: float = Field(86_400.0, gt=0, description="A training begins so long after the last one ended.")
    new_items_share: float = Field(
        0.2,
        gt=0,
        le=1,
        description="It begins sooner when such a share of the new interactions is with items that the model was not "
        "trained on. 1: never.",
    )
    held_out_share: float = Field(
        0.1, gt=0, le=0.5, description="Share of the interactions, the newest, that models are compared by."
    )
    margin: float = Field(
        0.01, ge=0, le=1, description="A new model must be better than the current one by this share of its quality."
    )
    from_current: bool = Field(
        False, description="Begin with the weights of the current model: sooner done, and what it learnt is kept."
    )


class HealthSettings(Section):
    """Liveness, readiness and metrics over HTTP."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    port: int = Field(0, ge=0, le=65535, description="0 takes a free port, which the log names.")
    stalled_after_s: float = Field(120.0, gt=0, description="Without main-loop progress for so long: not live.")


class ExplorerSettings(Section):
    """The web page of `latentstream explore`. It only reads."""

    host: str = Field("127.0.0.1", description="Address to listen on; another than this machine's own needs `token`.")
    port: int = Field(8080, ge=0, le=65535, description="0 takes a free port, which is printed.")
    token: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        None, description="Whoever opens the page must give it: at least 16 characters that nobody can guess."
    )
    names: list[str] = Field(
        [], description="Host names under which browsers reach it, beside this machine's own. JSON."
    )
    workers: list[str] = Field(
        [],
        description="host:port of the health server of workers whose metrics it shows, all of them where a name stands "
        "for many. JSON.",
    )


class Settings(BaseSettings):
    """All settings. ``latentstream config`` prints what is in force and where each value comes from."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    home: Path = Field(DEFAULT_HOME, description="Local stack, default registry and downloaded data sets.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="What workers log.")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="JSON lines or readable ones. auto: readable at a terminal."
    )
    tracing: bool = Field(
        False,
        description="Export traces with OpenTelemetry: needs latentstream[otel], and OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    events: EventSettings = EventSettings()
    recommend: RecommendSettings = RecommendSettings()
    model: ModelSettings = ModelSettings()
    swap: SwapSettings = SwapSettings()
    drift: DriftSettings = DriftSettings()
    trainer: TrainerSettings = TrainerSettings()
    health: HealthSettings = HealthSettings()
    explorer: ExplorerSettings = ExplorerSettings()

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def registry(self) -> Path:
        """The directory of model bundles; where the registry is at a URL, that of what is trained and copied here."""
        if self.registry_url is not None:
            return self.home / "registries" / hashlib.sha256(self.registry_url.encode()).hexdigest()[:16]
        return Path(self.model.registry or self.home / "models")

    @property
    def registry_url(self) -> str | None:
        """Where the registry is, None where it is a directory."""
        url = self.model.registry
        return url if isinstance(url, str) else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the sources: arguments, environment, ``.env``, secret files, local stack."""
        return (
            init_settings,
            env_settings,
            dotenv_settings,
            file_secret_settings,
            LocalStackSource(settings_cls),
        )


class LocalStackSource(PydanticBaseSettingsSource):
    """The addresses that ``latentstream stack up`` wrote down."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Part of the interface; every value comes from :meth:`__call__`."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return ``{"kafka": {"bootstrap_servers": …}, "redis": {"url": …}}`` where a stack runs."""
        home = Path(self.current_state.get("home", DEFAULT_HOME)).expanduser()
        try:
            state = json.loads((home / STACK_STATE).read_text())
        except FileNotFoundError:
            return {}
        return {name: state[name] for name in ("kafka", "redis") if name in state}
