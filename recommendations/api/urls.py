"""The addresses of the REST API and of the explorer."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
