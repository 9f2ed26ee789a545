"""Attacks on private accounts: a member tries to see the posts of an account that has not approved them."""

import itertools

import pytest

numbers = itertools.count(1)


class PrivateAccount:
    """A private account with one post, and a stranger with a token."""

    def __init__(self, server):
        number = next(numbers)
        self.server, self.id = server, f"private-{number}"
        self.stranger, self.post_id = f"stranger-{number}", f"secret-{number}"
        server.add_members(self.stranger)
        server.add_members(self.id, is_private=True)
        server.add_posts(self.post_id, author_id=self.id, visibility="followers")
        self.token, self.own_token = server.token(self.stranger), server.token(self.id)

    def send(self, method, path, body=None, *, credential=None):
        return self.server.send(method, f"/api/v1{path}", body, credential=credential or self.token)

    def graphql(self, query):
        return self.server.send("POST", "/graphql", {"query": query}, credential=self.token).json()

    def sees_post(self):
        """Return whether the stranger may see the secret post."""
        status = self.send("GET", f"/posts/{self.post_id}/similar?viewer_id={self.stranger}").status
        assert status in (200, 404)
        return status == 200

    def requesters(self):
        """Return who has a pending request, as the account's member sees it."""
        page = self.send("GET", f"/members/{self.id}/follow-requests", credential=self.own_token).json()
        return [request["member_id"] for request in page["follow_requests"]]


@pytest.fixture
def account(server):
    return PrivateAccount(server)


def follow_by_relationship(account):
    account.send("PUT", f"/members/{account.stranger}/relationships/follow/{account.id}")


def follow_by_graphql(account):
    ids = f'memberId: "{account.stranger}", kind: "follow", targetId: "{account.id}"'
    assert account.graphql(f"mutation {{ setRelationship({ids}) }}") == {"data": {"setRelationship": True}}


def follow_by_profile_file(account):
    file = {"format": "recsys-profile", "version": 1, "relationships": {"follow": [account.id]}}
    assert account.send("PUT", f"/members/{account.stranger}/profile", file).status == 200


def follow_by_profile_file_through_the_platform(account):
    file = {"format": "recsys-profile", "version": 1, "relationships": {"follow": [account.id]}}
    path = f"/members/{account.stranger}/profile"
    assert account.send("PUT", path, file, credential=account.server.key).status == 200


@pytest.mark.parametrize(
    "follow",
    [
        follow_by_relationship,
        follow_by_graphql,
        follow_by_profile_file,
        follow_by_profile_file_through_the_platform,
    ],
)
def test_a_follow_waits_for_the_approval_of_the_private_account(account, follow):
    follow(account)
    assert account.requesters() == [account.stranger] and not account.sees_post()
    path = f"/members/{account.id}/follow-requests/{account.stranger}"
    assert account.send("PUT", path).status == 403, "the stranger approves their own request"
    assert account.send("PUT", path, credential=account.own_token).status == 204
    assert account.requesters() == [] and account.sees_post()


@pytest.mark.parametrize("is_sent_by_platform", [False, True])
def test_a_follow_event_on_a_secret_post_is_rejected(account, is_sent_by_platform):
    """The platform may pass on what a client sent, so its key has no more power here."""
    event = {"event_id": f"follow-{account.id}", "member_id": account.stranger, "post_id": account.post_id}
    credential = account.server.key if is_sent_by_platform else account.token
    answer = account.send("POST", "/interactions", {"events": [event | {"kind": "follow"}]}, credential=credential)
    assert answer.json()["rejected"] == 1
    assert account.requesters() == [] and not account.sees_post()


def test_a_declined_or_withdrawn_request_gives_nothing(account):
    path, own = f"/members/{account.stranger}/relationships/follow/{account.id}", account.own_token
    for withdraw in (
        lambda: account.send("DELETE", path),
        lambda: account.send("DELETE", f"/members/{account.id}/follow-requests/{account.stranger}", credential=own),
    ):
        account.send("PUT", path)
        assert withdraw().status == 204
        assert account.requesters() == [] and not account.sees_post()
        approval = account.send("PUT", f"/members/{account.id}/follow-requests/{account.stranger}", credential=own)
        assert approval.status == 404 and approval.json()["code"] == "unknown-follow-request"


def test_a_block_ends_a_request_and_prevents_another(account):
    path = f"/members/{account.stranger}/relationships/follow/{account.id}"
    account.send("PUT", path)
    account.send("PUT", f"/members/{account.id}/relationships/block/{account.stranger}", credential=account.own_token)
    assert account.requesters() == []
    assert account.send("PUT", path).status == 204
    assert account.requesters() == [] and not account.sees_post()


def test_the_platform_may_store_an_approved_follow(account):
    path = f"/members/{account.stranger}/relationships/follow/{account.id}"
    assert account.send("PUT", path, credential=account.server.key).status == 204
    assert account.requesters() == [] and account.sees_post()


def test_followers_stay_when_an_account_becomes_private(server):
    server.add_members("open-1", "fan-1", "late-1")
    server.add_posts("open-post-1", author_id="open-1")
    server.send("PUT", "/api/v1/members/fan-1/relationships/follow/open-1", credential=server.token("fan-1"))
    changed = server.send(
        "PATCH", "/api/v1/members/open-1/preferences", {"is_private": True}, credential=server.token("open-1")
    )
    assert changed.status == 200
    server.send("PUT", "/api/v1/members/late-1/relationships/follow/open-1", credential=server.token("late-1"))
    for member_id, status in (("fan-1", 200), ("late-1", 404)):
        path = f"/api/v1/posts/open-post-1/similar?viewer_id={member_id}"
        assert server.send("GET", path, credential=server.token(member_id)).status == status
