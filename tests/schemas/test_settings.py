"""Where settings come from, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.settings import STACK_STATE, Settings
from tests.processes import environment
from workers.cli import settings_errors


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a running stack's state, which is also the working directory and has no .env."""
    (tmp_path / STACK_STATE).parent.mkdir()
    state = {"kafka": {"bootstrap_servers": "127.0.0.1:1"}, "redis": {"url": "redis://127.0.0.1:2/0"}, "pids": {}}
    (tmp_path / STACK_STATE).write_text(json.dumps(state))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTSTREAM_HOME", str(tmp_path))
    return tmp_path


def addresses(settings: Settings) -> tuple[str, str]:
    return settings.kafka.bootstrap_servers, settings.redis.url.get_secret_value()


def test_local_stack_is_found_where_nothing_is_given(home: Path) -> None:
    assert addresses(Settings()) == ("127.0.0.1:1", "redis://127.0.0.1:2/0")
    assert Settings().registry == home / "models"


def test_local_stack_is_found_by_a_home_from_env_file_and_argument(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.delenv("LATENTSTREAM_HOME")
    assert addresses(Settings(home=home)) == ("127.0.0.1:1", "redis://127.0.0.1:2/0")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    (elsewhere / ".env").write_text(f"LATENTSTREAM_HOME={home}\n")
    assert addresses(Settings()) == ("127.0.0.1:1", "redis://127.0.0.1:2/0")


@pytest.mark.usefixtures("home")
def test_no_stack_no_address(tmp_path: Path) -> None:
    assert addresses(Settings(home=tmp_path / "other")) == ("", "")


def test_environment_goes_before_env_file_before_local_stack(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".env").write_text(
        "LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS=file:9092\nLATENTSTREAM_REDIS__PREFIX=file\nUNRELATED=1\n"
    )
    assert addresses(Settings()) == ("file:9092", "redis://127.0.0.1:2/0")
    monkeypatch.setenv("LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS", "env:9092")
    found = Settings()
    assert addresses(found) == ("env:9092", "redis://127.0.0.1:2/0")
    assert found.redis.prefix == "file"


@pytest.mark.usefixtures("home")
def test_setting_beside_the_address_keeps_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSTREAM_KAFKA__PARTITIONS", "7")
    assert Settings().kafka.partitions == 7
    assert Settings().kafka.bootstrap_servers == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS__PREFIX", "a:b"),
        ("REDIS__PREFIX", "{a}"),
        ("EVENTS__MAX_BYTES", "17000000"),
        ("KAFKA__SESSION_TIMEOUT_MS", "999"),
        ("KAFKA__PARTITIONS", "none"),
        ("KAFKA__NO_SUCH_SETTING", "1"),
    ],
)
@pytest.mark.usefixtures("home")
def test_bad_value_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"LATENTSTREAM_{name}", value)
    with pytest.raises(ValidationError, match=name.partition("__")[2].lower()):
        Settings()


@pytest.mark.parametrize(
    ("profiles", "told"),
    [
        ({"home": {"filter": {"price": {"less": 3}}}}, "HOME__FILTER: Value error, filter.price.less: is none of"),
        ({"home": {"category": "genre"}}, "HOME: Value error, category and per_category go together"),
        ({"home": {"per_category": 0}}, "HOME__PER_CATEGORY"),
        ({"home": {"diversity": 1.5}}, "HOME__DIVERSITY"),
        ({"home": {"size": 3}}, "HOME__SIZE"),
        ({"Home": {}}, "HOME__[KEY]"),
        ({"a:b": {}}, "A:B__[KEY]"),
        ({"": {}}, "__[KEY]"),
        ({"x" * 33: {}}, "__[KEY]"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_bad_profile_is_named(profiles: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSTREAM_RECOMMEND__PROFILES", json.dumps({"good": {"k": 3}} | profiles))
    with pytest.raises(ValidationError) as refused:
        Settings()
    (line,) = settings_errors(refused.value).splitlines()
    assert line.startswith("LATENTSTREAM_RECOMMEND__PROFILES__")
    assert told in line


@pytest.mark.usefixtures("home")
def test_what_trends_is_shorter_than_what_is_popular(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSTREAM_RECOMMEND__TRENDING_HALF_LIFE_HOURS", "168")
    with pytest.raises(ValidationError, match="must be shorter"):
        Settings()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"KAFKA__SSL_CAFILE": "ca.pem"}, "ssl_cafile would be ignored"),
        ({"REDIS__URL": "redis://r/0", "REDIS__SSL_CAFILE": "ca.pem"}, "ssl_cafile would be ignored"),
        ({"REDIS__URL": "rediss://r/0", "REDIS__SSL_KEYFILE": "key.pem"}, "ssl_keyfile needs ssl_certfile"),
        ({"KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "KAFKA__SASL_USERNAME": "me"}, "needs sasl_mechanism, sasl_password"),
    ],
)
@pytest.mark.usefixtures("home")
def test_security_that_is_only_half_set_is_refused(
    variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"LATENTSTREAM_{name}", value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    (line,) = settings_errors(refused.value).splitlines()
    assert line.startswith(f"LATENTSTREAM_{min(variables).partition('__')[0]}: ")
    assert told in line


@pytest.mark.usefixtures("home")
def test_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSTREAM_REDIS__URL", "redis://:s3cret@redis.example/0")
    monkeypatch.setenv("LATENTSTREAM_KAFKA__SASL_PASSWORD", "s3cret")
    found = Settings()
    assert "s3cret" not in repr(found) + str(found) + found.model_dump_json()
    assert found.redis.url.get_secret_value().endswith("s3cret@redis.example/0")


@pytest.mark.usefixtures("home")
def test_environment_of_a_process_gives_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The helper by which all tests with worker processes hand on their settings."""
    sections: dict[str, Any] = {
        "kafka": {"bootstrap_servers": "k:1", "create_topics": False},
        "redis": {"url": "redis://:s3cret@r:1/0", "timeout_s": 0.5},
        "recommend": {"profiles": {"home": {"k": 3, "filter": {"price": {"lt": 5}}}, "plain": {}}},
        "model": {"content": {"hidden": [5, 6]}, "registry": tmp_path / "a b"},
    }
    settings = Settings(**sections)
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
