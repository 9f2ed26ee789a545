"""What staff may do by role: every entry point that takes a session, compared with the table in docs/access.md."""

import json
import re
from pathlib import Path
from uuid import UUID

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.urls import URLResolver
from drf_spectacular.generators import SchemaGenerator
from graphql import get_named_type, is_leaf_type, is_required_argument
from rest_framework.response import Response
from rest_framework.views import APIView

from access import keys
from access.permissions import staff_permission
from access.scopes import Scope, single_scope
from flags.models import FlagChange, PendingChange, RolloutPlan, Segment
from flags.services.change import apply_change
from flags.services.record import Actor
from monitoring.clock import now
from recommendations import roles
from recommendations.api.jobs import KIND_PERMISSIONS
from recommendations.graphql_api.schema import build_schema
from tests import factories
from tests.integration.test_access import all_views

pytestmark = pytest.mark.django_db

NOWHERE = UUID(int=0)
DOCUMENT = Path(__file__).parents[2] / "docs/access.md"
COLUMNS = ["Viewer", "Editor", "Releaser", "Privacy officer"]
PAGES = {
    "explorer": "/explore/",
    "GraphQL console": "/explore/graphql/",
    "ranking in the browser": "/explore/on-device/",
    "dashboard": "/dashboard/",
    "product dashboard": "/product/",
    "dashboard data": "/dashboard/data",
    "metrics": "/metrics",
}


def documented_roles():
    """Return the roles that may use each entry point, from the table under "Roles" in docs/access.md."""
    section = DOCUMENT.read_text().split("\n## Roles\n")[1].split("\n## ")[0]
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(COLUMNS) + 1 and "`" in cells[-1]:
            granted = {role for role, cell in zip(COLUMNS, cells, strict=False) if cell == "yes"}
            for name in re.findall(r"`([^`]+)`", cells[-1]):
                assert name not in found, f"{name} is in two rows"
                found[name] = granted
    return found


@pytest.fixture(scope="module")
def operations():
    """Return the REST operations: id, method, URL and body. A job kind with its own permission is one of its own."""
    found = []
    for url, methods in SchemaGenerator().get_schema(public=True)["paths"].items():
        for method, description in methods.items():
            values = {"request_id": NOWHERE, "job_id": NOWHERE, "erasure_id": NOWHERE, "pending_id": 1}
            address = re.sub(r"\{(\w+)\}", lambda match: str(values.get(match[1], "x")), url)  # noqa: B023
            found.append((description["operationId"], method, address, {}))
    submit = next(operation for operation in found if operation[0] == "submit_job")
    found.remove(submit)
    found.append((*submit[:3], {"kind": "reindex", "params": {"post_ids": ["nobody"]}}))
    return found + [(f"submit_job: {kind}", *submit[1:3], {"kind": kind}) for kind in KIND_PERMISSIONS]


def graphql_calls():
    """Return a query for each field of the GraphQL schema, by its name, with the required arguments only."""

    def literal(kind):
        name = get_named_type(kind).name
        if "[" in str(kind):
            return "[]"
        return {"UUID": f'"{NOWHERE}"'}.get(name, '"x"' if is_leaf_type(get_named_type(kind)) else "{}")

    schema = build_schema(True)._schema
    calls = {}
    for operation, root in (("query", schema.query_type), ("mutation", schema.mutation_type)):
        for name, field in root.fields.items():
            required = {key: arg.type for key, arg in field.args.items() if is_required_argument(arg)}
            text = ", ".join(f"{key}: {literal(kind)}" for key, kind in required.items())
            selection = "" if is_leaf_type(get_named_type(field.type)) else " { __typename }"
            calls[f"graphql: {name}"] = f"{operation} {{ {name}{f'({text})' if text else ''}{selection} }}"
    return calls


def is_refused(response):
    """Return whether the response is a 403, or a GraphQL field's refusal."""
    if response.status_code == 403:
        return True
    assert response.status_code not in (401, 405), response
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    errors = response.json().get("errors") if is_json else None
    assert not errors or errors[0]["extensions"]["code"] != "invalid-query", errors
    return bool(errors) and errors[0]["extensions"]["code"] == "permission-denied"


@pytest.fixture
def use_all(client, operations, fresh_wiring):
    """Return a function that uses every entry point by a user's session, and returns whether each was allowed."""

    def use(user):
        client.force_login(user)
        allowed = {}
        for name, method, url, body in operations:
            response = client.generic(method.upper(), url, json.dumps(body), "application/json")
            allowed[name] = not is_refused(response)
        for name, query in graphql_calls().items():
            allowed[name] = not is_refused(client.post("/graphql", {"query": query}, "application/json"))
        for name, url in PAGES.items():
            response = client.get(url)
            allowed[name] = response.status_code == 200
            assert response.status_code in (200, 401, 403), response
        return allowed

    return use


