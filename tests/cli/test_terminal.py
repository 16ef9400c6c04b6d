import json

import pytest
from rich.console import Console

from schemas.masking import masked_url
from workers.cli import terminal
from workers.cli.inspect import picture


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Twelve Monkeys (1995)", "Twelve Monkeys (1995)"),
        ("Amélie 愛 ★", "Amélie 愛 ★"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("left\u202eright", "left\\u202eright"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_escaped_and_letters_are_not(text: str, shown: str) -> None:
    assert terminal.printable(text) == shown


def test_bytes_are_cut_and_escaped() -> None:
    assert terminal.printable_bytes(b"\xff\x1b]0;title\x07", 100) == "\\xff\\x1b]0;title\\x07"
    assert terminal.printable_bytes(b"a" * 2000, 5) == "aaaaa… (2,000 bytes)"


def test_markup_and_emoji_names_in_titles_are_shown_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    title = "[bold]Rec[/bold] [/] [link=x] :smile: [REC] 2"
    terminal.console().print(terminal.table(("title",), [(title,)]))
    terminal.console().print(terminal.pairs([("title", title)]))
    terminal.say(title)
    assert capsys.readouterr().out.count(title) == 3


def test_a_table_folds_at_a_narrow_terminal_and_loses_nothing() -> None:
    console = Console(width=30, force_terminal=True, markup=False, no_color=True)
    with console.capture() as captured:
        console.print(terminal.table(("item", "title"), [("1", "x" * 100)]))
    assert captured.get().count("x") == 100


def test_json_is_ascii_and_means_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"title": "愛\x1b\x7f\x9b", "none": None}
    terminal.print_json(document)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert all(character.isprintable() for character in printed.replace("\n", ""))
    assert json.loads(printed) == document


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://shop:secret@host:1/0", "redis://shop:***@host:1/0"),
        ("rediss://:secret@host/0", "rediss://:***@host/0"),
        ("redis://secret@host", "redis://***@host"),
        ("redis://host/0?password=secret&db=1", "redis://host/0?password=***&db=1"),
        ("unix:///run/redis.sock?ssl_password=secret", "unix:///run/redis.sock?ssl_password=***"),
        # Passwords that should have been quoted.
        ("redis://:sec/ret@host/0", "***"),
        ("redis://:sec?ret@host/0", "***"),
        ("redis://:sec#ret@host/0", "***"),
        ("redis://:sec@ret@host/0", "***"),
        ("redis://:[secret@host/0", "***"),
        ("redis://host:secret/0", "***"),
        (":secret@host", "***"),
        ("secret", "***"),
    ],
)
def test_no_password_is_left_in_a_url(url: str, shown: str) -> None:
    assert masked_url(url) == shown


def test_an_image_is_drawn_by_its_brightness() -> None:
    assert (
        picture([0.0, 1.0, 0.5, 7.0], [2, 2]) == "  @@\n==@@" or picture([0.0, 1.0, 0.5, 7.0], [2, 2]) == "  @@\n++@@"
    )


def test_an_image_with_channels_and_a_large_one_are_drawn_too() -> None:
    assert picture([1.0, 1.0, 1.0], [1, 1, 3]) == "@@"
    lines = picture([1.0] * 100 * 64, [100, 64]).split("\n")
    assert (len(lines), len(lines[0])) == (50, 64)


@pytest.mark.parametrize("shape", [[], [4], [3, 3], [1, 2, 2, 1]])
def test_what_is_no_image_is_not_drawn(shape: list[int]) -> None:
    assert picture([0.0, 1.0, 0.5, 0.25], shape) == ""
