"""The ASGI door: a server imports `application` from here."""

import os
from importlib import import_module

from django.conf import settings
from django.core.asgi import get_asgi_application

from monitoring import system_memory

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "recsys_project.settings")

application = get_asgi_application()
# All addresses, with what answers them, before the first request and not in it.
import_module(settings.ROOT_URLCONF)
system_memory.freeze_garbage_collector()