@pytest.mark.parametrize("role", [*COLUMNS, "no role", "superuser"])
def test_each_role_may_use_what_the_documentation_says(role, use_all):
    documented = documented_roles()
    user = factories.staff(*([role] if role in COLUMNS else []))
    User.objects.filter(pk=user.pk).update(is_superuser=role == "superuser")
    allowed = use_all(User.objects.get(pk=user.pk))
    assert set(allowed) == set(documented), "docs/access.md lists every entry point"
    assert allowed == {name: role in granted or role == "superuser" for name, granted in documented.items()}


def test_a_new_operation_is_refused_to_all_sessions_until_it_declares_a_permission(rf, settings, monkeypatch):
    class Forgotten(APIView):
        def get(self, request):
            return Response({})

    class Declared(Forgotten):
        scopes = single_scope(Scope.MEMBERS_READ)

    for view, status in ((Forgotten, 403), (Declared, 200)):
        request = rf.get("/api/v1/forgotten")
        request.user = User(is_staff=True, is_superuser=True)
        request.session, request.COOKIES[settings.SESSION_COOKIE_NAME] = {}, "any"
        assert view.as_view()(request).status_code == status


def test_head_needs_the_permission_of_get():
    for route, view in all_views():
        if hasattr(view, "get"):
            get, head = (staff_permission(view, method) for method in ("GET", "HEAD"))
            assert head in (get, None), route


def test_the_migration_creates_the_roles_and_keeps_an_administrators_changes():
    factories.staff()
    for name, permissions in roles.ROLES.items():
        group = Group.objects.get(name=name)
        assert {f"{row.content_type.app_label}.{row.codename}" for row in group.permissions.all()} == permissions
    Group.objects.get(name="Viewer").permissions.clear()
    factories.staff()
    assert not Group.objects.get(name="Viewer").permissions.exists()
    with pytest.raises(LookupError, match=r"flags\.fly_flag"):
        roles.find_permissions(["flags.fly_flag", "flags.view_flag"])


# The admin

FOR_ALL_STAFF = {"", "login/", "logout/", "password_change/", "password_change/done/", "jsi18n/", "search/"}
"""Pages of the admin that show nothing but what the user may see."""


@pytest.fixture
def admin_objects():
    """Return an object of each model whose admin has views of its own, by the first parts of their URLs."""
    flag = factories.flag("f", needs_approval=True)
    change = {"actor": Actor(system="test"), "why": "a test", "now": now()}
    apply_change(key="f", patch={"is_enabled": True}, **change)
    apply_change(subject="segment", key="a", patch={}, create=True, **change)
    apply_change(subject="plan", key="a", patch={"phases": [{"percentage": 5}]}, create=True, **change)
    key, _ = keys.create(name="k", scopes=["feeds:read"], now=now())
    factories.flag("g")
    objects = [flag, Segment.objects.get(key="a"), RolloutPlan.objects.get(key="a"), PendingChange.objects.get(), key]
    objects.append(factories.experiment("g"))
    return {f"{row._meta.app_label}/{row._meta.model_name}": row for row in objects}


def admin_routes(patterns=None, prefix=""):
    """Return every route of the admin, without `admin/`."""
    for pattern in admin.site.urls[0] if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from admin_routes(pattern.url_patterns, route)
        elif not route.startswith("^(?P<app_label>") and not route.startswith("(?P<url>"):
            yield route


def admin_url(route, objects):
    """Return the URL of a route for an existing object."""
    row = objects.get("/".join(route.split("/")[:2]))
    if route.endswith("restore/<int:change_id>/"):
        subject = "plan" if isinstance(row, RolloutPlan) else row._meta.model_name
        change = FlagChange.objects.filter(subject=subject, key=row.key).latest("pk")
        route = route.replace("<int:change_id>", str(change.pk))
    return "/admin/" + re.sub(r"<[\w:]+>", str(row.pk) if row else "1", route)


def test_staff_without_a_role_open_no_page_of_the_admin(client, admin_client, admin_objects):
    client.force_login(factories.staff())
    routes = [route for route in admin_routes() if route not in FOR_ALL_STAFF]
    assert len(routes) > 200
    for route in routes:
        url = admin_url(route, admin_objects)
        for method in ("get", "post"):
            response = getattr(client, method)(url)
            if response.status_code == 302:  # `…/1/` redirects to `…/1/change/`, and what is missing to the index
                assert response.url in (f"{url}change/", "/admin/")
                continue
            assert response.status_code in (403, 404, 405), (method, url)
            if response.status_code == 404 and not url.startswith("/admin/r/"):
                assert admin_client.get(url).status_code == 200, f"{url} would be refused to everyone"


def test_every_action_of_the_admin_requires_a_permission_and_not_only_that_to_view():
    count = 0
    for model, page in admin.site._registry.items():
        kinds = ("actions", "actions_list", "actions_row", "actions_detail", "actions_submit_line")
        for name in (name for kind in kinds for name in getattr(page, kind, None) or ()):
            permissions = getattr(page, name).allowed_permissions
            assert permissions, (model, name)
            assert permissions != ["view"] or name in READING_ACTIONS, (model, name)
            count += 1
    assert count > 25


READING_ACTIONS = {"playground", "results", "approve", "reject"}
"""Actions that change nothing, or whose service checks the permission itself (`flags/services/approve.py`)."""
