"""nginx in front of a plain origin: TLS and HTTP/2 as the world speaks them."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from tests.clients.processes import running_process
from tests.harness.pki import Issued

_CONFIGURATION = """
daemon off;
user root;
pid {directory}/nginx.pid;
events {{}}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {directory}/client_body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {directory}/chain.pem;
    ssl_certificate_key {directory}/key.pem;
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_http_version 1.1;
    }}
  }}
}}
"""


@contextlib.asynccontextmanager
async def running_nginx(directory: Path, leaf: Issued, behind: int) -> AsyncIterator[int]:
    """Run nginx with HTTP/2 and this leaf on a port of its own.

    Args:
        directory: For its files.
        leaf: What it presents, with the chain above it.
        behind: Port of the origin it passes requests on to, over plain HTTP/1.1.

    Yields:
        The port.
    """
    (directory / "chain.pem").write_bytes(b"".join(item.pem for item in leaf.sent_chain()))
    (directory / "key.pem").write_bytes(leaf.key_pem)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.settimeout(0)  # as nginx wants it
        port = listener.getsockname()[1]
        configuration = directory / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(directory=directory, port=port, behind=behind))
        # nginx takes over the listening sockets that this variable names, as it does from itself at an upgrade. So the port
        # cannot be lost to somebody else, and clients may connect before nginx is up: the kernel holds them.
        environment = {"PATH": os.environ["PATH"], "NGINX": f"{listener.fileno()};"}
        command = ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(configuration)]
        async with running_process(command, environment, pass_fds=[listener.fileno()]):
            yield port
