"""Damage a captured input: each edit is three numbers, so that whoever has numbers can damage.

Hypothesis draws them (and takes them away again to find the smallest input), and the nightly run
takes them from a seeded generator.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_BYTES = 1 << 16
"""An input is cut here: what is long is long enough by then."""


class Edit(NamedTuple):
    """What to do (by its number), where (counted round), and with what (counted round)."""

    kind: int
    place: int
    value: int


class Language(NamedTuple):
    """How inputs of a kind are damaged: by which edits, and with which words of its own."""

    edits: tuple[Callable[[bytes, int, int, Sequence[bytes]], bytes], ...]
    words: tuple[bytes, ...]


def damaged(seed: bytes, edits: Sequence[Edit], language: Language) -> bytes:
    """Return the seed with the edits made one after the other."""
    for kind, place, value in edits:
        edit = language.edits[kind % len(language.edits)]
        seed = edit(seed, place, value, language.words)[:MOST_BYTES]
    return seed


def made_of(drawn: bytes, seeds: Sequence[bytes], language: Language) -> bytes:
    """Return the input that a draw stands for: what kind, which seed, and six bytes an edit."""
    if drawn[0] % 16 == 0:
        return drawn[1:]
    numbers = struct.iter_unpack(">HHH", drawn[2 : 2 + (len(drawn) - 2) // 6 * 6])
    edits = [Edit(*each) for each in numbers]
    return damaged(seeds[drawn[1] % len(seeds)], edits, language)


_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[A-Za-z_][\w.]*|[-+]?\d[\w.]*|\s+|.', re.DOTALL)
_MEMBER = re.compile(rb'"(?:[^"\\]|\\.)*"\s*:\s*|(?<=[\[,])\s*(?=[{\["\w-])')
_REPEATS = (2, 100, 5000)
_INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, 1 << 63)


def _tokens(text: bytes, place: int) -> tuple[int, int]:
    """Return where one of the tokens begins and ends; an empty text has one, of no length."""
    found = [match.span() for match in _TOKEN.finditer(text)]
    return found[place % len(found)] if found else (0, 0)


def _drop_token(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    start, end = _tokens(text, place)
    return text[:start] + text[end:]


def _other_token(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    start, end = _tokens(text, place)
    return text[:start] + words[value % len(words)] + text[end:]


def _repeat_token(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    start, end = _tokens(text, place)
    return text[:start] + text[start:end] * _REPEATS[value % len(_REPEATS)] + text[end:]


def _token_elsewhere(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    start, end = _tokens(text, place)
    first, last = _tokens(text, value)
    return text[:first] + text[start:end] + text[last:]


def _member(text: bytes, place: int) -> tuple[int, int, int]:
    """Return where a JSON member (or element) begins, where its value begins, and where it ends."""
    found = [match.span() for match in _MEMBER.finditer(text)]
    if not found:
        return 0, 0, len(text)
    start, at = found[place % len(found)]
    return start, at, _value_end(text, at)


def _value_end(text: bytes, at: int) -> int:
    depth = 0
    for match in _TOKEN.finditer(text, at):
        token = match[0]
        if token in b"[{":
            depth += 1
        elif token in b"]}":
            depth -= 1
            if depth <= 0:
                return match.end() if depth == 0 else match.start()
        elif token == b"," and depth == 0:
            return match.start()
    return len(text)


def _drop_member(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    start, _, end = _member(text, place)
    if text[end : end + 1] == b",":
        return text[:start] + text[end + 1 :]
    return text[:start].rstrip().removesuffix(b",") + text[end:]


def _repeat_member(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    start, _, end = _member(text, place)
    times = _REPEATS[value % 2]
    return text[:start] + (text[start:end] + b",") * (times - 1) + text[start:]


def _other_value(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    _, at, end = _member(text, place)
    return text[:at] + words[value % len(words)] + text[end:]


def _value_of_other(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    _, at, end = _member(text, place)
    _, other, other_end = _member(text, value)
    return text[:at] + text[other:other_end] + text[end:]


def _rename(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    start, at, _ = _member(text, place)
    return text[:start] + b'"renamed":' + text[at:] if text[start:at].strip() else text


def _drop_line(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    lines = text.splitlines(keepends=True) or [b""]
    del lines[place % len(lines)]
    return b"".join(lines)


def _repeat_line(text: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    lines = text.splitlines(keepends=True) or [b""]
    lines.insert(value % len(lines), lines[place % len(lines)])
    return b"".join(lines)


def _insert(data: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    at = place % (len(data) + 1)
    return data[:at] + words[value % len(words)] + data[at:]


def _cut(data: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    return data[: place % (len(data) + 1)]


def _set_byte(data: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    if not data:
        return bytes([value & 0xFF])
    at = place % len(data)
    return data[:at] + bytes([value & 0xFF]) + data[at + 1 :]


def _flip(data: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    at = place % (len(data) or 1)
    return _set_byte(data, at, (data[at] if data else 0) ^ 1 << value % 8, words)


def _set_integer(data: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    at = place % (len(data) + 1)
    width = (1, 2, 4, 8)[value % 4]
    number = _INTEGERS[value // 8 % len(_INTEGERS)] % (1 << 8 * width)
    order = "little" if value & 4 else "big"
    return (
        data[:at]
        + number.to_bytes(width, "big")[:: -1 if order == "little" else 1]
        + (data[at + width :])
    )


def _drop_bytes(data: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    at = place % (len(data) + 1)
    return data[:at] + data[at + 1 + value % 32 :]


def _repeat_bytes(data: bytes, place: int, value: int, words: Sequence[bytes]) -> bytes:
    at = place % (len(data) + 1)
    return data[:at] + data[at : at + 1 + value % 64] + data[at:]


_OF_TEXT = (
    _other_token,
    _drop_token,
    _repeat_token,
    _token_elsewhere,
    _drop_line,
    _repeat_line,
    _other_token,
    _insert,
    _cut,
    _set_byte,
)
_OF_BYTES = (_set_byte, _flip, _set_integer, _cut, _drop_bytes, _repeat_bytes, _insert)
_ANYWHERE = (b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"", b"x" * 5000, b"\x1b[31m")
_NUMBERS = (
    b"0", b"-1", b"1", b"-0.0", b"1.5", b"1e-320", b"1e308", b"1e999", b"-1e999", b"nan", b"inf",
    b"-inf", b"9007199254740993", b"9223372036854775807", b"18446744073709551616", b"9" * 400,
    b"9" * 5000, b"0x10", b"1_000", b"\xd9\xa3", b"\xc2\xb2", b"+5", b"007",
)  # fmt: skip

TEXT = Language(_OF_TEXT, (*_NUMBERS, *_ANYWHERE, b":", b"\n", b"%", b"-", b'"', b"'", b"#"))
JSON = Language(
    (_drop_member, _repeat_member, _other_value, _value_of_other, _rename, _other_value, *_OF_TEXT),
    (
        *_NUMBERS, b"null", b"true", b"false", b"NaN", b"Infinity", b"-Infinity", b'""', b'"1"',
        b'"-1"', b'"x"', b'"\\ud800"', b'"\\u0000"', b'"\xff"', b'"\\ud83d\\ude00"', b'"\x1b[31m"',
        b'"' + b"y" * 3000 + b'"', b"[]", b"{}", b"[[]]", b"[null]", b'{"a": 1}', b"[1, 2]",
        b'["a"]', b"[" * 3000, b'{"a":' * 3000, b"[" * 3000 + b"]" * 3000, b'"' + b"9" * 400 + b'"',
        *_ANYWHERE,
    ),
)  # fmt: skip
TOML = Language(
    _OF_TEXT,
    (
        *_NUMBERS, b"true", b"false", b"1979-05-27T07:32:00Z", b"0x" + b"f" * 6000, b'""', b"[]",
        b'"\\u0000"', b'"\\uD800"', b"'x'", b"{}", b"{a = 1}", b"[[1]]", b"[" * 3000, b'["*"]',
        b"[x]\n", b"[[x]]\n", b"a.b.c = 1\n", b'"40 ms"', b'"5%"', b"=", b'"""', b"[1, -1]",
        b"{a=" * 2000, *_ANYWHERE,
    ),
)  # fmt: skip
BYTES = Language(_OF_BYTES, (*_ANYWHERE, b"\x00" * 64, b"\xff" * 64))
HTTP = Language(
    (*_OF_TEXT, _set_integer),
    (
        *_NUMBERS, *_ANYWHERE, b"\r\n", b"\r\n\r\n", b"Content-Length: 5\r\n", b"chunked", b"close",
        b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0", b" ",
        b"Content-Length: 99999999999999999\r\n", b"Content-Length: 8000000000\r\n", b"200", b"503",
    ),
)  # fmt: skip
