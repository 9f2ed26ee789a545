"""The WSGI door: a server imports `application` from here."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "recsys_project.settings")

application = get_wsgi_application()
