"""No secret is ever printed: not by commands, nor in errors, logs, metrics or traces; not even a wrong one."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import structlog
from kafka.errors import KafkaConnectionError, SaslAuthenticationFailedError

from schemas.settings import ENV_PREFIX, Settings
from tests.processes import environment
from tests.security.broker import Broker
from tests.security.certificates import Authority
from tests.security.commands import command
from tests.security.conftest import changed
from workers import cli, logs
from workers.refusals import kafka_reason

KAFKA_SECRET: Final = "kafka-hunter2"
# A URL holds it quoted.
REDIS_SECRET: Final = "redis/hunter2"
CRASH: Final = """
import sys
from kafka import KafkaConsumer
from workers import cli, connections

class Crashing(KafkaConsumer):
    def __init__(self, **options):
        secret_in_a_variable = options["sasl_plain_password"]
        raise ZeroDivisionError("unexpected")

connections.KafkaConsumer = Crashing
sys.argv = ["latentstream", "status"]
cli.main()
"""


def assert_silent(output: str) -> None:
    for secret in (KAFKA_SECRET, REDIS_SECRET, quote(REDIS_SECRET, safe="")):
        assert secret not in output


@pytest.fixture
def wrong(broker: Broker, redis_port: int, authority: Authority, tmp_path: Path) -> Settings:
    """Settings whose passwords are wrong."""
    url = f"rediss://user:{quote(REDIS_SECRET, safe='')}@127.0.0.1:{redis_port}/0"
    sections: dict[str, Any] = {
        "kafka": broker.settings("user", KAFKA_SECRET),
        "redis": {"url": url, "ssl_cafile": authority.cafile},
    }
    return Settings(home=tmp_path, log_level="DEBUG", **sections)


@pytest.mark.parametrize(
    "words", [["config"], ["config", "--json"], ["stack", "status"], ["status"], ["status", "--json"]]
)
def test_commands_that_show_settings_or_what_is_wrong_with_them(wrong: Settings, words: list[str]) -> None:
    done = command(wrong, *words)
    assert done.status in (0, 1)
    assert done.out
    assert_silent(done.output)


@pytest.mark.parametrize("words", [["recommend", "42"], ["publish", "items", "-"], ["worker", "encoder"]])
def test_a_wrong_password_ends_a_command_with_one_line_that_does_not_quote_it(
    wrong: Settings, words: list[str]
) -> None:
    done = command(wrong, *words)
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("latentstream: ")
    assert_silent(done.output)
    assert "Traceback" not in done.err


def test_servers_that_are_down(wrong: Settings) -> None:
    redis = {"url": f"rediss://user:{quote(REDIS_SECRET, safe='')}@127.0.0.1:1/0"}
    nowhere = changed(changed(wrong, "redis", **redis), "kafka", bootstrap_servers="127.0.0.1:1")
    done = command(nowhere, "status")
    assert done.status == 1
    assert "Redis does not answer" in done.out
    assert "Kafka does not answer" in done.out
    assert_silent(done.output)


@pytest.mark.parametrize(
    "variables",
    [
        {"KAFKA": f'{{"sasl_password": {KAFKA_SECRET}}}'},
        {"KAFKA": json.dumps({"sasl_password": [KAFKA_SECRET]})},
        {"KAFKA": json.dumps({"sasl_password": KAFKA_SECRET, "security_protocol": "SASL_SSL"})},
        {"KAFKA": json.dumps(KAFKA_SECRET)},
        {"REDIS": json.dumps({"url": {"rediss": REDIS_SECRET}})},
        {"REDIS": json.dumps({"url": f"redis://:{REDIS_SECRET}@host/0", "timeout_s": 0})},
        {"REDIS__URL": f"redis://:{REDIS_SECRET}@host/0", "REDIS__SSL_CAFILE": "ca.pem"},
        # The slash ends the host of this URL, so that the password becomes a port.
        {"REDIS__URL": f"redis://user:{REDIS_SECRET}@host/0"},
        {"REDIS__URL": REDIS_SECRET},
        {"REDIS__URL": f"http://user:{REDIS_SECRET}@host"},
    ],
)
def test_settings_that_are_wrong(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATENTSTREAM_HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(f"{ENV_PREFIX}{name}", value)
    monkeypatch.setattr("sys.argv", ["latentstream", "recommend", "42"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert told.err.startswith("latentstream: ")
    assert_silent(told.out + told.err)


def test_a_password_in_the_address_of_kafka(broker: Broker) -> None:
    address = f"sasl://user:{KAFKA_SECRET}@127.0.0.1:1"
    for error in (KafkaConnectionError("111 ECONNREFUSED"), SaslAuthenticationFailedError("no")):
        assert_silent(kafka_reason(error, broker.settings().model_copy(update={"bootstrap_servers": address})))


def test_a_crash_shows_no_variables(wrong: Settings) -> None:
    """Python's own trace has none; those of typer, rich and structlog would."""
    crashed = subprocess.run(
        [sys.executable, "-c", CRASH], env=environment(wrong), capture_output=True, text=True, timeout=60, check=False
    )
    assert crashed.returncode == 1
    assert crashed.stderr.endswith("ZeroDivisionError: unexpected\n")
    assert_silent(crashed.stdout + crashed.stderr)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize("stream", [io.StringIO, _Terminal])
def test_a_logged_trace_shows_no_variables(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("DEBUG")
    password = KAFKA_SECRET
    try:
        len(password) / 0
    except ZeroDivisionError:
        structlog.get_logger().exception("ours")
        logging.getLogger("kafka.net").exception("a library's")
    assert written.getvalue().count("ZeroDivisionError") >= 2
    assert_silent(written.getvalue())
