"""The configuration as frozen values: every key, its type, its default, and the text that the schema publishes.

Rules of this file:
- A key added here gets its place in the schema, its unknown-key suggestions and, where it is a scalar, its flag and its
  environment variable without further ado; `config/pinproxy.yaml` must mention it (a test compares).
- What one field can know of itself is checked by its type; what a section knows, by the section; what takes the whole
  document, in `checks.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from pinproxy.authority import Authority
from pinproxy.limits import Limits
from pinproxy.pins.pin_set import PinSet
from pinproxy.policy.rule import ChainProfile, Connect, Mode, Tls13
from pinproxy.policy.table import Unlisted
from pinproxy.settings.clients import ClientAuthSection, ListenTlsSection
from pinproxy.settings.limits_model import LimitsValue
from pinproxy.settings.own_certificate import OwnCertificateSection
from pinproxy.settings.pin_model import (
    ForbiddenEntry,
    ForbiddenSection,
    PinEntry,
    PinSection,
    PinSetSection,
    check_forbidden,
    check_number_of_pins,
    make_pin_set,
)
from pinproxy.settings.route_model import RouteSection
from pinproxy.settings.section import Many, Section
from pinproxy.settings.trust import SYSTEM, TrustValue
from pinproxy.settings.upstream_proxy_model import NoProxyEntry, PasswordFile, UpstreamProxyUrl
from pinproxy.settings.values import (
    DialHost,
    Duration,
    DurationOrZero,
    FilePath,
    ListenAddress,
    Pattern,
    PlaceOfFile,
    Port,
    TcpAddress,
    TlsVersion,
)


class UpstreamSection(Section):
    """Where to connect instead of to the host; name and pins stay those of the host."""

    address: DialHost = Field(description="IP address or host name to connect to.", examples=["10.0.0.7"])
    port: Port | None = Field(None, description="Port to connect to; null: the port the client asked for.")


class HostOptions(Section):
    """How hosts are treated, unless their own entry says otherwise."""

    pin_set: str | None = Field(None, description="Name of an entry of `pin_sets`.", examples=["payments"])
    ports: Many[Port] = Field((), description="The ports this entry is for; empty: every port.", examples=[[443, 8443]])
    mode: Mode = Field(
        "enforce",
        description="enforce denies a pin mismatch; report-only lets it pass and reports it; disabled compares no pins. "
        "Chain, host name and dates are verified in all three.",
    )
    connect: Connect = Field(
        "intercept",
        description="How CONNECT is carried. intercept: the client's TLS ends here, with a certificate of the local CA. "
        "tunnel: it passes through, and is verified as far as it can be seen; needs `tls13`.",
    )
    tls13: Tls13 | None = Field(
        None,
        description="With `connect: tunnel`, what happens to TLS 1.3, whose certificates a tunnel cannot see. refuse it, or "
        "preflight: rest on a handshake of our own beforehand, which an attacker may tell from the client's.",
    )
    min_tls: TlsVersion = Field("1.2", description="Lowest TLS version spoken upstream.")
    trust: TrustValue = Field(
        SYSTEM,
        description="Roots a chain must end in: system, or a file of yours. pins-only: no chain is validated, and a pin has to "
        "be that of the server's own certificate; needs `mode: enforce`.",
        examples=["system", {"ca_file": "roots.pem"}, "pins-only"],
        json_schema_extra={"default": "system"},
    )
    chain_profile: ChainProfile = Field(
        "strict",
        description="strict: OpenSSL and the cryptography package must both accept the chain, since each alone accepts "
        "known-bad ones; compatible: OpenSSL alone, for older private CAs.",
    )
    client_cert: OwnCertificateSection | None = Field(
        None,
        description="Shown to a server that asks who we are; null: none. In a tunnel the client shows its own, and the "
        "preflight this one.",
    )
    upstream: UpstreamSection | None = Field(None, description="Where to connect instead; null: to the host itself.")


class HostSection(HostOptions):
    """One host, or the hosts of one pattern."""

    host: Pattern = Field(
        description="A host name, an IP address, *.name (exactly one label) or **.name (any depth, and the name itself). "
        "A name beats *. beats **., and the longest wins.",
        examples=["api.example.com", "*.partner.example"],
    )
    allow_single_pin: bool = Field(
        default=False, description="With `pins`: accept a single one. A lost key then means an outage."
    )
    unsafe_skip_hostname: bool = Field(
        default=False, description="With `trust: pins-only`: accept a certificate for any name, as long as its pin is right."
    )
    unsafe_skip_dates: bool = Field(
        default=False, description="With `trust: pins-only`: accept a certificate outside its dates, as long as its pin is right."
    )
    pins: Many[PinEntry] | None = Field(None, description="Two or more pins, instead of `pin_set`.")
    forbidden: Many[ForbiddenEntry] = Field(
        (), description="With `pins`: keys that deny wherever they appear in the verified chain."
    )

    @field_validator("pins")
    @classmethod
    def _pins_stand_alone(cls, pins: tuple[PinSection, ...] | None, info: ValidationInfo) -> tuple[PinSection, ...] | None:
        if pins is None:
            return None
        if info.data.get("pin_set") is not None:
            raise ValueError("both pin_set and pins are given; expected one of them")
        check_number_of_pins(pins, is_single_allowed=info.data.get("allow_single_pin", True))
        return pins

    @field_validator("forbidden")
    @classmethod
    def _forbidden_stands_with_pins(
        cls, forbidden: tuple[ForbiddenSection, ...], info: ValidationInfo
    ) -> tuple[ForbiddenSection, ...]:
        if forbidden and "pins" in info.data and info.data["pins"] is None:
            raise ValueError("forbidden stands here without pins; move it to the pin set, or write `pins` beside it")
        check_forbidden(info.data.get("pins") or (), forbidden)
        return forbidden

    def own_pin_set(self) -> PinSet | None:
        """Make the set of the pins written at this entry, named after its pattern; None: it has none of its own."""
        return make_pin_set(str(self.host), self.pins, self.forbidden) if self.pins else None


class LocalCaSection(Section):
    """The CA that interception uses."""

    directory: FilePath | None = Field(
        None,
        description="Where ca.pem and ca.key (0600) live, made at first start. null: a throw-away CA, its key in memory only.",
    )
    publish: FilePath | None = Field(
        Path("/run/pinproxy"),
        description="Directory that ca.pem, bundle.pem (system roots and ours) and truststore.p12 are written to; null: none.",
    )
    constrain_names: bool = Field(
        default=False,
        description="Limit a throw-away CA to the hosts listed at start by name constraints; a host added later then needs "
        "a restart. Needs `directory: null`.",
    )


class LogSection(Section):
    """The log, on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level that is written.")
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console where stderr is a terminal, else json; or always one of them."
    )


