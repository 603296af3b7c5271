"""Where a configuration comes from, so that a reload asks for it as the start did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pinproxy.settings.clients import ClientAuthSection
from pinproxy.settings.load import load_settings
from pinproxy.settings.model import Settings


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """Where the configuration comes from, at the start and at each reload.

    Attributes:
        path: The YAML file; None: defaults, environment and flags alone.
        environ: The environment.
        flags: Text by flag, as given on the command line.
        is_for_one_client: Whether one program alone is told of the proxy, on loopback: nobody is asked who they are then, nothing
            is encrypted on the way to itself, and routes, whose ports are the running proxy's, are not opened a second time.
    """

    path: Path | None
    environ: Mapping[str, str]
    flags: Mapping[str, str]
    is_for_one_client: bool = False

    def load(self) -> Settings:
        """Load and check everything.

        Raises:
            SettingsError: Every problem there is.
        """
        settings = load_settings(self.path, self.environ, self.flags)
        if self.is_for_one_client:
            return settings.model_copy(update={"client_auth": ClientAuthSection(), "listen_tls": None, "routes": ()})
        return settings
