"""The log: structlog, one `connection` line for each event, JSON for machines and coloured text for people.

Rules of this file:
- The connection line stands on the data path: it is written out in `report.connection_line` and passes no chain of processors.
- One event, one JSON line: all but printable ASCII is escaped, long strings are cut (CWE-117).
- What other libraries have to say comes in at WARNING and above, with credentials and query strings cut out of it (CWE-532).
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from pinproxy.policy.verdict import ALLOW, printable
from pinproxy.report.connection_line import connection_line
from pinproxy.report.event import ConnectionEvent
from pinproxy.report.lean_structlog import EventDict, FilteringBoundLogger, Processor, structlog
from pinproxy.report.line_sink import LineSink
from pinproxy.report.timestamp import Timestamps, format_time

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]

_LONGEST_LINE = 4096  # a pin failure over a real chain takes about 2,000; what is longer has a peer's hand in it and is cut
_LONGEST_VALUE = 512
_LONGEST_TEXT = 4096  # of `detail` and `exception`: ten certificates and ten pins, or the end of a deep traceback
_TEXTS = frozenset({"detail", "exception"})

# Made once: `json.dumps` with options makes an encoder for every call.
_to_json = json.JSONEncoder(separators=(",", ":"), default=str, check_circular=False).encode


class Log:
    """The log of one proxy.

    Attributes:
        logger: For everything that is not a connection line: `logger.warning("backup_pin_missing", rule=…)`.
    """

    def __init__(self, log_format: Format = "auto", level: Level = "info", stream: TextIO | None = None) -> None:
        """Build the chain; nothing global is touched.

        Args:
            log_format: `auto`: text where the stream is a terminal, JSON elsewhere.
            level: The lowest that is written. Allowed connections are `info`; denied and would-be-denied ones `warning`.
            stream: Something with a descriptor; None: standard error.
        """
        stream = sys.stderr if stream is None else stream
        is_text = log_format == "console" or (log_format == "auto" and stream is not None and stream.isatty())
        self._sink = LineSink(stream)
        self._render: Callable[[Any, str, EventDict], bytes] = _ConsoleLine() if is_text else _render_json
        self.processors: tuple[Processor, ...] = (_arrange, self._render)
        self.wrapper_class = structlog.make_filtering_bound_logger(level)
        self.logger: FilteringBoundLogger = structlog.wrap_logger(
            self._sink, processors=self.processors, wrapper_class=self.wrapper_class, cache_logger_on_first_use=True
        ).bind()
        self._timestamps = Timestamps()
        self._lowest = logging.getLevelNamesMapping()[level.upper()]
        # What a person is to read, and what is cut because it is too long, takes the way of every other line.
        self._longest_direct = -1 if is_text else _LONGEST_LINE

    @property
    def dropped_lines(self) -> int:
        """Lines that standard error would not take."""
        return self._sink.dropped

    @property
    def sink(self) -> LineSink:
        """Where the lines go."""
        return self._sink

    def connection(self, event: ConnectionEvent) -> None:
        """Write the one line of a connection or request."""
        level, number = ("info", logging.INFO) if event.decision is ALLOW else ("warning", logging.WARNING)
        if number < self._lowest:
            return
        line = connection_line(event, level, self._timestamps.format(event.at))
        if len(line) <= self._longest_direct:
            self._sink.msg(f"{line}\n".encode("ascii"))
        else:
            self._sink.msg(self._render(None, level, json.loads(line)))

    def close(self) -> None:
        """Give the descriptor back."""
        self._sink.close()


def configure_logging(log_format: Format = "auto", level: Level = "info", stream: TextIO | None = None) -> Log:
    """Make the log and put it in charge of the process: `structlog.get_logger()` and the stdlib loggers of libraries end in it.

    Args:
        log_format: As for `Log`.
        level: As for `Log`; libraries are heard from WARNING up, whatever stands here.
        stream: As for `Log`.

    Returns:
        The log, for the `Reporter`.
    """
    log = Log(log_format, level, stream)
    structlog.configure(
        processors=log.processors,
        wrapper_class=log.wrapper_class,
        logger_factory=lambda *_names: log.sink,
        cache_logger_on_first_use=False,  # a logger kept from before would go on writing to the stream of before
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryBridge(log.logger)], force=True)
    return log


class _LibraryBridge(logging.Handler):
    """Brings what aiohttp, asyncio and others say into the log."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # arguments that do not fit the format
            message = str(record.msg)
        self._logger.log(record.levelno, "library", logger=record.name, message=redact(message), exc_info=record.exc_info or None)


_USERINFO = re.compile(r"(?<=://)[^/\s@]*@")
_QUERY = re.compile(r"(?<=[\w/.\-])\?[^\s'\"<>)\]]+")
_CREDENTIAL = re.compile(r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(\W{1,4})[^\r\n]*")


def redact(text: str) -> str:
    """Cut userinfo, query strings and credential fields out of a text that is not ours (RFC 9110 §4.2.4, §17.9)."""
    return _QUERY.sub("?…", _USERINFO.sub("…@", _CREDENTIAL.sub(r"\1\2…", text)))


def _arrange(_logger: Any, level: str, event: EventDict) -> EventDict:
    """Put time, level and name first."""
    event = structlog.processors.format_exc_info(_logger, level, event)
    if "exception" in event:
        event["exception"] = redact(event["exception"])
    return {"timestamp": format_time(datetime.now(UTC)), "level": level, **event}


def _render_json(_logger: Any, _level: str, event: EventDict) -> bytes:
    # ASCII only, so that no terminal sequence (C1 too), no line separator and no lone surrogate survives.
    line = _to_json(event)
    if len(line) > _LONGEST_LINE:
        line = _to_json({key: _cut(key, value) for key, value in event.items()})
    return f"{line}\n".encode("ascii")


def _cut(key: str, value: Any) -> Any:
    limit = _LONGEST_TEXT if key in _TEXTS else _LONGEST_VALUE
    if not isinstance(value, str) or len(value) <= limit:
        return value
    # A traceback says what it is about in its last line.
    return "…" + value[1 - limit :] if key == "exception" else value[: limit - 1] + "…"


class _ConsoleLine:
    """One line for a person, without what is empty; long texts stand below it, indented so that they cannot pose as lines."""

    def __init__(self) -> None:
        # The traceback is text by the time it gets here, and goes below the line with the other texts.
        self._render = structlog.dev.ConsoleRenderer(colors=True, pad_event_to=12, sort_keys=False, pad_level=False)

    def __call__(self, logger: Any, level: str, event: EventDict) -> bytes:
        below = "".join(
            f"    {printable(line, _LONGEST_VALUE)}\n"
            for key in sorted(_TEXTS & event.keys())
            for line in _cut(key, str(event.pop(key))).splitlines()
        )
        shown = {key: _show(value) for key, value in event.items() if value is not None}
        return f"{self._render(logger, level, shown)}\n{below}".encode("utf-8", "backslashreplace")


def _show(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, _LONGEST_VALUE)
    return value if isinstance(value, bool | int | float) else printable(str(value), _LONGEST_VALUE)
