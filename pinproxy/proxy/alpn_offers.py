"""What a client will offer by ALPN, guessed before it has said so: the origin is asked and verified before the client may begin.

A wrong guess costs a second dial, and a client's first connection to a host is the one most often guessed wrong: requests offers
`http/1.1` and many a database driver nothing, where browsers offer `h2` as well. Whoever shares a proxy mostly shares a TLS
library too, so for a host that is new the guess is what the last client offered to any.
"""

from __future__ import annotations

from pinproxy.authority import Authority

Offer = tuple[str, ...]

USUAL_OFFER: Offer = ("h2", "http/1.1")
"""What most clients offer, in their order: the guess where there is nothing else to go by, and where a better one failed."""

_AUTHORITIES = 4096
# Of names: one client's long offer must not lengthen the ClientHello to everybody's new hosts until they drop it.
_GUESSED_BYTES = 64


class AlpnOffers:
    """The last offer to each authority that its server took."""

    def __init__(self) -> None:
        """Begin with nothing to go by."""
        self._last: Offer = USUAL_OFFER
        self._by_authority: dict[Authority, Offer] = {}

    def guess(self, authority: Authority) -> Offer:
        """Guess what the next client of an authority will offer."""
        return self._by_authority.get(authority, self._last)

    def learn(self, authority: Authority, offer: Offer) -> None:
        """Remember what a client offered, and its server took."""
        if authority not in self._by_authority and len(self._by_authority) >= _AUTHORITIES:
            self._by_authority.clear()
        self._by_authority[authority] = offer
        if sum(map(len, offer)) <= _GUESSED_BYTES:
            self._last = offer

    def forget(self, authority: Authority) -> None:
        """Guess the usual, here and for hosts that are new: the server did not take the guess."""
        self._by_authority.pop(authority, None)
        self._last = USUAL_OFFER
