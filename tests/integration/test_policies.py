"""Ranking policies over REST: versions, conditional requests and errors."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.urls import reverse
from rest_framework.test import APIClient

from access import keys
from monitoring.clock import now
from recommendations import admin, models
from recommendations.contracts import Policy, ranged_field
from recommendations.models import RankingPolicy
from recommendations.services import policies
from recommendations.services.errors import VersionConflict
from recommendations.stores import active_policies
from tests import factories

pytestmark = pytest.mark.django_db
PATH = "/api/v1/policies/control"


def api_client(*scopes):
    _, secret = keys.create(name="a test", scopes=scopes, now=now())
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return client


def put(client, settings, path=PATH, note="", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"settings": settings, "note": note})
    return client.put(path, body, content_type="application/json", headers=headers)


def problem(response, status, code):
    assert (response.status_code, response.json()["code"]) == (status, code), response.content
    return response.json()


@pytest.fixture
def editor():
    return api_client("policies:read", "policies:write")


def test_a_policy_is_read_and_put_as_a_new_version(editor):
    first = editor.get(PATH)
    assert first.headers["ETag"] == '"1"' and first.json()["settings"]["taste"] == Policy().taste
    assert {row["variant"] for row in editor.get("/api/v1/policies").json()["policies"]} >= {"control"}
    updated = put(editor, {"taste": 2, "nearest_candidates": 500}, note="an experiment", If_Match='W/"1"')
    assert (updated.status_code, updated.headers["ETag"], updated.json()["note"]) == (200, '"2"', "an experiment")
    assert updated.json()["settings"] == first.json()["settings"] | {"taste": 2.0, "nearest_candidates": 500}
    assert editor.get(PATH).json() == updated.json()
    assert RankingPolicy.objects.filter(variant="control").count() == 2, (
        "the old version stays, to explain what was served"
    )


def test_an_unchanged_policy_is_not_sent_again(editor):
    unchanged = editor.get(PATH, headers={"If-None-Match": 'W/"1"'})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", '"1"')
    put(editor, {}, If_Match='"1"')
    assert editor.get(PATH, headers={"If-None-Match": '"1"'}).status_code == 200


def test_a_policy_cannot_be_overwritten_without_its_current_version(editor):
    problem(put(editor, {"taste": 2}), 428, "precondition-required")
    assert put(editor, {"taste": 2}, If_Match='"1"').status_code == 200
    assert "version 2" in problem(put(editor, {"taste": 3}, If_Match='"1"'), 412, "version-conflict")["detail"]
    problem(put(editor, {}, If_None_Match="*"), 412, "version-conflict")
    assert put(editor, {"taste": 4}, If_Match="*").json()["version"] == 3
    problem(put(editor, {}, If_Match="one"), 400, "invalid-request")


def test_the_first_policy_of_a_variant_is_created(editor):
    path = "/api/v1/policies/bold"
    problem(editor.get(path), 404, "unknown-policy")
    problem(put(editor, {}, path, If_Match='"1"'), 412, "version-conflict")
    created = put(editor, {"diversity": 0.9}, path, If_None_Match="*")
    assert (created.status_code, created.headers["ETag"]) == (201, '"1"')


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
def test_an_invalid_setting_is_named_and_changes_nothing(editor, settings, pointer):
    body = problem(put(editor, settings, If_Match='"1"'), 400, "invalid-request")
    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert policies.read_policy(variant="control").version == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"taste": 11}, "less than or equal to 10"),
        ({"taste": "nan"}, "Enter a number"),
        ({"taste": ""}, "required"),
        ({"author_cap": 1.5}, "whole number"),
    ],
)
def test_the_admin_names_an_invalid_setting(admin_client, settings, message):
    form = {"variant": "bold", "note": "", "_save": "Save"} | asdict(Policy()) | settings
    page = admin_client.post(reverse("admin:recommendations_rankingpolicy_add"), form)
    assert message in str(page.context["adminform"].form.errors[next(iter(settings))])
    assert not RankingPolicy.objects.filter(variant="bold").exists()


# Changes of a later release


@dataclass(frozen=True, slots=True)
class LaterPolicy(Policy):
    """The settings of a later release: another default, two new settings, and one that was split."""

    taste: float = ranged_field(9.0, 0, 10, "Weight of the similarity to what the viewer liked.")
    following_recency: float = ranged_field(4.0, 0, 10, "Weight of a part in another feed.", split_from="recency")
    sparkle: float = ranged_field(5.0, 0, 10, "Weight of a new part.")
    sparkle_cap: int = ranged_field(5, 1, 100, "A new limit.", neutral=100)  # type: ignore[assignment]


@pytest.fixture
def release(monkeypatch):
    """Return a function that installs the later release."""

    def install():
        for module in (policies, models.policies, active_policies, admin.policies):
            monkeypatch.setattr(module, "Policy", LaterPolicy)

    return install


def read_active(variant):
    """Return the settings and version that feeds of a variant are ranked by, without a cache."""
    policy, version = active_policies.ActivePolicies().get(variant)
    return asdict(policy), version


def new_settings(stored):
    """Return the new settings that a version of this release, with *stored* settings, has in the later one."""
    return {"following_recency": stored["recency"], "sparkle": 0.0, "sparkle_cap": 100}


def test_a_new_default_changes_no_stored_version(editor, release):
    """Defaults are stored with a version. A newer setting is neutral, or equals the one that it was split from."""
    RankingPolicy.objects.create(variant="by-hand", settings={"recency": 2}, is_active=True)
    put(editor, {"recency": 2}, "/api/v1/policies/by-rest", If_None_Match="*")
    variants = ("control", "wasm_conservative", "wasm_aggressive", "by-hand", "by-rest")
    before = {variant: read_active(variant) for variant in variants}
    release()
    for variant in variants:
        settings, version = read_active(variant)
        stored, stored_version = before[variant]
        assert (settings, version) == (stored | new_settings(stored), stored_version)
        assert policies.read_policy(variant=variant).settings == settings
    assert {row.variant: row.settings for row in policies.list_policies()} == {v: read_active(v)[0] for v in before}
    assert read_active("none")[0] == asdict(LaterPolicy()), "a variant without a policy uses the defaults"


def test_a_new_version_has_the_defaults_of_its_release(editor, release):
    release()
    put(editor, {"recency": 2}, If_Match='"1"')
    assert read_active("control") == (asdict(LaterPolicy(recency=2.0)), 2)


def test_a_copied_or_saved_old_version_ranks_as_before(release):
    """Neither copying nor saving a version adds a later default to it."""
    old = RankingPolicy.objects.get(variant="control")
    before = read_active("control")[0]
    release()
    old.note = "the first"
    old.save()
    copy = policies.copy_version(old)
    policies.activate_policy(copy)
    assert read_active("control") == (before | new_settings(before), 2)
    assert admin.policies.compare_versions(old, copy) == []
    assert "sparkle" not in RankingPolicy.objects.get(pk=old.pk).settings


def test_the_initial_versions_store_every_setting():
    names = {setting.name for setting in fields(Policy)}
    for row in RankingPolicy.objects.all():
        assert names <= set(row.settings), row


def test_scopes_and_permissions_are_enforced(editor, client):
    reader = api_client("policies:read")
    assert reader.get(PATH).status_code == 200
    problem(put(reader, {}, If_Match="*"), 403, "missing-scope")
    problem(api_client("feeds:read").get(PATH), 403, "missing-scope")
    client.force_login(factories.staff("Viewer"))
    assert client.get(PATH).status_code == 200
    problem(put(client, {}, If_Match="*"), 403, "permission-denied")
    client.force_login(get_user_model().objects.create_superuser("root"))
    assert put(client, {}, If_Match="*").status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", [0, 1])
def test_one_of_several_concurrent_writers_of_the_same_version_succeeds(first):
    """The others learn which version is active. *first*: the version that each of them read; 0 if there was none."""
    if first:
        RankingPolicy.objects.create(variant="race", version=first, is_active=True)

    def change(number):
        try:
            return policies.put_policy(variant="race", settings={"taste": number}, note="", version=first).version
        except VersionConflict as error:
            return str(error)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(change, range(4)))
    assert results.count(first + 1) == 1
    assert sum(f"is now at version {first + 1}." in str(result) for result in results) == 3
