"""Lines of a fetch or a build on their way to the journal, with the fields `journalctl RUSTPLOY_APP=…` selects by."""

from __future__ import annotations

import re

# systemd.journal pulls in logging, uuid and datetime (10 ms); the programs that use this live for a tenth of a second.
from systemd._journal import sendv

TYPE_CHECKING = False  # what type checkers take for typing's, without loading typing
if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_LINE = 8 * 1024
#: A shorter value (true, 3000, eu) stands in logs for other reasons, and to mask it would tell it.
SHORTEST_HIDDEN = 6
MASK = "********"
#: The scheme's length is bounded and nothing matches in two ways: the time grows with the text, not with its square.
CREDENTIALS = re.compile(r"(?P<scheme>[A-Za-z0-9+.-]{1,32}://)[^/\s@][^/\s]*@")


def masked(text: str) -> str:
    """The text with what stands before the @ of any URL replaced."""
    return CREDENTIALS.sub(r"\g<scheme>***@", text)


class StepLog:
    """Sends whole lines; long ones in pieces of LONGEST_LINE characters."""

    def __init__(self, step: str, app: str, deployment_id: str) -> None:
        self._fields = [
            f"RUSTPLOY_APP={app}",
            f"RUSTPLOY_DEPLOYMENT={deployment_id}",
            f"RUSTPLOY_STEP={step}",
            f"SYSLOG_IDENTIFIER=rustploy-{step}",
        ]

        self._hidden: list[str] = []

    def hide(self, values: Iterable[str]) -> None:
        """Replace these values, line by line, wherever they stand in what follows; the longest first."""
        lines = {line.strip() for value in values for line in value.splitlines()}
        self._hidden = sorted((line for line in lines if len(line) >= SHORTEST_HIDDEN), key=len, reverse=True)

    def shown(self, text: str) -> str:
        """Return the text without the hidden values."""
        for value in self._hidden:
            text = text.replace(value, MASK)
        return text

    def line(self, text: str, priority: int = 6) -> None:
        text = self.shown(text)
        for start in range(0, max(len(text), 1), LONGEST_LINE):
            piece = text[start : start + LONGEST_LINE].replace("\0", "\ufffd")
            sendv(f"MESSAGE={piece}", f"PRIORITY={priority}", *self._fields)
