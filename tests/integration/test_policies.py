"""Ranking policies over REST: versions, conditional requests, and what is refused."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connection
from rest_framework.test import APIClient

from access import keys
from monitoring.clock import now
from recommendations import admin, models, stores
from recommendations.contracts import Policy, ranged_field
from recommendations.models import RankingPolicy
from recommendations.services import policies
from recommendations.services.errors import VersionConflict

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/policies/control"


def key_headers(*scopes):
    _, secret = keys.create(name="a test", scopes=scopes, now=now())
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def put(client, settings, address=ADDRESS, note="", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"settings": settings, "note": note})
    return client.put(address, body, content_type="application/json", headers=headers)


def problem(response, status, code):
    assert (response.status_code, response.json()["code"]) == (status, code), response.content
    return response.json()


@pytest.fixture
def editor():
    return key_headers("policies:read", "policies:write")


def test_a_policy_is_read_and_put_as_a_new_version(editor):
    read = editor.get(ADDRESS)
    assert read.headers["ETag"] == '"1"' and read.json()["settings"]["taste"] == 1.0
    assert {row["variant"] for row in editor.get("/api/v1/policies").json()["policies"]} >= {"control"}
    done = put(editor, {"taste": 2, "nearest_candidates": 500}, note="a try", If_Match='W/"1"')
    assert (done.status_code, done.headers["ETag"], done.json()["note"]) == (200, '"2"', "a try")
    assert done.json()["settings"] == read.json()["settings"] | {"taste": 2.0, "nearest_candidates": 500}
    assert editor.get(ADDRESS).json() == done.json()
    assert RankingPolicy.objects.filter(variant="control").count() == 2, "what was served stays explainable"


def test_what_a_client_has_is_not_sent_again(editor):
    same = editor.get(ADDRESS, headers={"If-None-Match": 'W/"1"'})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", '"1"')
    put(editor, {}, If_Match='"1"')
    assert editor.get(ADDRESS, headers={"If-None-Match": '"1"'}).status_code == 200


def test_nobody_writes_over_what_they_have_not_read(editor):
    problem(put(editor, {"taste": 2}), 428, "precondition-required")
    assert put(editor, {"taste": 2}, If_Match='"1"').status_code == 200
    assert "version 2" in problem(put(editor, {"taste": 3}, If_Match='"1"'), 412, "version-conflict")["detail"]
    problem(put(editor, {}, If_None_Match="*"), 412, "version-conflict")
    assert put(editor, {"taste": 4}, If_Match="*").json()["version"] == 3
    problem(put(editor, {}, If_Match="one"), 400, "invalid-request")


def test_a_variant_without_a_policy_is_made(editor):
    address = "/api/v1/policies/bold"
    problem(editor.get(address), 404, "unknown-policy")
    problem(put(editor, {}, address, If_Match='"1"'), 412, "version-conflict")
    made = put(editor, {"diversity": 0.9}, address, If_None_Match="*")
    assert (made.status_code, made.headers["ETag"]) == (201, '"1"')


@pytest.mark.parametrize(
    ("settings", "pointer"),
    [
        ({"tast": 1}, "/settings/tast"),
        ({"taste": 11}, "/settings/taste"),
        ({"taste": "1"}, "/settings/taste"),
        ({"taste": True}, "/settings/taste"),
        ({"nearest_candidates": 1.5}, "/settings/nearest_candidates"),
        ([], "/settings"),
    ],
)
def test_a_wrong_setting_is_named_and_changes_nothing(editor, settings, pointer):
    found = problem(put(editor, settings, If_Match='"1"'), 400, "invalid-request")
    assert [error["pointer"] for error in found["errors"]] == [pointer]
    assert policies.read_policy(variant="control").version == 1


# What a later release changes


@dataclass(frozen=True, slots=True)
class LaterPolicy(Policy):
    """The settings of a later release: another default, and two settings more."""

    taste: float = ranged_field(9.0, 0, 10, "Weight of the similarity to what the viewer liked.")
    sparkle: float = ranged_field(5.0, 0, 10, "Weight of a new part.")
    sparkle_cap: int = ranged_field(5, 1, 100, "A new limit.", neutral=100)  # type: ignore[assignment]


@pytest.fixture
def release(monkeypatch):
    """Return what installs a later release."""

    def install():
        for module in (policies, models.policies, stores.policies, admin.policies):
            monkeypatch.setattr(module, "Policy", LaterPolicy)

    return install


def ranked_by(variant):
    """Return the settings that feeds of a variant are ranked by, whoever asked before."""
    policy, version = stores.policies.ActivePolicies().of(variant)
    return asdict(policy), version


def test_a_default_that_changes_changes_no_stored_version(editor, release):
    """Settings that a version did not name were stored with it; a newer setting has its neutral value."""
    RankingPolicy.objects.create(variant="by-hand", settings={"recency": 2}, is_active=True)
    put(editor, {"recency": 2}, "/api/v1/policies/by-rest", If_None_Match="*")
    variants = ("control", "wasm_conservative", "wasm_aggressive", "by-hand", "by-rest")
    before = {variant: ranked_by(variant) for variant in variants}
    release()
    for variant in variants:
        settings, version = ranked_by(variant)
        assert (settings, version) == (before[variant][0] | {"sparkle": 0.0, "sparkle_cap": 100}, before[variant][1])
        assert policies.read_policy(variant=variant).settings == settings
    assert {row.variant: row.settings for row in policies.list_policies()} == {v: ranked_by(v)[0] for v in before}
    assert ranked_by("none")[0] == asdict(LaterPolicy()), "a variant without a policy has no version to keep to"


def test_a_version_that_is_written_has_the_defaults_of_its_release(editor, release):
    release()
    put(editor, {"recency": 2}, If_Match='"1"')
    assert ranked_by("control") == (asdict(LaterPolicy(recency=2.0)), 2)


def test_an_old_version_that_is_copied_or_saved_ranks_as_before(release):
    """A copy has no default that its original was not written with, and no save adds one."""
    old = RankingPolicy.objects.get(variant="control")
    before = ranked_by("control")[0]
    release()
    old.note = "the first"
    old.save()
    copy = policies.copy_version(old)
    policies.activate_policy(copy)
    assert ranked_by("control") == (before | {"sparkle": 0.0, "sparkle_cap": 100}, 2)
    assert admin.policies.compare_settings(old, copy) == []
    assert "sparkle" not in RankingPolicy.objects.get(pk=old.pk).settings


def test_a_fresh_database_names_every_setting_in_every_version():
    names = {setting.name for setting in fields(Policy)}
    for row in RankingPolicy.objects.all():
        assert names <= set(row.settings), row


def test_versions_of_earlier_releases_are_completed_by_what_they_were_ranked_by():
    RankingPolicy.objects.filter(variant="control").update(settings={"taste": 2})
    migration = import_module("recommendations.migrations.0008_policy_settings")
    migration.complete_versions(apps, None)
    assert ranked_by("control")[0] == asdict(Policy(taste=2.0))


def test_scopes_and_roles_hold(editor, client):
    reader = key_headers("policies:read")
    assert reader.get(ADDRESS).status_code == 200
    problem(put(reader, {}, If_Match="*"), 403, "missing-scope")
    problem(key_headers("feeds:read").get(ADDRESS), 403, "missing-scope")
    client.force_login(get_user_model().objects.create_user("viewer", is_staff=True))
    assert client.get(ADDRESS).status_code == 200
    problem(put(client, {}, If_Match="*"), 403, "permission-denied")
    client.force_login(get_user_model().objects.create_superuser("root"))
    assert put(client, {}, If_Match="*").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_two_who_read_the_same_version_one_writes():
    RankingPolicy.objects.create(variant="race", version=1, is_active=True)

    def change(number):
        try:
            return policies.put_policy(variant="race", settings={"taste": number}, note="", version=1).version
        except VersionConflict:
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(change, range(4)))
    assert sorted(found, key=str) == [2, None, None, None]
