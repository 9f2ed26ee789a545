"""URLs of health checks, metrics and the operators' dashboard."""

from django.urls import path

from monitoring.alertmanager import receive_alerts
from monitoring.dashboard_views import dashboard_data, dashboard_page
from monitoring.views import livez, metrics, readyz, workersz

urlpatterns = [
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    path("workersz", workersz, name="workersz"),
    path("dashboard/", dashboard_page, name="dashboard"),
    path("dashboard/data", dashboard_data, name="dashboard-data"),
    path("metrics", metrics, name="metrics"),
    path("alertmanager", receive_alerts, name="alertmanager"),
]
