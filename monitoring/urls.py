"""The addresses of health, metrics and the operators' dashboard."""

from django.urls import path

from monitoring.alertmanager import receive
from monitoring.operators import dashboard, figures
from monitoring.views import livez, metrics, readyz, workersz

urlpatterns = [
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    path("workersz", workersz, name="workersz"),
    path("dashboard/", dashboard, name="dashboard"),
    path("dashboard/figures", figures, name="figures"),
    path("metrics", metrics, name="metrics"),
    path("alertmanager", receive, name="alertmanager"),
]
