"""structlog without rich, which it imports wherever that happens to be installed: for coloured tracebacks that we never print.

It costs each start a tenth of a second and four megabytes (structlog 25, rich 15). Everybody has structlog from here.
"""

from __future__ import annotations

import sys

_is_rich_there = "rich" in sys.modules
if not _is_rich_there:
    # > importlib, The import system §5.3.1: If the value is None, then a ModuleNotFoundError is raised.
    sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog
    from structlog.typing import EventDict, FilteringBoundLogger, Processor
finally:
    if not _is_rich_there:
        del sys.modules["rich"]

__all__ = ["EventDict", "FilteringBoundLogger", "Processor", "structlog"]
