"""Act as a member of staff whom nobody gave a role: a session alone must open nothing, in any entry point."""

import pytest

from tests.attacks.staff_server import BrowserSession, run_code, run_staff_server

ATTACKS = [
    ("GET", "/api/v1/members?limit=1", None),
    ("GET", "/api/v1/members/bob", None),
    ("GET", "/api/v1/members/bob/feed", None),
    ("GET", "/api/v1/members/bob/profile", None),
    ("GET", "/api/v1/members/bob/preferences", None),
    ("GET", "/api/v1/posts/bob-private", None),
    ("POST", "/api/v1/tokens", {"member_id": "bob", "scopes": ["profile:write"]}),
    ("POST", "/api/v1/jobs", {"kind": "export_members", "params": {"member_ids": ["bob"]}}),
    ("POST", "/api/v1/jobs", {"kind": "erase_members", "params": {"member_ids": ["bob"]}}),
    ("GET", "/api/v1/jobs?limit=1", None),
    ("DELETE", "/api/v1/members/bob", None),
    ("PUT", "/api/v1/members/bob", {"is_adult": True}),
    ("DELETE", "/api/v1/posts/bob-private", None),
    ("POST", "/api/v1/interactions", {"events": [{"event_id": "1", "member_id": "bob", "kind": "view"}]}),
    ("PUT", "/api/v1/policies/control", {"settings": {}}),
    ("GET", "/api/v1/flags", None),
    ("PATCH", "/api/v1/flags/wasm_recommendations", {"why": "x"}),
    ("POST", "/ofrep/v1/evaluate/flags", {"context": {"targetingKey": "bob"}}),
    ("POST", "/graphql", {"query": '{ preferences(memberId: "bob") { isPrivate } }'}),
    ("POST", "/graphql", {"query": 'mutation { resetProfile(memberId: "bob") }'}),
    ("GET", "/dashboard/", None),
    ("GET", "/dashboard/data", None),
    ("GET", "/explore/", None),
    ("GET", "/admin/recommendations/member/", None),
    ("GET", "/admin/access/apikey/", None),
    ("GET", "/admin/auth/user/", None),
]
SEED = """
from django.contrib.auth.models import User
from monitoring.clock import now
from recommendations.models import Member, Post
User.objects.create_user("clerk", password="a-long-password-of-staff", is_staff=True)
bob = Member.objects.create(external_id="bob", created_at=now(), changed_at=now())
Post.objects.create(external_id="bob-private", author=bob, visibility=3, created_at=now(), changed_at=now())
"""


@pytest.fixture(scope="module")
def clerk(tmp_path_factory):
    """Return the session of a clerk, who has signed in but has no role."""
    with run_staff_server(tmp_path_factory.mktemp("clerk"), SECOND_FACTOR="0") as server:
        run_code(server, SEED)
        session = BrowserSession(server)
        assert session.sign_in("clerk").status == 302
        yield session


@pytest.mark.parametrize(("method", "path", "body"), ATTACKS)
def test_staff_without_a_role_are_refused(clerk, method, path, body):
    response = clerk.call(method, path, body)
    assert response.status == 403, response.content
    assert b"bob-private" not in response.content


def test_staff_without_a_role_read_no_metrics_and_no_reasons_of_health_checks(clerk):
    assert clerk.call("GET", "/metrics").status == 401
    assert b"reason" not in clerk.call("GET", "/workersz").content


def test_the_attacks_have_changed_nothing(clerk):
    models = "from recommendations.models import Member, Post, Job"
    counts = "Member.objects.filter(is_active=True).count(), Post.objects.filter(removed_at=None).count()"
    assert run_code(clerk.server, f"{models}; print({counts}, Job.objects.count())") == "1 1 0"


def test_the_clerk_may_sign_in_and_sees_an_empty_admin(clerk):
    page = clerk.call("GET", "/admin/")
    assert page.status == 200 and b"/admin/recommendations/" not in page.content
