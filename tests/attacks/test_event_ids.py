"""Attacks in which a member takes ids that the platform or another member will use."""

import json

import pytest

EVENTS = "/api/v1/interactions"


@pytest.fixture(scope="module")
def world(server):
    """Return the server with an attacker, a victim and two posts."""
    server.add_members("ids-attacker", "ids-victim", "ids-author")
    server.add_posts("ids-1", "ids-2", author_id="ids-author")
    return server


def event(event_id, member_id, **fields):
    content = {} if "undoes_event_id" in fields else {"post_id": "ids-1", "kind": "view"}
    return {"event_id": event_id, "member_id": member_id} | content | fields


def send_rest(server, events, credential):
    response = server.send("POST", EVENTS, {"events": events}, credential=credential)
    return [
        (result["status"], result["problem"] and result["problem"]["detail"]) for result in response.json()["results"]
    ]


def send_graphql(server, events, credential):
    names = {"event_id": "eventId", "member_id": "memberId", "post_id": "postId", "undoes_event_id": "undoesEventId"}
    variables = {"events": [{names.get(name, name): value for name, value in row.items()} for row in events]}
    query = "mutation($events: [EventInput!]!) { recordInteractions(events: $events) { status problem } }"
    body = {"query": query, "variables": variables}
    results = server.send("POST", "/graphql", body, credential=credential).json()["data"]["recordInteractions"]
    return [(result["status"], result["problem"]) for result in results]


SENDERS = {"rest": send_rest, "graphql": send_graphql}


@pytest.mark.parametrize("owner", ["ids-victim", "ids-attacker"])
@pytest.mark.parametrize("entry_point", SENDERS)
def test_a_token_cannot_take_the_event_ids_that_the_platform_will_use(world, entry_point, owner):
    """Neither for another member nor for its own: the platform's event is recorded and not dropped as a duplicate."""
    send, event_id = SENDERS[entry_point], f"taken-{entry_point}-{owner}"
    token = world.token("ids-attacker")
    assert send(world, [event(event_id, "ids-attacker")], token) == [
        ("recorded", None if entry_point == "rest" else "")
    ]
    ((status, _),) = send(world, [event(event_id, owner, kind="hide")], world.key)
    assert status == "recorded"


@pytest.mark.parametrize("entry_point", SENDERS)
def test_an_event_id_does_not_reveal_whether_another_member_used_it(world, entry_point):
    send, used = SENDERS[entry_point], f"used-{entry_point}"
    send(world, [event(used, "ids-victim")], world.token("ids-victim"))
    statuses = {send(world, [event(id, "ids-attacker")], world.token("ids-attacker"))[0] for id in (used, f"un{used}")}
    assert len(statuses) == 1


@pytest.mark.parametrize("entry_point", SENDERS)
def test_an_undo_in_advance_does_not_affect_the_platforms_events(world, entry_point):
    send, hidden = SENDERS[entry_point], f"hidden-{entry_point}"
    undo = event(f"undo-{entry_point}", "ids-attacker", undoes_event_id=hidden)
    assert send(world, [undo], world.token("ids-attacker"))[0][0] == "recorded"
    send(world, [event(hidden, "ids-attacker", post_id="ids-2", kind="not_interested")], world.key)
    profile = world.send("GET", "/api/v1/members/ids-attacker/profile", credential=world.key).json()
    assert hidden in [row["event_id"] for row in profile["negative_feedback"]]


@pytest.mark.parametrize("entry_point", SENDERS)
def test_an_id_with_other_content_is_rejected_with_a_problem_and_costs_no_other_event(world, entry_point):
    send, token = SENDERS[entry_point], world.token("ids-attacker")
    first, other = (
        event(f"same-{entry_point}", "ids-attacker"),
        event(f"same-{entry_point}", "ids-attacker", kind="like"),
    )
    results = send(world, [first, other, first, event(f"next-{entry_point}", "ids-attacker")], token)
    assert [status for status, _ in results] == ["recorded", "rejected", "duplicate", "recorded"]
    assert "other content" in results[1][1]


def test_two_keys_have_idempotency_keys_of_their_own(world):
    """Otherwise a key could read or block the jobs of another service by guessing its idempotency keys."""
    words = ("key", "create", "another", "--scope", "jobs:write", "--per-minute", "0")
    other = world.manage(*words).split()[-1]

    def submit(key, member_id):
        body = {"kind": "member_feed", "params": {"member_ids": [member_id]}}
        return world.send("POST", "/api/v1/jobs", body, credential=key, headers={"Idempotency-Key": "nightly"})

    first, repeated = submit(world.key, "ids-victim"), submit(world.key, "ids-victim")
    second = submit(other, "ids-author")
    assert [response.status for response in (first, repeated, second)] == [202] * 3, second.body
    assert first.json()["id"] == repeated.json()["id"] != second.json()["id"]
    assert json.loads(submit(other, "ids-victim").body)["code"] == "invalid-request"
