"""Who may use the proxy: users with passwords, asked of every CONNECT, every request and every SOCKS5 client.

A check costs some 100 ms on purpose (`policy.password_hash`), in a thread. What was right once is remembered under a digest that
is keyed with a secret of this process, so that a request costs a microsecond, and a memory dump shows no password.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections import OrderedDict
from collections.abc import Mapping

from pinproxy.errors import AuthRequired, Overloaded
from pinproxy.http1.credentials import proxy_credentials
from pinproxy.http1.head import RequestHead
from pinproxy.policy.password_hash import PasswordHash, hash_password

_REMEMBERED = 1024
# Each takes a core and 16 MiB: whoever guesses passwords must not take the machine from those who know one.
_CHECKS_WAITING = 32  # at 50 ms each, two at a time: under a second, so guessing cannot keep others out for longer
_CHECKS_AT_ONCE = 2
_ASKED_FOR = "the proxy asks for user and password (Proxy-Authorization: Basic)"


class ClientAuth:
    """The users of the proxy."""

    def __init__(self, users: Mapping[str, PasswordHash]) -> None:
        """Keep the hashes of the users by name."""
        self._users = {name.encode("utf-8"): kept for name, kept in users.items()}
        # Checked in place of a user who does not exist, so that the time an answer takes does not tell who does.
        some = next(iter(self._users.values()), None)
        nobody = os.urandom(32)
        self._nobody = (
            PasswordHash(some.log2_cost, some.block_size, some.parallelism, some.salt, nobody)
            if some is not None
            else hash_password(nobody, nobody[:16])
        )
        self._key = os.urandom(32)
        self._accepted: OrderedDict[bytes, None] = OrderedDict()
        self._checks = asyncio.Semaphore(_CHECKS_AT_ONCE)
        self._waiting = 0

    def knows(self, user: str) -> bool:
        """Tell whether there is such a user."""
        return user.encode("utf-8") in self._users

    def recognise(self, head: RequestHead) -> str | None:
        """Tell whose request this is, if its credentials were found right before; None: `demand` has to check them."""
        found = proxy_credentials(head)
        if found is None or not self._is_remembered(self._digest(found.user, found.password)):
            return None
        return found.user.decode("utf-8")

    async def demand(self, head: RequestHead) -> str:
        """Return whose request this is.

        Raises:
            AuthRequired: It says nobody's, or the password is wrong.
        """
        found = proxy_credentials(head)
        if found is None:
            raise AuthRequired(_ASKED_FOR)
        if not await self.verify(found.user, found.password):
            raise AuthRequired("user or password is wrong")
        return found.user.decode("utf-8")

    async def verify(self, user: bytes, password: bytes) -> bool:
        """Tell whether a password is a user's.

        Args:
            user: UTF-8, as sent.
            password: The same.

        Raises:
            Overloaded: So many checks wait already that this one would keep its client waiting for seconds.
        """
        digest = self._digest(user, password)
        if self._is_remembered(digest):
            return True
        if self._waiting >= _CHECKS_WAITING:
            raise Overloaded("too many passwords are being checked; try again in a moment")
        self._waiting += 1
        try:
            async with self._checks:
                # Several requests of a new client wait here at once, and the first one's answer is theirs.
                if self._is_remembered(digest):
                    return True
                is_right = await asyncio.to_thread(self._users.get(user, self._nobody).is_of, password)
        finally:
            self._waiting -= 1
        if not is_right or user not in self._users:
            return False
        self._accepted[digest] = None
        if len(self._accepted) > _REMEMBERED:
            self._accepted.popitem(last=False)
        return True

    def _is_remembered(self, digest: bytes) -> bool:
        # A dictionary compares in variable time; what it compares is keyed, so there is nothing in it to be learnt.
        if digest not in self._accepted:
            return False
        self._accepted.move_to_end(digest)
        return True

    def _digest(self, user: bytes, password: bytes) -> bytes:
        # The length keeps `a:bc` and `ab:c` apart.
        return hmac.digest(self._key, len(user).to_bytes(4, "big") + user + password, "sha256")
