"""The package as bin/compile calls it: `main([WHAT, …])`."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> None:
    what = arguments[0]
    if what == "plan":
        from pyplan import plan

        plan.run(arguments[1], ".".join(str(part) for part in sys.version_info[:3]))
    elif what == "hostindex":
        from pyplan import hostindex

        hostindex.run()
    elif what == "unset":
        from pyplan import unset

        unset.run(arguments[1])
    elif what == "locked":
        from pyplan import locked, wrong

        try:
            locked.run(*arguments[1:])
        except wrong.Wrong as error:
            raise SystemExit(f" !     python: {error}") from None
    elif what == "explain":
        from pyplan import explain

        explain.run(arguments[1])
    else:
        raise SystemExit(f"{what}: unknown")
