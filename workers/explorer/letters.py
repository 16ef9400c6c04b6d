"""The newest dead letters, as the explorer lists them."""

from __future__ import annotations

import shlex
from typing import Final

import msgspec

from schemas.settings import Settings
from workers.letters import Letter, read_letter
from workers.topic_reader import newest

SHOWN: Final = 200


class ShownLetter(msgspec.Struct, frozen=True):
    """A dead letter; bytes that are not UTF-8 are escaped, and of a long value there is the beginning."""

    written_at: float
    topic: str
    partition: int
    offset: int
    reason: str
    message: str
    key: str | None
    value_bytes: int
    value_start: str | None
    show: str


class Letters(msgspec.Struct, frozen=True):
    """The newest letters, each event once, and the commands that publish their events again."""

    letters: list[ShownLetter]
    replay: str
    replay_reason: dict[str, str]


def read_letters(settings: Settings) -> Letters:
    """Return the newest letters.

    Raises:
        ConnectionFailed: Kafka does not answer.
    """
    letters = [_shown(letter) for letter in newest(settings, settings.kafka.dead_letters_topic, SHOWN, read_letter)]
    reasons = dict.fromkeys(letter.reason for letter in letters)
    command = "latentstream dead-letters replay"
    return Letters(
        letters, command, {reason: f"{command} --all --reason {shlex.quote(reason)}" for reason in reasons if reason}
    )


def _shown(letter: Letter) -> ShownLetter:
    place = shlex.join([letter.topic, str(letter.partition), str(letter.offset)])
    return ShownLetter(
        letter.written_ms / 1000,
        letter.topic,
        letter.partition,
        letter.offset,
        letter.exception,
        letter.message,
        _text(letter.key),
        letter.value_bytes,
        _text(letter.value_start),
        f"latentstream dead-letters show {place}",
    )


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")
