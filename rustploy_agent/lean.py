"""Libraries without the parts that an agent never uses, which they import with themselves: an eighth of its memory.

Stand-ins take the places of those parts while a library is imported. That depends on how it is made inside; so it is
tried, and where it does not work with them, as another version might not, it is imported whole.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable
from types import ModuleType

log = logging.getLogger(__name__)


class Nothing:
    """May be imported, inherited from and made, and does nothing. Flask looks whether command groups have commands."""

    commands: tuple[()] = ()


class StandIn(ModuleType):
    """A module that has every name. One for a package leaves it its other modules."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        if "." not in name:
            spec = importlib.util.find_spec(name)
            self.__path__ = list(spec.submodule_search_locations or ()) if spec else []

    def __getattr__(self, name: str) -> type[Nothing]:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (Nothing,), {})
        setattr(self, name, made)
        return made


def use(library: str, tried: Callable[[], object], without: Iterable[str], absent: Iterable[str] = ()) -> None:
    """`tried` imports the library and uses it a little, with stand-ins for `without`, and `absent` not to be found.

    Another thread that imports one of those meanwhile meets the stand-in.
    """
    before, finders = set(sys.modules), list(sys.meta_path)
    places: dict[str, ModuleType | None] = {name: StandIn(name) for name in without} | dict.fromkeys(absent)
    places = {name: module for name, module in places.items() if name not in before}
    sys.modules.update(places)  # type: ignore[arg-type]
    try:
        tried()
    except Exception as error:
        log.warning("%s does not work without what the agent never uses, and is imported whole: %r", library, error)
        for name in set(sys.modules) - before - set(places):
            del sys.modules[name]
        sys.meta_path[:] = finders
    finally:
        for name, module in places.items():
            if name in sys.modules and sys.modules[name] is module:
                del sys.modules[name]
