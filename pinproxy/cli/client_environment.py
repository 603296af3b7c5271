"""How the runtimes of applications find a proxy and come to trust a CA. Values only; docs/clients.md tells the traps.

Rules of this file:
- Each name has a runtime that reads it and no other name for the same thing (`http_proxy` and `HTTP_PROXY` are two runtimes).
- A variable that replaces a runtime's roots names the bundle, which holds the public roots too; one that adds names our CA alone.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from pinproxy.authority import Authority
from pinproxy.net.published import BUNDLE_NAME, CA_NAME, TRUSTSTORE_NAME, TRUSTSTORE_PASSWORD

# Read by: OpenSSL and what is built on it (Python's ssl, Ruby, PHP, .NET) and Go; requests; curl; pip; git; cargo; AWS; gRPC.
_BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)
_CA_VARIABLES = ("NODE_EXTRA_CA_CERTS", "DENO_CERT")
_JAVA = "JAVA_TOOL_OPTIONS"
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not bound


def reachable(listen: Authority) -> Authority:
    """Tell where a client on the same machine (or in the same pod) connects to reach a listening address."""
    return Authority(_ANY_ADDRESS.get(listen.host, listen.host), listen.port)


def client_environment(
    proxy: Authority, direct: tuple[str, ...], published: Path | None, *, is_tls: bool = False
) -> dict[str, str]:
    """List the variables that lead a client through the proxy.

    Args:
        proxy: Where clients connect to.
        direct: Hosts and domain suffixes that are not proxied; plain, without a leading dot, as every runtime understands them.
        published: The directory of `ca.pem`, `bundle.pem` and `truststore.p12`; None: there is none, and no CA is named.
        is_tls: Whether TLS is spoken with the proxy itself, which Java's properties cannot say.

    Returns:
        Values by name, in an order that reads well.
    """
    url, bypass = f"{'https' if is_tls else 'http'}://{proxy}", ",".join(direct)
    variables = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "http_proxy": url, "https_proxy": url}
    variables |= {"NO_PROXY": bypass, "no_proxy": bypass}
    if published is not None:
        variables |= dict.fromkeys(_BUNDLE_VARIABLES, str(published / BUNDLE_NAME))
        variables |= dict.fromkeys(_CA_VARIABLES, str(published / CA_NAME))
    variables["NODE_USE_ENV_PROXY"] = "1"
    variables[_JAVA] = " ".join(java_options(proxy, direct, published))
    return variables


def java_options(proxy: Authority, direct: tuple[str, ...], published: Path | None) -> list[str]:
    """List the system properties that do for Java what the variables do for others."""
    # Java matches whole names unless a star says otherwise.
    bypass = "|".join("127.*" if host == "127.0.0.1" else host if host == "localhost" else f"*.{host}" for host in direct)
    options = [f"-D{scheme}.proxy{key}" for scheme in ("http", "https") for key in (f"Host={proxy.host}", f"Port={proxy.port}")]
    options.append(f"-Dhttp.nonProxyHosts={bypass}")
    if published is not None:
        options += [
            f"-Djavax.net.ssl.trustStore={published / TRUSTSTORE_NAME}",
            "-Djavax.net.ssl.trustStoreType=PKCS12",
            f"-Djavax.net.ssl.trustStorePassword={TRUSTSTORE_PASSWORD}",
        ]
    # The launcher splits JAVA_TOOL_OPTIONS at white space, outside of quotes.
    return [f'"{option}"' if " " in option else option for option in options]


def extend(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Put the variables into an environment: they win, but for Java's options, which stand behind those there are."""
    merged = {**environ, **variables}
    if environ.get(_JAVA):
        merged[_JAVA] = f"{environ[_JAVA]} {variables[_JAVA]}"
    return merged


# --- formats --------------------------------------------------------------------------------------------------------


def _as_shell(variables: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _as_dotenv(variables: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())


def _as_docker(variables: Mapping[str, str]) -> str:
    """Write a file for `docker run --env-file`, which takes everything behind the `=` as it stands."""
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def _as_kubernetes(variables: Mapping[str, str]) -> str:
    # A JSON string is a YAML string.
    return "env:\n" + "".join(f"  - {{name: {name}, value: {json.dumps(value)}}}\n" for name, value in variables.items())


def _as_java(variables: Mapping[str, str]) -> str:
    return variables[_JAVA] + "\n"


FORMATS: dict[str, Callable[[Mapping[str, str]], str]] = {
    "sh": _as_shell,
    "dotenv": _as_dotenv,
    "docker": _as_docker,
    "k8s": _as_kubernetes,
    "java": _as_java,
}
