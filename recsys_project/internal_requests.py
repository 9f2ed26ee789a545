"""
Requests of machines in the private network: health checks, Prometheus and Alertmanager.

They name a replica by its address, which changes with each container and which ALLOWED_HOSTS therefore cannot list.
ALLOWED_HOSTS protects responses that contain the host name, such as a link in an email. These contain none.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponsePermanentRedirect
from django.middleware.common import CommonMiddleware

INTERNAL_PATHS = frozenset({"/livez", "/readyz", "/workersz", "/metrics", "/alertmanager"})


class HostCheckMiddleware(CommonMiddleware):
    """Django's CommonMiddleware, which refuses host names that are not in ALLOWED_HOSTS, except on internal paths."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        """See `CommonMiddleware.process_request`."""
        return None if request.path in INTERNAL_PATHS else super().process_request(request)
