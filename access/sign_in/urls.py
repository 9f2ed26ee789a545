"""URLs of sign-in. Registration and the reset of a password by email, which django-allauth offers, are left out."""

from allauth.account import views
from django.urls import include, path
from django.views.generic import RedirectView
from django.views.i18n import set_language

urlpatterns = [
    path("login/", views.login, name="account_login"),
    path("logout/", views.logout, name="account_logout"),
    path("inactive/", views.account_inactive, name="account_inactive"),
    path("reauthenticate/", views.reauthenticate, name="account_reauthenticate"),
    # django-allauth links to it, but nobody can register (`adapters.py`).
    path("signup/", RedirectView.as_view(pattern_name="account_login"), name="account_signup"),
    path("second-factor/", include("allauth.mfa.urls")),
    path("language/", set_language, name="set_language"),
]
