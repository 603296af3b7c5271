"""`curl -sSi URL` for machines without curl: an application on Python's own HTTP client, which reads the proxy's environment."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request


def fetch(url: str) -> int:
    """Get a URL and print the response, head first.

    Returns:
        An exit code: 0 for any response, 1 for none.
    """
    try:
        response = urllib.request.urlopen(url, timeout=10)  # noqa: S310 - the demo's own URL
    except urllib.error.HTTPError as error:
        response = error
    except OSError as error:
        print(f"urllib: {error}", file=sys.stderr)
        return 1
    with response:
        print(f"HTTP/1.1 {response.status} {response.reason}\n{response.headers}{response.read().decode('utf-8')}", end="")
    return 0


if __name__ == "__main__":
    sys.exit(fetch(sys.argv[1]))
