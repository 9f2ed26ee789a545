"""The root URL configuration. Its import loads everything that a web process needs."""

from allauth.account.decorators import secure_admin_login
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.urls import include, path
from django.utils.translation import gettext_lazy

from monitoring import extensions
from monitoring.number_texts import UNKNOWN
from recommendations.api.urls import not_found_urlpatterns
from recommendations.graphql_api.view import GraphQLView
from recsys_project import admin_pages, model_texts
from recsys_project.schema_view import DocsScriptView, DocsView, SchemaView

extensions.load_all()
admin.autodiscover()
# `manage.py reset_second_factor` replaces a lost device, and the service uses no email address of staff.
admin.site.unregister([Authenticator, EmailAddress])
admin_pages.attach_sentences()
model_texts.translate_models()
admin.site.index_title = gettext_lazy("Overview")
admin.site.empty_value_display = UNKNOWN

# Django tries the patterns in order: those of recommendations come first, since they get the most requests.
urlpatterns = [
    path("", include("recommendations.api.urls")),
    path("account/", include("access.sign_in.urls")),
    # The admin's own form asks for no second factor.
    path("admin/login/", secure_admin_login(admin.site.login)),
    path("admin/", admin.site.urls),
    path("api/schema/", SchemaView.as_view(), name="schema"),
    path("api/docs/", DocsView.as_view(), name="docs"),
    path("api/docs/script.js", DocsScriptView.as_view(), name="docs-script"),
    path("", include("access.urls")),
    path("", include("flags.api.urls")),
    path("graphql", GraphQLView.as_view(), name="graphql"),
    path("", include("monitoring.urls")),
    *not_found_urlpatterns,
]
