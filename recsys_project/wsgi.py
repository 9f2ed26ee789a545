"""The WSGI entry point: a server imports `application` from this module."""

import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from access.linear_request import LinearRequest
from monitoring import system_memory

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "recsys_project.settings")

application = get_wsgi_application()
application.request_class = LinearRequest
# Import all views now: otherwise the first request would wait for their import.
import_module(settings.ROOT_URLCONF)
system_memory.freeze_garbage_collector()
