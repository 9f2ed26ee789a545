"""The addresses of health and metrics."""

from django.urls import path

from monitoring.views import livez, metrics, readyz, workersz

urlpatterns = [
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    path("workersz", workersz, name="workersz"),
    path("metrics", metrics, name="metrics"),
]
