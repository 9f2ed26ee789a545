"""The ASGI door: a server imports `application` from here."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "recsys_project.settings")

application = get_asgi_application()
