"""What a service written with a Python library does: `fetch.py LIBRARY [URL FILE BODY]…`.

Each triple is a request: what URL answers goes into FILE; with a BODY other than `-`, that file is posted. The HTTP version of
each answer is printed. The proxy and the roots come from the environment alone, as in a service nobody wants to change.
"""

from __future__ import annotations

import asyncio
import os
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

Ask = tuple[str, Path | None]
"""A URL, and the file to post, if any."""
Answer = tuple[str, bytes]
"""The HTTP version, and the body."""


def with_requests(asks: list[Ask]) -> Iterator[Answer]:
    """requests: a body with a Content-Length."""
    import requests

    with requests.Session() as session:
        for url, body in asks:
            response = session.post(url, data=body.read_bytes()) if body else session.get(url)
            response.raise_for_status()
            yield f"{response.raw.version / 10}", response.content


def with_httpx(asks: list[Ask], *, http2: bool = False) -> Iterator[Answer]:
    """httpx: a body in chunks."""
    import httpx

    with httpx.Client(http2=http2) as client:
        for url, body in asks:
            response = client.post(url, content=_pieces(body)) if body else client.get(url)
            response.raise_for_status()
            yield response.http_version.removeprefix("HTTP/"), response.content


def with_httpx2(asks: list[Ask]) -> Iterator[Answer]:
    """httpx, with HTTP/2 allowed."""
    return with_httpx(asks, http2=True)


def with_urllib(asks: list[Ask]) -> Iterator[Answer]:
    """The standard library: one connection for each request."""
    for url, body in asks:
        with urllib.request.urlopen(url, data=body.read_bytes() if body else None) as response:  # noqa: S310 - ours
            yield f"{response.version / 10}", response.read()


def with_urllib3(asks: list[Ask]) -> Iterator[Answer]:
    """urllib3: has to be told of the proxy, which services do like this."""
    import urllib3

    with urllib3.ProxyManager(os.environ["HTTPS_PROXY"], retries=False) as pool:
        for url, body in asks:
            response = pool.request("POST", url, body=body.read_bytes()) if body else pool.request("GET", url)
            if response.status != 200:
                raise OSError(f"{url} answered {response.status}")
            yield f"{response.version / 10}", response.data


def with_aiohttp(asks: list[Ask]) -> Iterator[Answer]:
    """aiohttp: a body in chunks, on an event loop."""
    import aiohttp

    async def pieces(body: Path) -> AsyncIterator[bytes]:
        for piece in _pieces(body):
            yield piece

    async def answers() -> list[Answer]:
        found = []
        async with aiohttp.ClientSession(trust_env=True, raise_for_status=True) as session:
            for url, body in asks:
                request = session.post(url, data=pieces(body)) if body else session.get(url)
                async with request as response:
                    version = response.version or (0, 0)
                    found.append((f"{version[0]}.{version[1]}", await response.read()))
        return found

    yield from asyncio.run(answers())


def _pieces(body: Path) -> Iterator[bytes]:
    with body.open("rb") as file:
        while piece := file.read(50_000):
            yield piece


LIBRARIES: dict[str, Callable[[list[Ask]], Iterator[Answer]]] = {
    "requests": with_requests,
    "httpx": with_httpx,
    "httpx2": with_httpx2,
    "urllib": with_urllib,
    "urllib3": with_urllib3,
    "aiohttp": with_aiohttp,
}


def main(library: str, *triples: str) -> None:
    """Fetch one after the other; any exception is the end."""
    urls, files, bodies = triples[0::3], triples[1::3], triples[2::3]
    asks = [(url, None if body == "-" else Path(body)) for url, body in zip(urls, bodies, strict=True)]
    for file, (version, content) in zip(files, LIBRARIES[library](asks), strict=True):
        Path(file).write_bytes(content)
        print(version)


if __name__ == "__main__":
    main(*sys.argv[1:])
