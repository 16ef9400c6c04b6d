"""``latentstream config``: every setting in force and where its value comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Final, NamedTuple

import typer
from pydantic import BaseModel, SecretStr
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
)

from schemas.masking import MASK, masked_url
from schemas.settings import ENV_PREFIX, LocalStackSource, Settings
from workers.cli import terminal

# The first that fits counts: reading .env is a special case of reading the environment.
_SOURCE_NAMES: Final[tuple[tuple[type[PydanticBaseSettingsSource], str], ...]] = (
    (DotEnvSettingsSource, ".env"),
    (EnvSettingsSource, "environment"),
    (SecretsSettingsSource, "secrets directory"),
    (LocalStackSource, "local stack"),
)
DEFAULT: Final = "default"


class Setting(NamedTuple):
    """One setting in force, fit to be shown."""

    name: str
    value: Any
    source: str
    description: str


def config(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for scripts.")] = False,
) -> None:
    """Print every setting in force, where its value comes from and what it is for. Secrets are masked."""
    found = list(settings_in_force())
    if as_json:
        terminal.print_json([setting._asdict() for setting in found])
        return
    for setting in found:
        # As one would write it into `.env`; what is not the default stands out.
        style = "" if setting.source == DEFAULT else "bold"
        terminal.say(terminal.printable(f"{setting.name}={_shown(setting.value)}"), style)
        terminal.say(f"    from: {setting.source}. {setting.description}", "dim")


def settings_in_force() -> Iterator[Setting]:
    """Return every setting, named as its environment variable.

    Raises:
        ValidationError: a value is wrong.
    """
    settings, given = _read()
    yield from _walk(settings, given, ())


def _read() -> tuple[Settings, list[tuple[str, dict[str, Any]]]]:
    """Return the settings, and what each source gave, the strongest first."""
    ranked: list[PydanticBaseSettingsSource] = []

    class Traced(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **kwargs: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            ranked[:] = super().settings_customise_sources(settings_cls, *args, **kwargs)
            return tuple(ranked)

    settings = Traced()
    named = [(source, name) for source in ranked for name in [_source_name(source)] if name]
    return settings, [(name, source()) for source, name in named]


def _source_name(source: PydanticBaseSettingsSource) -> str | None:
    return next((name for kind, name in _SOURCE_NAMES if isinstance(source, kind)), None)


def _walk(section: BaseModel, given: list[tuple[str, dict[str, Any]]], path: tuple[str, ...]) -> Iterator[Setting]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _walk(value, given, (*path, name))
        else:
            yield Setting(
                ENV_PREFIX + "__".join((*path, name)).upper(),
                _masked(value),
                _origin((*path, name), given),
                field.description or "",
            )


def _origin(path: tuple[str, ...], given: list[tuple[str, dict[str, Any]]]) -> str:
    for name, values in given:
        found: Any = values
        for part in path:
            if not isinstance(found, dict) or part not in found:
                break
            found = found[part]
        else:
            return name
    return DEFAULT


def _masked(value: Any) -> Any:
    """Return ``value`` as JSON can hold it, without secrets."""
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return masked_url(secret) if "://" in secret else MASK if secret else ""
    if isinstance(value, str) and "://" in value:
        return masked_url(value)
    if isinstance(value, dict):
        return {name: part.model_dump(exclude_defaults=True) for name, part in value.items()}
    return value if isinstance(value, int | float | str | list | None) else str(value)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
