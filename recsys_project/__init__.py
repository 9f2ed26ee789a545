"""Settings, URLs, the Celery app and its schedule: the project that combines the Django apps."""
