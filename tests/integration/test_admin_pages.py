"""The admin as people use it: the first page, the forms of every model, empty lists, formatted values and exports."""

import csv
import io
import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.widgets import AutocompleteMixin
from django.contrib.auth.models import Group, Permission, User
from django.test import RequestFactory
from django.urls import reverse

from access.models import ApiKey, UsageAlert
from flags.models import Flag, Holdout
from flags.services import rollouts
from flags.services.change import apply_change
from flags.services.record import Actor
from monitoring.clock import now
from monitoring.csv_lines import csv_line
from monitoring.models import Alert, MaintenanceRun, MaintenanceTask
from recommendations import models as m
from recommendations.admin import export_rows
from recsys_project import admin_pages
from tests import factories
from tests.admin_forms import submit_page

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client):
    """Return a function that signs in a new member of staff with these permissions, and returns the client."""

    def sign_in(*permissions):
        user = User.objects.create_user(f"staff{User.objects.count()}", password="x" * 20, is_staff=True)
        for name in permissions:
            app, _, codename = name.partition(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        client.force_login(user)
        return client

    return sign_in


def page_text(response):
    assert response.status_code == 200, response.content
    return response.content.decode()


def test_every_model_of_the_admin_is_in_one_group():
    """A new model needs an entry in `recsys_project/admin_pages.py`."""
    listed = [label for group in admin_pages.every_group() for label in group.lists]
    assert sorted(listed) == sorted(model._meta.label for model in admin.site._registry)
    assert all(text.endswith(".") for group in admin_pages.every_group() for text in group.lists.values())


def test_the_first_page_has_every_list_once_and_the_internals_apart(admin_client):
    page = page_text(admin_client.get(reverse("admin:index")))
    main = page[page.index("<main") : page.index("</main>")]
    lists = "".join(re.findall(r'<ul class="lists">.*?</ul>', main, re.DOTALL))
    advanced = main.partition("<details")[2]
    for group in admin_pages.every_group():
        for label in group.lists:
            link = f'href="{admin_pages.list_link(label)}">'
            assert lists.count(link) == 1, label
            assert (link in advanced) == (group is admin_pages.ADVANCED), label
    assert "<details open" not in main


def test_the_first_page_shows_only_what_the_user_may_read(staff):
    page = page_text(staff("recommendations.view_job").get(reverse("admin:index")))
    assert "0 waiting, 0 running" in page
    for text in ("Newest", "API key", "alert", "Advanced", "Operations dashboard"):
        assert text not in page[page.index("<main") :], text
    assert "no role yet" in page_text(staff().get(reverse("admin:index")))


def test_the_first_page_shows_the_state_at_a_glance(admin_client, django_assert_max_num_queries):
    at = now()
    hour = at.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    author = factories.member("ann", at=at - timedelta(days=3))
    post = factories.post(author, at=at - timedelta(hours=1))
    m.EmbeddingFailure.objects.create(post=post, space="content", embedding_model="tiny", error="E", changed_at=at)
    m.EmbeddingModel.objects.create(
        space="content", name="next", embedder="tiny", dimension=8, state="building", created_at=at, changed_at=at
    )
    m.FeedHour.objects.create(
        hour=hour, feed="discovery", engine="plain", variant="control", page_count=7, fallback_count=2
    )
    m.TrainedModel.objects.create(kind="item_weights", state="active", created_at=at - timedelta(days=2))
    m.Evaluation.objects.create(
        split="s", case_count=1, member_count=1, quality_score=0.834, report={}, seconds=1, created_at=at
    )
    m.Job.objects.create(kind="batch_feeds", created_at=at)
    m.Job.objects.create(kind="batch_feeds", created_at=at, state="failed")
    m.Job.objects.create(kind="batch_feeds", created_at=at - timedelta(days=9), state="failed")
    for state in ("firing", "pending", "resolved"):
        Alert.objects.create(key=state, name=state, severity="page", state=state, began_at=at)
    UsageAlert.objects.create(kind="spike", caller="c", hour=hour, raised_at=at, count=3, baseline=1)
    for n, days in enumerate((None, 3, 90, -1)):
        ends = days and at + timedelta(days=days)
        ApiKey.objects.create(
            prefix=str(n), name="n", scopes=["feeds:read"], secret_hash=b"", created_at=at, expires_at=ends
        )
    with django_assert_max_num_queries(45):
        page = page_text(admin_client.get(reverse("admin:index")))
    for text in (
        *("Newest post 2\xa0hours ago", "1 post has no vector", "Newest member 3\xa0days ago"),
        *("0 erasures in progress", "7 pages served in the last full hour", "2 slates by a fallback"),
        *("0 experiments running", "trained 2\xa0days ago", "Quality score 0.83", "next is being built"),
        *("1 waiting, 0 running", "1 failed in the last day", "1 alert firing", "1 pending", "1 usage alert to review"),
        *("3 valid API keys, 3 never used", "1 key expires within 14 days"),
    ):
        assert text in page, text
    german = page_text(admin_client.get(reverse("admin:index"), headers={"Accept-Language": "de"}))
    for text in (
        *("Inhalte", "Neuester Beitrag: 2\xa0Stunden her", "1 Beitrag hat keinen Vektor", "7 Seiten in der"),
        *("0 Experimente laufen", "trainiert: 2\xa0Tage her", "Qualitätswert 0,83", "next wird aufgebaut"),
        *("1 wartend, 0 laufend", "1 Alarm ausgelöst", "3 gültige API-Schlüssel, 3 nie verwendet", "Erweitert"),
    ):
        assert text in german, text


def test_running_rollouts_and_changes_that_wait_are_on_the_first_page(admin_client):
    at, system = now(), Actor(system="test")
    plan = {"flag": "layout", "phases": [{"percentage": 10, "hours": 1}, {"percentage": 100, "hours": 1}]}
    factories.flag("layout", at=at, is_enabled=True)
    apply_change(subject="plan", key="p", patch=plan, actor=system, why="x", now=at, create=True)
    rollouts.start(key="p", actor=system, why="go", now=at)
    factories.flag("careful", at=at, needs_approval=True)
    user = User.objects.get(username="admin")
    apply_change(key="careful", patch={"rollout_percentage": 50}, actor=Actor(user), why="w", now=at)
    page = page_text(admin_client.get(reverse("admin:index")))
    assert "1 rollout running" in page and "1 change waits for approval" in page


def editable_forms(client):
    """Yield the label of each model with a form to add or change a row, and every form of the page."""
    request = RequestFactory().get("/")
    request.user = User.objects.get(username="admin")
    for model, page in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        urls = [reverse(f"{name}_add")] if page.has_add_permission(request) else []
        row = model._default_manager.first()
        if row and page.has_change_permission(request, row):
            urls.append(reverse(f"{name}_change", args=[row.pk]))
        for url in urls:
            context = client.get(url).context
            formsets = [inline.formset for inline in context["inline_admin_formsets"]]
            forms = [
                context["adminform"].form,
                *(f for formset in formsets for f in [*formset.forms, formset.empty_form]),
            ]
            yield url, forms


def is_themed(widget):
    return type(widget).__module__.startswith("unfold")


def test_every_form_of_the_admin_has_visible_fields(admin_client):
    """Fields without the theme's classes have no border, so that a form seems to have no fields."""
    at = now()
    author = factories.member("ann", at=at)
    factories.post(author, at=at)
    factories.flag("layout", at=at)
    urls = []
    for url, forms in editable_forms(admin_client):
        urls.append(url)
        for form in forms:
            for field in form.visible_fields():
                outer = getattr(field.field.widget, "widget", field.field.widget)
                for widget in getattr(outer, "widgets", [outer]):
                    # The theme's own templates draw the box that deletes a row of an inline.
                    has_style = field.name == "DELETE" or re.search("border|unfold", widget.attrs.get("class", ""))
                    assert has_style or isinstance(widget, AutocompleteMixin) or is_themed(widget), (url, field.name)
    assert {reverse("admin:auth_user_add"), reverse("admin:auth_group_add")} <= set(urls)
    assert reverse("admin:auth_user_change", args=[User.objects.get().pk]) in urls


def test_a_user_is_created_gets_a_role_and_a_new_password(admin_client):
    password = "correct horse battery staple"
    form = {"username": "eve", "usable_password": "true", "password1": password, "password2": password}
    assert admin_client.post(reverse("admin:auth_user_add"), form).status_code == 302
    eve = User.objects.get(username="eve")
    role = Group.objects.get(name="Editor")
    url = reverse("admin:auth_user_change", args=[eve.pk])
    change = {"username": "eve", "is_active": "on", "is_staff": "on", "groups": [role.pk], "email": "eve@example.com"}
    assert submit_page(admin_client, url, change).status_code == 302
    eve.refresh_from_db()
    assert eve.is_staff and list(eve.groups.all()) == [role] and eve.check_password(password)
    listed = page_text(admin_client.get(reverse("admin:auth_user_changelist")))
    assert "Editor" in listed and "eve@example.com" in listed
    fresh = {"usable_password": "true", "password1": f"{password} 2", "password2": f"{password} 2"}
    assert admin_client.post(reverse("admin:auth_user_password_change", args=[eve.pk]), fresh).status_code == 302
    eve.refresh_from_db()
    assert eve.check_password(f"{password} 2")


@pytest.mark.parametrize("model", ["user", "group"])
def test_a_form_of_a_user_or_role_that_another_changed_meanwhile_is_refused(admin_client, model):
    eve = User.objects.create_user("eve", email="old@example.com")
    role = Group.objects.get(name="Viewer")
    row, form = {
        "user": (eve, {"username": "eve", "is_active": "on", "email": "mine@example.com"}),
        "group": (role, {"name": "Mine", "permissions": []}),
    }[model]
    url = reverse(f"admin:auth_{model}_change", args=[row.pk])
    state = admin_client.get(url).context["adminform"].form["opened_state"].value()
    User.objects.filter(pk=eve.pk).update(is_active=False)
    role.permissions.clear()
    response = admin_client.post(url, form | {"opened_state": state})
    assert response.status_code == 200 and "changed after you opened" in page_text(response)
    eve.refresh_from_db()
    assert (eve.email, eve.is_active) == ("old@example.com", False)
    assert Group.objects.filter(name="Viewer").exists()


def test_the_list_of_roles_counts_their_permissions(admin_client):
    role = Group.objects.create(name="Two")
    role.permissions.set(Permission.objects.all()[:2])
    rows = admin_client.get(reverse("admin:auth_group_changelist")).context["cl"].result_list
    page = admin.site.get_model_admin(Group)
    assert {row.name: page.permission_count(row) for row in rows}["Two"] == 2


@pytest.mark.parametrize("label", [label for group in admin_pages.every_group() for label in group.lists])
def test_an_empty_list_says_what_it_holds_and_how_rows_get_there(label):
    model = next(model for model in admin.site._registry if model._meta.label == label)
    sentences = {name: text for group in admin_pages.every_group() for name, text in group.lists.items()}
    assert admin.site.get_model_admin(model).empty_text == sentences[label] != ""


def test_an_empty_list_shows_its_sentence_and_a_search_without_result_another(admin_client):
    url = reverse("admin:recommendations_post_changelist")
    page = page_text(admin_client.get(url))
    assert "No posts yet" in page and "POST /api/v1/posts" in page and "Add post" in page
    searched = page_text(admin_client.get(url, {"q": "nothing"}))
    assert "Nothing matches" in searched and "No posts yet" not in searched


def test_values_have_units_words_and_time_zones(admin_client):
    at = now().replace(year=2026, month=3, day=4, hour=5, minute=6)
    run = MaintenanceRun.objects.create(
        name="t", outcome="done", started_at=at, seconds=1.23456, bytes=3 * 2**20, rows=2
    )
    MaintenanceTask.objects.create(name="t", claimed_at=at, is_running=True)
    for url in (
        reverse("admin:monitoring_maintenancerun_changelist"),
        reverse("admin:monitoring_maintenancerun_change", args=[run.pk]),
    ):
        page = page_text(admin_client.get(url))
        assert "2026-03-04 05:06 UTC" in page and "3.0\xa0MB" in page and "1.235" in page and "1.23456" not in page
    task = page_text(admin_client.get(reverse("admin:monitoring_maintenancetask_changelist")))
    assert "</span>Yes</span>" in task
    Holdout.objects.create(key="all", percentage=2.5)
    assert "2.5 %" in page_text(admin_client.get(reverse("admin:flags_holdout_changelist")))
    MaintenanceTask.objects.update(is_running=False)
    task = page_text(admin_client.get(reverse("admin:monitoring_maintenancetask_changelist")))
    assert "</span>No</span>" in task


@pytest.mark.parametrize("path", ["/admin/", "/admin/auth/user/", "/admin/auth/user/add/", "/admin/recommendations/"])
def test_pages_of_the_admin_have_one_main_landmark_and_the_products_icon(admin_client, path):
    page = page_text(admin_client.get(path))
    assert page.count("<main") == 1 == page.count("</main>")
    assert 'rel="icon"' in page and "access/logo.svg" in page


def test_a_page_that_is_missing_and_the_sign_in_page_are_the_products_own(client):
    missing = client.get("/admin/nothing/at/all/", follow=True)
    assert "Sign in to recsys" in page_text(missing) and "access/logo.svg" in missing.content.decode()
    missing = client.get("/nothing")
    assert missing.status_code == 404 and b"access/logo.svg" in missing.content and b"Page not found" in missing.content


def export(client, model, rows, query="", **form):
    url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") + query
    selection = {"action": "export_csv", "_selected_action": [row.pk for row in rows], **form}
    return client.post(url, selection)


def read_rows(response):
    assert response.headers["Content-Type"].startswith("text/csv"), response
    return list(csv.reader(io.StringIO(b"".join(response.streaming_content).decode())))


def test_a_list_is_exported_with_its_columns_and_recorded(staff):
    at = now()
    runs = [
        MaintenanceRun.objects.create(name=name, outcome=outcome, started_at=at, note=note)
        for name, outcome, note in (("=1+1", "done", "-x"), ("b", "failed", ""), ("c", "done", " @x"))
    ]
    client = staff("monitoring.view_maintenancerun")
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"  # what is exported and stored is in English in each language
    response = export(client, MaintenanceRun, runs[:2], "?outcome=done")
    header, *rows = read_rows(response)
    assert header[0] == "name" and header[2] == "started at"
    assert [row[0] for row in rows] == ["'=1+1"], "only what the filter in use shows"
    assert rows[0][2] == at.isoformat() and rows[0][header.index("note")] == "'-x"
    assert "no-store" in response.headers["Cache-Control"]
    entry = LogEntry.objects.get()
    assert entry.get_change_message() == "Exported 1 rows as CSV. Filters: outcome."
    assert entry.object_repr == "Export of maintenance runs"
    every = export(client, MaintenanceRun, runs[:1], "?outcome=done", select_across="1")
    assert [row[0] for row in read_rows(every)[1:]] == ["c", "'=1+1"]


def test_rows_about_members_are_exported_only_with_the_permission_to_export_members(staff):
    at = now()
    ann, post = factories.member("ann", at=at), factories.post(factories.member("bob", at=at), at=at)
    rows = [factories.interaction(ann, post, at=at)]
    refused = export(staff("recommendations.view_interaction"), m.Interaction, rows)
    assert refused.status_code == 302 and not LogEntry.objects.exists()
    allowed = staff("recommendations.view_interaction", export_rows.EXPORT_PERMISSION)
    header, row = read_rows(export(allowed, m.Interaction, rows))
    assert row[header.index("member")] == "ann" and row[header.index("is learned")] == "False"
    assert row[header.index("undone at")] == ""
    assert export(staff(export_rows.EXPORT_PERMISSION), m.Interaction, rows).status_code == 403


def test_a_table_that_says_something_about_members_or_is_not_listed_needs_the_permission(monkeypatch):
    for model in admin.site._registry:
        says = {str(kind) for kind in export_rows.TABLES[model._meta.label].columns.values()}
        about = says & {"id of a member", "number of a member", "profile", "content", "activity"}
        assert export_rows.needs_export_permission(model) == bool(about), model
    monkeypatch.setattr(export_rows, "TABLES", {})
    assert export_rows.needs_export_permission(MaintenanceRun)


def test_every_list_offers_the_export():
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True, is_staff=True, is_active=True)
    lists = admin.site._registry.items()
    assert [model for model, page in lists if "export_csv" not in page.get_actions(request)] == []


