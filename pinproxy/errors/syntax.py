"""What cannot be read: configurations, pins, patterns, and bytes that are no TLS. None of these reaches a client as it is."""

from __future__ import annotations

from dataclasses import dataclass

from pinproxy.errors.base import PinproxyError


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a configuration.

    Attributes:
        file: Path of the file as the operator named it, or the flag or variable the value came from.
        line: Line, counted from 1; 0 where the value did not come from a file.
        column: Column, counted from 1; 0 where the value did not come from a file.
        path: Where in the document, as `hosts[0].mode`; empty for the document itself.
        message: What was found, what was expected and what to do.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        """Format as `file:line:col: path: message`, the form editors jump to."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class SettingsError(PinproxyError):
    """A configuration that must not start; holds every problem found, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """Keep the problems; the text is one line each."""
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def of(cls, source: str, message: str, path: str = "") -> SettingsError:
        """Make the error of a single problem that has no line: a file that cannot be used, an address that cannot be bound.

        Args:
            source: What it is about: the file, or the key of the configuration.
            message: What was found, what was expected and what to do.
            path: Where in the document the file is named; empty: nowhere.
        """
        return cls((Problem(source, 0, 0, path, message),))


class PinSyntaxError(PinproxyError, ValueError):
    """A pin that cannot be read; the text says what was found and what was expected."""


class PatternSyntaxError(PinproxyError, ValueError):
    """A host pattern that cannot be read; the text says what was found and what was expected."""


class PinFormatError(PinproxyError):
    """Somebody else's pin file that cannot be read; holds every problem found, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        """Keep the problems; the text is one line each."""
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ObservationsSyntaxError(PinproxyError, ValueError):
    """A file or answer that is no record of observations this version reads; the text says what was found."""


class TlsSyntaxError(PinproxyError, ValueError):
    """Bytes that are no TLS; the reader that knows whose they are turns it into a refusal."""


class CertificateSyntaxError(PinproxyError, ValueError):
    """A certificate that the TLS library could read and our own parser cannot: one that only one of two can read."""
