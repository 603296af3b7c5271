"""The composition root: settings become objects; signals, reloads and the end are handled. The only module that sees everything.

1. Load the settings; nothing starts with a problem in them.
2. Make the local CA, and publish what clients need to trust it.
3. Bind and accept; then the admin server.
4. Reload on SIGHUP and when a file changes: a good configuration is swapped in whole, a bad one is reported and changes nothing.
5. SIGTERM or SIGINT drains; a second one ends at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

from pinproxy.authority import Authority
from pinproxy.errors import SettingsError
from pinproxy.net.collector import collector_at_rest
from pinproxy.net.dial import Resolver, resolve_with_system
from pinproxy.net.event_loop import keep_pauses_short, new_event_loop
from pinproxy.net.local_ca import LocalCa
from pinproxy.net.system_roots import load_system_roots, roots_pem
from pinproxy.net.watch import watch_of_loop
from pinproxy.policy.table import PolicyTable
from pinproxy.proxy.route import Route
from pinproxy.proxy.server import Server
from pinproxy.proxy.tls_front import front_context
from pinproxy.report.log import configure_logging
from pinproxy.report.metrics import Metrics
from pinproxy.report.observations_file import ObservationsFile
from pinproxy.report.reporter import Reporter
from pinproxy.report.status_book import StatusBook
from pinproxy.settings.checks import exposed_addresses
from pinproxy.settings.loaded import load
from pinproxy.settings.model import Settings
from pinproxy.settings.source import SettingsSource
from pinproxy.settings.upstream_proxy_model import make_upstream_proxy
from pinproxy.settings.watch import ConfigWatch

# What a reload can put in force; the rest is bound, made or sized once.
_RELOADED_KEYS = frozenset({"version", "unlisted", "defaults", "pin_sets", "hosts", "reload", "client_auth", "listen_tls"})


def _waiting_keys(settings: Settings) -> dict[str, object]:
    """Pick the values that wait for a restart."""
    return {key: getattr(settings, key) for key in type(settings).model_fields.keys() - _RELOADED_KEYS}


def now_utc() -> datetime:
    """Read the wall clock."""
    return datetime.now(UTC)


class App:
    """A proxy with its admin server, from start to drain. Made and run inside one event loop.

    Attributes:
        addresses: What clients can connect to over TCP, once started.
        admin_address: Where the admin server listens, once started; None: off.
        local_ca: The CA that interception uses.
        server: The data path.
    """

    def __init__(
        self,
        source: SettingsSource,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = now_utc,
        resolver: Resolver = resolve_with_system,
    ) -> None:
        """Put everything together; nothing is bound yet.

        Args:
            source: For reloads.
            settings: What it gave at the start.
            clock: The UTC wall clock.
            resolver: How names become addresses.

        Raises:
            SettingsError: What can only be seen now: roots, the local CA's files, the directory to publish to.
        """
        self.addresses: tuple[Authority, ...] = ()
        self.admin_address: Authority | None = None
        self._source = source
        self._clock = clock
        # Before anything else reads the file: a change from here on is noticed.
        self._watch = ConfigWatch(source.path, self._reload_changed) if source.path is not None else None
        self._log = configure_logging(settings.log.format, settings.log.level)
        self._metrics = Metrics()
        self._book = StatusBook()
        self._observations_file = ObservationsFile(settings.observations.file, self._log.logger)
        self._observations = self._observations_file.load(clock())
        self._reporter = Reporter(self._log, self._metrics, self._book, self._observations)
        self._in_force = load(lambda: settings, load_system_roots)
        table = self._in_force.table
        self.local_ca = _make_local_ca(settings, table, clock())
        if settings.local_ca.publish is not None:
            self.local_ca.publish(settings.local_ca.publish, self._public_roots())
        self.server = Server(
            listen=settings.listen,
            routes=tuple(Route(route.listen, route.to, route.protocol, route.alpn) for route in settings.routes),
            table=table,
            limits=settings.limits,
            local_ca=self.local_ca,
            reporter=self._reporter,
            clock=clock,
            eviction_grace_seconds=settings.eviction_grace,
            preflight_ttl_seconds=settings.preflight_ttl,
            resolver=resolver,
            upstream_proxy=make_upstream_proxy(settings.upstream_proxy, settings.upstream_proxy_password_file, settings.no_proxy),
        )
        self._bound_as = settings.listen
        self._started_with = _waiting_keys(settings)
        self._meet_clients(settings, _front_of(settings))
        self._reporter.reload_succeeded(table, clock())
        self._stop_wanted = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._reload_lock = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()

    async def run(self, started: Callable[[App], None] | None = None) -> None:
        """Serve until told to stop, then drain.

        Args:
            started: Called once everything is bound.

        Raises:
            SettingsError: An address cannot be bound.
        """
        watch_of_loop().frame_rounds(self._log.sink.hold, self._log.sink.release)
        with self._signals_handled():
            async with self._observations_file.kept_up(self._observations, self._clock):
                await self._run(started)
        self._log.logger.info("stopped")
        self._log.close()

    def stop(self) -> None:
        """Begin to drain; the second time, end at once."""
        if not self._stop_wanted.is_set():
            self._stop_wanted.set()
        elif self._ending is not None:
            self._ending.cancel()

    async def reload(self) -> None:
        """Load the configuration again, and put it in force if it is good; else keep the last good one and say so."""
        async with self._reload_lock:
            try:
                # In a thread: ten thousand rules take a while to read, and traffic must not wait for them.
                loaded = await asyncio.to_thread(load, self._source.load, load_system_roots, self._in_force)
                self._refuse_exposure(loaded.settings)
                front = _front_of(loaded.settings)
            except SettingsError as error:
                self._reporter.reload_failed(error.problems, self._clock())
                return
            # What can fail is done: from here on the new configuration comes into force whole.
            self.server.swap(loaded.table)
            self._meet_clients(loaded.settings, front)
            self._warn_of_restart(loaded.settings)
            self._in_force = loaded
            self._warn_of_settings()
            self._reporter.reload_succeeded(loaded.table, self._clock())

    # --- parts ------------------------------------------------------------------------------------------------------

    async def _run(self, started: Callable[[App], None] | None) -> None:
        self.server.start()
        self.addresses = self.server.addresses
        self._warn_of_settings()
        try:
            async with self._admin_running():
                self._log.logger.info(
                    "started",
                    listen=[str(address) for address in (*self.addresses, *self.server.sockets)],
                    routes=[
                        f"{address} to {route.to}"
                        for address, route in zip(self.server.route_addresses, self._settings.routes, strict=True)
                    ],
                    admin=str(self.admin_address) if self.admin_address else None,
                    published=str(self._settings.local_ca.publish) if self._settings.local_ca.publish else None,
                )
                if started is not None:
                    started(self)
                await self._serve()
        finally:
            await self.server.stop()

    async def _serve(self) -> None:
        watching = asyncio.create_task(self._watch_files(self._watch)) if self._watch is not None else None
        try:
            await self._stop_wanted.wait()
            self._log.logger.info("draining", seconds=self._settings.limits.drain_seconds)
            self._ending = asyncio.create_task(self.server.drain())
            with contextlib.suppress(asyncio.CancelledError):
                await self._ending
        finally:
            for task in (watching, *self._reloads):
                if task is not None:
                    task.cancel()

    @contextlib.asynccontextmanager
    async def _admin_running(self) -> AsyncIterator[None]:
        if self._settings.admin is None:
            yield
            return
        # Imported here: aiohttp costs as much start-up time as everything else together.
        from pinproxy.admin.server import AdminServer  # noqa: PLC0415 - see above
        from pinproxy.admin.view import AdminView, Condition  # noqa: PLC0415 - see above

        def condition() -> Condition:
            return Condition(listeners_bound=self.server.is_listening, is_draining=self._stop_wanted.is_set())

        view = AdminView(condition, self._metrics, self._book, lambda: self.local_ca.ca_pem, self._observations)
        admin = AdminServer(self._settings.admin, view)
        try:
            self.admin_address = await admin.start()
        except OSError as error:
            message = f"cannot listen on {self._settings.admin}: {error.strerror}; is another process on that port?"
            raise SettingsError.of("admin", message) from error
        self.server.never_dial(self.admin_address)
        try:
            yield
        finally:
            await admin.stop()

    @contextlib.contextmanager
    def _signals_handled(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self._reload_soon}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def _reload_soon(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload_changed())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_changed(self) -> None:
        try:
            await self.reload()
        except Exception as error:  # noqa: BLE001  # the boundary of each reload, and it is told
            self._reload_ended(error)

    async def _watch_files(self, watch: ConfigWatch) -> None:
        while True:
            try:
                await watch.run(self._poll_seconds)
            except Exception as error:  # noqa: BLE001  # the boundary of each look: a defect in one must not be the last
                self._reload_ended(error)

    def _reload_ended(self, error: Exception) -> None:
        """Tell that a defect ended a reload, or the look for what is to be reloaded."""
        self._log.logger.error("reload_failed", exc_info=error, effect="the configuration in force stays")
        text = f"a defect of pinproxy ended the reload ({type(error).__name__}); the log has its traceback: report it"
        rejected = SettingsError.of(str(self._source.path or "configuration"), text)
        self._reporter.reload_failed(rejected.problems, self._clock())

    @property
    def _settings(self) -> Settings:
        return self._in_force.settings

    def _poll_seconds(self) -> float:
        return self._settings.reload.poll

    def _refuse_exposure(self, settings: Settings) -> None:
        """Refuse a reload that asks nobody any more at an address that others reach: what is bound stays so until a restart.

        Raises:
            SettingsError: It would.
        """
        newly = exposed_addresses(settings, self._bound_as) - exposed_addresses(self._settings, self._bound_as)
        if newly:
            shown = ", ".join(sorted(map(str, newly)))
            message = f"{shown} is bound until a restart, and nobody would be asked who they are there any more; restart instead"
            raise SettingsError.of("listen", message)

    def _meet_clients(self, settings: Settings, front: ssl.SSLContext | None) -> None:
        """Speak TLS with clients, and ask them who they are, as the settings say."""
        self.server.speak_tls(front)
        self.server.ask_clients(settings.client_auth.users)

    def _warn_of_settings(self) -> None:
        """Say what is allowed and seldom meant."""
        for warning in self._in_force.warnings:
            self._log.logger.warning("settings_warning", warning=warning)

    def _warn_of_restart(self, settings: Settings) -> None:
        """Name the keys that differ from those of the start, and that only a restart puts in force."""
        changed = sorted(key for key, value in _waiting_keys(settings).items() if value != self._started_with[key])
        if changed:
            self._log.logger.warning("restart_needed", keys=changed, to_do="these keys take effect at the next start")

    def _public_roots(self) -> bytes:
        """Give the roots that the published bundle holds besides ours; a machine without any gets ours alone, and a warning."""
        try:
            return roots_pem(load_system_roots())
        except SettingsError as error:
            self._log.logger.warning("no_system_roots", problem=str(error), effect="the published bundle holds our root alone")
            return b""


def _front_of(settings: Settings) -> ssl.SSLContext | None:
    """Make the context that clients of the proxy itself meet; None: they speak in clear."""
    front = settings.listen_tls
    if front is None:
        return None
    return front_context(front.chain_and_key, front.client_ca_file.roots if front.client_ca_file is not None else None)


def _make_local_ca(settings: Settings, table: PolicyTable, now: datetime) -> LocalCa:
    directory = settings.local_ca.directory
    if directory is not None:
        return LocalCa.load_or_create(directory, now)
    hosts = tuple(dict.fromkeys(rule.pattern.base for rule in table.rules))
    return LocalCa.create_in_memory(now, hosts if settings.local_ca.constrain_names else None)


def run_app(source: SettingsSource, started: Callable[[App], None] | None = None) -> None:
    """Load, serve until told to stop, drain: what `pinproxy run` does.

    Raises:
        SettingsError: The configuration has problems; nothing was started.
    """
    settings = source.load()

    async def main() -> None:
        with collector_at_rest():
            app = App(source, settings)
        keep_pauses_short()
        await app.run(started)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