def test_an_export_of_too_many_rows_is_refused(staff, monkeypatch):
    monkeypatch.setattr(export_rows, "MAX_ROWS", 1)
    runs = [MaintenanceRun.objects.create(name="a", outcome="done", started_at=now()) for _ in range(2)]
    client = staff("monitoring.view_maintenancerun")
    assert export(client, MaintenanceRun, runs).status_code == 302
    assert not LogEntry.objects.exists()
    assert len(read_rows(export(client, MaintenanceRun, runs[:1]))) == 2


def test_html_and_missing_relations_become_text_in_an_export(admin_client):
    at = now()
    flag = factories.flag("layout", at=at)
    header, row = read_rows(export(admin_client, Flag, [flag]))
    assert "<" not in "".join(row) and "layout" in "".join(row)
    assert export_rows.read_cell(admin.site.get_model_admin(m.Post), m.Post(author_id=999), "author") == ""
    member = factories.member("solo", at=at, privacy=False)
    header, row = read_rows(export(admin_client, m.Member, [member]))
    assert row[header.index("private")] == "True"


def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe():
    cells = ["=1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "  =1", "\u00a0\v=1", "\uff1d1", "a=1", "", -1, 1.5, None]
    assert next(csv.reader(io.StringIO(csv_line(cells), newline=""))) == [
        *(
            "'=1",
            "'+1",
            "'-1",
            "'@x",
            "'\tx",
            "'\rx",
            "'\nx",
            "'  =1",
            "'\u00a0\v=1",
            "'\uff1d1",
            "a=1",
            "",
            "-1",
            "1.5",
            "",
        ),
    ]