class ObservationsSection(Section):
    """What is known of hosts beyond one connection: for mismatch classes, and for `pinproxy learn` and `promote`."""

    file: PlaceOfFile | None = Field(
        None,
        description="Where observations outlive the process: JSON, 0600, replaced whole at most once a minute and at the end. "
        "null: in memory only.",
    )


class ReloadSection(Section):
    """How changes of the configuration are noticed."""

    poll: Duration = Field(
        2.0, description="Interval at which this file, and every file it names, is read and compared (SIGHUP reloads at once)."
    )


_PinSetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Settings(Section):
    """The whole configuration."""

    version: Literal[1] = Field(description="Version of this format.")
    listen: Many[ListenAddress] = Field(
        (Authority("127.0.0.1", 3128),),
        min_length=1,
        description="Where clients connect to: ports, or unix:/path. One that others can reach needs `client_auth`, "
        "`listen_tls.client_ca_file` or `unsafe_listen: true`.",
        examples=[["127.0.0.1:3128"], ["unix:/run/pinproxy/proxy.sock"]],
    )
    unsafe_listen: bool = Field(
        default=False,
        description="Allow `listen` addresses beyond loopback: whoever reaches one may send through this proxy.",
    )
    listen_tls: ListenTlsSection | None = Field(
        None, description="TLS between clients and the proxy itself, on every TCP address of `listen`; null: in clear."
    )
    client_auth: ClientAuthSection = Field(ClientAuthSection(), description="What clients have to show before they are served.")
    admin: TcpAddress | None = Field(
        Authority("127.0.0.1", 9470), description="Health, metrics and status page, for reading only; null: off."
    )
    unlisted: Unlisted = Field("deny", description="Hosts without an entry in `hosts`: deny or allow.")
    eviction_grace: DurationOrZero = Field(
        0.0, description="How long a tunnel that a changed pin set, or a user taken away, would deny may go on."
    )
    preflight_ttl: DurationOrZero = Field(
        60.0, description="How long the handshake made before a tunnel serves further tunnels to the same host and address."
    )
    defaults: HostOptions = Field(HostOptions(), description="What holds for every host whose entry does not say otherwise.")
    local_ca: LocalCaSection = Field(LocalCaSection(), description="The CA that interception uses.")
    pin_sets: dict[_PinSetName, PinSetSection] = Field({}, description="Pins by name, for one host or several.")
    hosts: Many[HostSection] = Field((), description="The hosts that clients may reach, and what is asked of them.")
    routes: Many[RouteSection] = Field((), description="Ports for applications that cannot use a proxy; each leads to one host.")
    upstream_proxy: UpstreamProxyUrl | None = Field(
        None,
        description="A proxy between us and the world, as http://[user:password@]host:port; null: none. It is asked for every "
        "host by CONNECT, and resolves their names.",
        examples=["http://proxy.corp.example:8080"],
    )
    upstream_proxy_password_file: PasswordFile | None = Field(
        None, description="File that holds the password of the user in `upstream_proxy`, readable by nobody else; null: none."
    )
    no_proxy: Many[NoProxyEntry] = Field(
        ("localhost", "127.0.0.0/8", "::1"),
        description="Hosts that go without `upstream_proxy`: a name with everything below it, an address, or a network. Names "
        "are not resolved to find out.",
    )
    limits: LimitsValue = Field(Limits(), description="Bounds that a peer can run into.")
    observations: ObservationsSection = Field(
        ObservationsSection(), description="What is known of hosts beyond one connection, and where it is kept."
    )
    log: LogSection = Field(LogSection(), description="The log, on stderr.")
    reload: ReloadSection = Field(ReloadSection(), description="How changes of the configuration are noticed.")

    def options_of(self, host: HostSection) -> HostOptions:
        """Merge the defaults into a host: what its entry says wins, key by key."""
        own = {name: getattr(host, name) for name in host.model_fields_set & HostOptions.model_fields.keys()}
        return self.defaults.model_copy(update=own)
