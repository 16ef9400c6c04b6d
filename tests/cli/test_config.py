import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import STACK_STATE, Settings
from tests.cli.conftest import Run
from workers.cli.config import settings_in_force


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory and home, with no `.env` and no local stack in them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTSTREAM_HOME", str(tmp_path))
    return tmp_path


def printed(run: Run) -> dict[str, dict[str, Any]]:
    result = run("config", "--json")
    assert result.exit_code == 0, result.output
    return {setting["name"]: setting for setting in json.loads(result.stdout)}


def write_stack(home: Path) -> None:
    (home / STACK_STATE).parent.mkdir()
    state = {"kafka": {"bootstrap_servers": "127.0.0.1:9"}, "redis": {"url": "redis://127.0.0.1:8/0"}}
    (home / STACK_STATE).write_text(json.dumps(state))


def test_each_source_is_named_and_the_strongest_counts(
    run: Run, empty_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_stack(empty_directory)
    (empty_directory / ".env").write_text("LATENTSTREAM_REDIS__URL=redis://env:1/0\nLATENTSTREAM_RECOMMEND__K=7\n")
    monkeypatch.setenv("LATENTSTREAM_RECOMMEND__K", "9")
    monkeypatch.setenv("latentstream_kafka__items_topic", "films")
    found = printed(run)
    assert found["LATENTSTREAM_RECOMMEND__K"] | {"description": ""} == {
        "name": "LATENTSTREAM_RECOMMEND__K",
        "value": 9,
        "source": "environment",
        "description": "",
    }
    sources = {name: (setting["value"], setting["source"]) for name, setting in found.items()}
    assert sources["LATENTSTREAM_REDIS__URL"] == ("redis://env:1/0", ".env")
    assert sources["LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS"] == ("127.0.0.1:9", "local stack")
    assert sources["LATENTSTREAM_KAFKA__ITEMS_TOPIC"] == ("films", "environment")
    assert sources["LATENTSTREAM_KAFKA__PARTITIONS"] == (4, "default")


def test_a_section_given_as_json_is_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSTREAM_KAFKA", '{"partitions": 7}')
    found = printed(run)
    assert (found["LATENTSTREAM_KAFKA__PARTITIONS"]["value"], found["LATENTSTREAM_KAFKA__PARTITIONS"]["source"]) == (
        7,
        "environment",
    )
    assert found["LATENTSTREAM_KAFKA__ITEMS_TOPIC"]["source"] == "default"


def test_every_setting_is_there_with_a_description() -> None:
    def names(prefix: str, values: dict[str, Any]) -> Iterator[str]:
        for name, value in values.items():
            if isinstance(value, dict) and value:
                yield from names(f"{prefix}{name}__".upper(), value)
            else:
                yield prefix + name.upper()

    expected = set(names("LATENTSTREAM_", Settings().model_dump()))
    found = list(settings_in_force())
    assert {setting.name for setting in found} == expected
    assert all(setting.description for setting in found)


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_secrets_are_never_printed(run: Run, monkeypatch: pytest.MonkeyPatch, form: list[str]) -> None:
    monkeypatch.setenv("LATENTSTREAM_REDIS__URL", "redis://shop:hunter2@cache:6379/0")
    monkeypatch.setenv("LATENTSTREAM_KAFKA__SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("LATENTSTREAM_KAFKA__BOOTSTRAP_SERVERS", "sasl://me:hunter2@broker:9092")
    result = run("config", *form)
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert "redis://shop:***@cache:6379/0" in result.stdout


def test_an_invalid_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import workers.cli

    monkeypatch.setenv("LATENTSTREAM_KAFKA__PARTITIONS", "many-secrets")
    monkeypatch.setattr("sys.argv", ["latentstream", "config"])
    with pytest.raises(SystemExit) as ended:
        workers.cli.main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "LATENTSTREAM_KAFKA__PARTITIONS" in told
    assert "many-secrets" not in told
