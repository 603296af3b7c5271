"""The clients of the demo, as any application is: they know nothing of pins, and find the proxy in their environment."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass

_TIMEOUT_SECONDS = 20.0
# A head; what urllib and curl say of a CONNECT that was refused.
_STATUS = re.compile(r"(?:^HTTP/1\.1 |Tunnel connection failed: |tunnel failed, response )([0-9]{3})\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client printed.

    Attributes:
        command: What was run, as one would type it.
        output: Heads and body, as text.
        complaint: What it wrote to stderr.
    """

    command: str
    output: str
    complaint: str

    @property
    def status(self) -> int:
        """The last status that the client speaks of: the answer of the server, or of a proxy that would not connect; 0: none."""
        found = _STATUS.findall(f"{self.output}\n{self.complaint}")
        return int(found[-1]) if found else 0

    @property
    def heads_and_body(self) -> tuple[list[str], str]:
        """The lines of all heads, and what follows the last of them."""
        lines: list[str] = []
        rest = self.output.replace("\r\n", "\n")
        while rest.startswith("HTTP/"):
            head, _, rest = rest.partition("\n\n")
            lines += head.splitlines()
        return lines, rest.strip()


async def fetch(url: str, environment: Mapping[str, str]) -> Answer:
    """Get a URL with curl, or with Python where there is none.

    Args:
        url: What to get.
        environment: The proxy and CA variables; besides them the client sees only PATH.
    """
    curl = shutil.which("curl")
    if curl is not None:
        program, shown = [curl, "-sSi"], "curl -sSi"
    else:
        program, shown = [sys.executable, "-m", "pinproxy.cli.demo.plain_client"], "python3 -m pinproxy.cli.demo.plain_client"
    # No HOME: a ~/.curlrc could tell it to go elsewhere.
    process = await asyncio.create_subprocess_exec(
        *program,
        url,
        env={"PATH": os.environ.get("PATH", os.defpath), **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            output, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        output, complaint = await process.communicate()
        complaint += f"gave up after {_TIMEOUT_SECONDS:g} s".encode()
    return Answer(f"{shown} {url}", output.decode("utf-8", "replace"), complaint.decode("utf-8", "replace").strip())
