"""Typed getters for one JSON or YAML object: each wrong key becomes one detail, unknown keys are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rustploy_agent.errors import Detail

T = TypeVar("T")


class Fields:
    """Reads a mapping key by key and collects what is wrong with it.

    A parser takes the raw value and returns the parsed one or raises ValueError with what would be right.
    Child objects share their parent's list of problems; `finish()` on the root tells all of them at once.
    """

    def __init__(self, value: object, path: str = "", problems: list[Detail] | None = None) -> None:
        self.path = path
        self.problems: list[Detail] = [] if problems is None else problems
        self._values: Mapping[Any, Any] = value if isinstance(value, Mapping) else {}
        self._read: set[str] = set()
        self._children: list[Fields] = []
        if not isinstance(value, Mapping):
            self.problem("", "must be an object")

    def problem(self, key: str, message: str) -> None:
        field = ".".join(part for part in (self.path, key) if part)
        self.problems.append(Detail(field, message))

    def optional(self, key: str, parse: Callable[[Any], T], default: T) -> T:
        self._read.add(key)
        value = self._values.get(key)
        if value is None:
            return default
        try:
            return parse(value)
        except ValueError as error:
            self.problem(key, str(error))
            return default

    def maybe(self, key: str, parse: Callable[[Any], T]) -> T | None:
        nothing: T | None = None
        return self.optional(key, parse, nothing)

    def required(self, key: str, parse: Callable[[Any], T], default: T) -> T:
        """`default` only stands in until finish() raises."""
        if self._values.get(key) is None:
            self._read.add(key)
            self.problem(key, "is required")
            return default
        return self.optional(key, parse, default)

    def object(self, key: str, *, required: bool = False) -> Fields:
        """The object under `key`; an empty one when it is absent."""
        self._read.add(key)
        value = self._values.get(key)
        path = ".".join(part for part in (self.path, key) if part)
        if value is None and required:
            self.problem(key, "is required")
        child = Fields({} if value is None else value, path, self.problems)
        self._children.append(child)
        return child

    def every(self, parse_key: Callable[[Any], str], parse: Callable[[Any], T]) -> dict[str, T | None]:
        """All there is, for an object whose keys are free; null stays None."""
        found: dict[str, T | None] = {}
        for key, value in self._values.items():
            self._read.add(key)
            try:
                parse_key(key)
                found[key] = None if value is None else parse(value)
            except ValueError as error:
                self.problem(shown(key), str(error))
        return found

    def given(self, key: str) -> bool:
        """Whether the key is there at all, be it with null."""
        return key in self._values

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def is_null(self, key: str) -> bool:
        """Whether the key stands there with null, which may mean more than its absence."""
        return key in self._values and self._values[key] is None

    def finish(self) -> list[Detail]:
        """All problems, those of unknown keys included."""
        for child in self._children:
            child.finish()
        known = ", ".join(sorted(self._read))
        for key in self._values:
            if key not in self._read:
                self.problem(shown(key), self._unknown(shown(key), known))
                self._read.add(key)
        return self.problems

    def _unknown(self, key: str, known: str) -> str:
        parent, _, rest = key.partition(".")
        nested = f"; write {rest} as a key below {parent}" if rest and parent in self._read else ""
        return f"is not a known key{nested}; known are: {known}"


def shown(value: object) -> str:
    """What was given, in a message. It may spell a lone surrogate, which can be neither stored nor sent, or be a number
    with more digits than Python writes out.
    """
    try:
        text = str(value)
    except ValueError:
        text = f"a large {type(value).__name__}"
    return text[:100].encode("utf-8", "replace").decode()


def text(value: object, *, longest: int = 1024) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if not value or len(value) > longest:
        raise ValueError(f"must have 1 to {longest} characters")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not contain control characters")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise ValueError("must be valid Unicode")
    return value


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def integer(smallest: int, largest: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
            raise ValueError(f"must be an integer from {smallest} to {largest}")
        return value

    return parse


def one_of(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return value

    return parse


def absolute_path(value: object) -> str:
    path = text(value)
    if not path.startswith("/") or ".." in path.split("/"):
        raise ValueError("must be an absolute path")
    return path
