"""The Django app. It names the module with the receivers of sign-in, which only processes that serve requests need."""

from django.apps import AppConfig

from monitoring.extensions import long_running


class AccessConfig(AppConfig):
    name = "access"

    def ready(self) -> None:
        long_running.add("access.sign_in.receivers")
