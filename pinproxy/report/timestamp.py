"""Instants as the log writes them: UTC, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime

# > RFC 3339 §5.6: time-offset = "Z" / time-numoffset. `Z` is what log pipelines recognise without being told.
_FRACTIONS = tuple(f".{millisecond:03d}Z" for millisecond in range(1000))


def format_time(at: datetime) -> str:
    """Format a UTC instant."""
    return at.isoformat(timespec="seconds")[:19] + _FRACTIONS[at.microsecond // 1000]


class Timestamps:
    """Formats instants most of which fall into the second of the one before: its text is still at hand."""

    def __init__(self) -> None:
        """Begin with no second."""
        self._second = datetime.min.replace(tzinfo=UTC)
        self._text = ""

    def format(self, at: datetime) -> str:
        """Format a UTC instant, as `format_time` does."""
        since = at - self._second
        if since.days or since.seconds:
            self._second = at.replace(microsecond=0)
            self._text = format_time(at)[:19]
        return self._text + _FRACTIONS[at.microsecond // 1000]
