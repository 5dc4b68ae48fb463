"""Declare settings, define the values that their variables may have, and read them from the environment.

A group of settings is a frozen dataclass. Each field is a `setting`, or another group, whose default is an instance. An
unset or empty variable means the default.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

PREFIX = "ANN_"
UNLIMITED = 2**63 - 1
LONGEST_SECONDS = 86_400.0


class SettingsError(ValueError):
    """An environment variable has a value that its setting does not allow."""


@dataclass(frozen=True, slots=True)
class Values(Generic[T_co]):
    """The values that a variable may have.

    Attributes:
        parse: turns the text into a value; raises `ValueError` for any other text.
        must_be: what an error says after "must be".
    """

    parse: Callable[[str], T_co]
    must_be: str


def setting(variable: str, default: T, values: Values[T], purpose: str, *, secret: bool = False) -> T:
    """Declare a field that is read from a variable.

    Args:
        variable: its name in the environment.
        default: the value while the variable is unset.
        values: what the variable may hold.
        purpose: one or two sentences, for the table in the documentation.
        secret: whether to keep the value out of error messages and `repr`.
    """
    metadata = {
        "variable": variable,
        "parse": values.parse,
        "takes": values.must_be,
        "purpose": purpose,
        "secret": secret,
    }
    declared: T = field(default=default, metadata=metadata, repr=not secret)
    return declared


def rows_of(group: type) -> Iterator[Field[Any]]:
    """Yield the settings of a group and of the groups in it, in order."""
    for row in fields(group):
        if row.metadata:
            yield row
        else:
            yield from rows_of(type(row.default))


def read(group: type[T], environ: Mapping[str, str]) -> T:
    """Read a group of settings from the environment.

    Raises:
        SettingsError: a variable has a wrong value; the message is one line that names variable and value.
    """
    values = {}
    for row in fields(group):  # type: ignore[arg-type]  # T is a dataclass, which typing cannot express
        if not row.metadata:
            values[row.name] = read(type(row.default), environ)
        elif text := environ.get(row.metadata["variable"], "").strip():
            values[row.name] = _parse(row, text)
    return group(**values)


def _parse(row: Field[Any], text: str) -> Any:
    try:
        return row.metadata["parse"](text)
    except ValueError:
        shown = "..." if row.metadata["secret"] else repr(text)
        raise SettingsError(f"{row.metadata['variable']}={shown}: must be {row.metadata['takes']}") from None


def misspelt(environ: Mapping[str, str], known: Sequence[str]) -> list[str]:
    """Return a warning for each variable that looks like a setting but is unknown, with the most similar known name."""
    sentences = []
    for name in sorted(name for name in environ if name.startswith(PREFIX) and name not in known):
        nearest = difflib.get_close_matches(name, known, n=1)
        advice = f"; did you mean {nearest[0]}?" if nearest else ""
        sentences.append(f"{name} is set, but there is no such setting{advice}")
    return sentences


def whole(minimum: int, maximum: int = UNLIMITED, unit: str = "") -> Values[int]:
    """Allow whole numbers within bounds."""

    def parse(text: str) -> int:
        value = int(text)
        if not minimum <= value <= maximum:
            raise ValueError
        return value

    of_unit = f" of {unit}" if unit else ""
    bounds = f"of at least {minimum}" if maximum == UNLIMITED else f"from {minimum} to {maximum}"
    return Values(parse, f"a whole number{of_unit} {bounds}")


def one_of(*words: str) -> Values[str]:
    """Allow some words, in upper or lower case; the value is the word as written here."""
    known = {word.lower(): word for word in words}

    def parse(text: str) -> str:
        if text.lower() not in known:
            raise ValueError
        return known[text.lower()]

    return Values(parse, f"{', '.join(words[:-1])} or {words[-1]}")


def matching(pattern: str, must_be: str) -> Values[str]:
    """Allow ASCII text that a pattern matches completely."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError
        return text

    return Values(parse, must_be)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= LONGEST_SECONDS:  # also refuses NaN
        raise ValueError
    return value


def _switch(text: str) -> bool:
    switches = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in switches:
        raise ValueError
    return switches[text.lower()]


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text.startswith("unix:") and len(text) > len("unix:"):
        return text
    if (
        ":" not in text
        or not port.isascii()
        or not port.isdigit()
        or int(port) > 65_535
        or (":" in host and not host.startswith("["))
    ):
        raise ValueError
    return text


def _file_name(text: str) -> str:
    if text.startswith(".") or "/" in text or "\0" in text:
        raise ValueError
    return text


def _hosts(text: str) -> frozenset[str]:
    hosts = frozenset(host.strip().lower() for host in text.split(",") if host.strip())
    for host in hosts:
        if host.startswith("["):
            ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]"))
        elif not re.fullmatch(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*", host):
            raise ValueError
    return hosts


def _web_address(text: str) -> str:
    if not re.fullmatch(r"https?://[^@/?#\s]+(/[^?#\s]*)?", text):
        raise ValueError
    return text


def _dsn(text: str) -> str | None:
    if text.lower() == "disabled":
        return None
    address = r"https?://[^@/:\s]+(:[^@/\s]*)?@(\[[0-9a-fA-F:.]+\]|[^@/:\s]+)(:\d{1,5})?/([^\s?#]*/)?\d+"
    if (
        not re.fullmatch(address, text, re.ASCII) or urlsplit(text).port == 0
    ):  # reading the port may raise ValueError, too
        raise ValueError
    return text


def _milvus_address(text: str) -> str:
    if not re.fullmatch(r"https?://(\[[0-9a-fA-F:.]+\]|[^@/:?#\s]+)(:\d{1,5})?", text) or urlsplit(text).port == 0:
        raise ValueError
    return text


NAME = Values(str, "a name")
FILE = Values(Path, "the path of a file")
DIRECTORY = Values(Path, "the path of a directory")
SECONDS = Values(_seconds, f"a number of seconds, above 0 and at most {LONGEST_SECONDS:.0f}")
SWITCH = Values(_switch, "true or false")
ADDRESS = Values(_address, "HOST:PORT, :PORT or unix:PATH")
FILE_NAME = Values(_file_name, "a name without a slash that does not begin with a dot")
MODEL = Values(_file_name, "efficientnet-lite0 or efficientnet-b0")
WEIGHTS = Values(str, "bundled, imagenet, noisy-student or the path of a file")
MILVUS_TOKEN = Values(str, "USER:PASSWORD, or an API key")
HOSTS = Values(_hosts, "host names in ASCII, separated by commas")
WEB_ADDRESS = Values(_web_address, "an http or https address without user, query or fragment")
DSN = Values(_dsn, "a DSN (https://KEY@HOST/PROJECT), or disabled")
MILVUS_ADDRESS = Values(_milvus_address, "http://HOST:PORT, or https://HOST:PORT for TLS")
WORD = matching(r"[A-Za-z_]\w{0,254}", "a name of letters, digits and _ that does not begin with a digit")
REVISION = matching(r"[\w.+/-]{1,64}", "a word of at most 64 letters, digits and characters of . + / _ -")
