"""Django's backend, with a check of the connection at the start of a request that asks the socket, not the server."""

from __future__ import annotations

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to PostgreSQL."""

    def is_usable(self) -> bool:
        """
        Return whether the server has not closed the connection; `SELECT 1` would take as long as a query of the feed.

        Between requests the server says nothing, unless it takes its leave: then there is something to read.
        """
        if self.connection is None or self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0)
