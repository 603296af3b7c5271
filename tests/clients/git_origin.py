"""A git server: `git http-backend` behind an origin, as any forge's smart HTTP."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tests.harness.origin import Handler, read_request


def git_origin(repositories: Path) -> Handler:
    """Serve the repositories of a directory, for fetch and push.

    Each request becomes one run of git's own CGI program (RFC 3875).
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader, writer)) is not None:
            head, body = request
            line, *fields = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
            method, target, _ = line.split(" ")
            path, _, query = target.partition("?")
            named = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(repositories),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": method,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": named.get("content-type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": named.get("content-encoding", ""),
                "GIT_PROTOCOL": named.get("git-protocol", ""),
            }
            document = await _run_cgi(environment, body)
            # > RFC 3875 §6.3.3: The Status header field contains a 3-digit integer result code …
            answer_head, _, content = document.partition(b"\r\n\r\n")
            status = b"200 OK"
            if answer_head.startswith(b"Status: "):
                status_line, _, answer_head = answer_head.partition(b"\r\n")
                status = status_line.removeprefix(b"Status: ")
            writer.write(b"HTTP/1.1 %b\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (status, answer_head, len(content), content))
            await writer.drain()

    return answer


async def _run_cgi(environment: dict[str, str], body: bytes) -> bytes:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("git", "http-backend", env=environment, stdin=pipe, stdout=pipe)
    stdout, _ = await process.communicate(body)
    return stdout
