"""A member's profile is exported, imported, and the same on every device."""

import copy
import json
import urllib.request
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from access import keys, tokens
from access.scopes import MEMBER_SCOPES
from monitoring import clock
from recommendations.models import (
    FeedRequest,
    InterestProfile,
    Member,
    NegativeFeedback,
    PrivacySettings,
    Relationship,
    SeenPost,
)
from recommendations.services.errors import InvalidRequest, UnknownMember
from recommendations.services.learning import interact
from recommendations.services.learning.learn import learn_interactions
from recommendations.services.members.preferences import read_preferences
from recommendations.services.members.profile_file import schema
from recommendations.services.members.profile_file.export_profile import export_profile
from recommendations.services.members.profile_file.import_profile import import_profile
from tests import factories
from tests.factories import NOW
from tests.integration.test_worker import wait_for
from values.types import MAX_PREFERENCES

pytestmark = [pytest.mark.usefixtures("fresh_wiring")]
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def eve(db):
    """Eve, with data of every kind, and a member who blocks and mutes her."""
    eve = factories.member(
        "eve", muted_words=["war"], muted_tags=["spoiler"], interest_tags=["art"], languages=["en"], region="DE"
    )
    ann, bob, cat, zoe = (factories.member(name) for name in ("ann", "bob", "cat", "zoe"))
    for n in range(6):
        factories.post(ann, f"p{n}", text=f"bread and yeast {n}", tags=["food"])
    factories.embed_all_posts()
    factories.follow(eve, ann), factories.block(eve, bob), factories.mute(eve, cat)
    factories.relationship(zoe, "block", eve), factories.relationship(zoe, "mute", eve)
    events = [
        interact.Event("e1", "eve", "p1", "share"),
        interact.Event("e2", "eve", "p2", "not_interested", target="topic"),
    ]
    interact.record_events(events=events, now=NOW)
    learn_interactions(member_ids=[eve.pk], now=NOW)
    interact.mark_seen(member_id="eve", post_ids=["p3", "p4"], now=NOW)
    return eve


def profile_rows(name):
    """Return all data of a profile from the database."""
    member = Member.objects.get(external_id=name)
    profile = InterestProfile.objects.filter(member=member).first()
    return {
        "preferences": read_preferences(member_id=name),
        "relationships": set(Relationship.objects.filter(source=member).values_list("kind", "target")),
        "negative_feedback": set(
            NegativeFeedback.objects.filter(member=member).values_list("target", "target_key", "event_id", "created_at")
        ),
        "seen": dict(SeenPost.objects.filter(member=member).values_list("post", "seen_at")),
        "interests": profile and (bytes(profile.positive), bytes(profile.negative), profile.affinities),
    }


def json_round_trip(file):
    return json.loads(json.dumps(file))


def import_file(name, file, now=NOW):
    return import_profile(member_id=name, content=file, now=now)


def test_a_profile_is_imported_completely_and_a_second_import_changes_nothing(eve):
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    factories.member("twin")
    report = import_file("twin", file)
    assert report.rejected == [] and report.applied > 8
    imported = profile_rows("twin")
    assert imported == profile_rows("eve")
    assert imported["interests"] and len(imported["negative_feedback"]) == 2 and len(imported["seen"]) >= 2
    second = import_file("twin", file)
    assert (second.applied, second.rejected) == (0, []) and second.unchanged > 10
    assert profile_rows("twin") == imported == profile_rows("eve")
    assert import_file("eve", file).applied == 0


def test_the_file_does_not_name_members_who_block_or_mute_the_member(eve):
    assert "zoe" not in json.dumps(export_profile(member_id="eve", now=NOW))


def test_an_import_keeps_the_existing_data(eve):
    """The file adds to the existing data of the twin."""
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    twin = factories.member("twin", muted_words=["golf", "war"], interest_tags=["tea"])
    dan = factories.member("dan")
    factories.follow(twin, dan)
    interact.mark_seen(member_id="twin", post_ids=["p3", "p5"], now=NOW - timedelta(days=1))
    before = profile_rows("twin")
    import_file("twin", file)
    after = profile_rows("twin")
    assert after["preferences"].muted_words == ["golf", "war"] and after["preferences"].muted_tags == ["spoiler"]
    assert after["preferences"].interest_tags == ["tea", "art"]
    assert before["relationships"] < after["relationships"]
    assert before["seen"].items() <= after["seen"].items(), "a post that was seen here keeps its time"


def test_unusable_items_are_rejected_one_by_one_and_the_rest_is_applied(eve):
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    file["relationships"]["follow"] += ["nobody", "twin"]
    file["seen"].append({"post_id": "gone", "seen_at": "2026-01-01T00:00:00Z"})
    file["negative_feedback"].append(file["negative_feedback"][0] | {"post_id": "gone"})
    factories.post(Member.objects.get(external_id="ann"), "untagged")
    file["negative_feedback"].append(file["negative_feedback"][0] | {"post_id": "untagged", "target": "topic"})
    file["interests"]["embedding_model"] = "another"
    factories.member("twin")
    report = import_file("twin", file)
    assert {(r.pointer, r.code) for r in report.rejected} == {
        (f"/negative_feedback/{len(file['negative_feedback']) - 1}", "post-without-topic"),
        ("/relationships/follow/1", "unknown-member"),
        ("/relationships/follow/2", "self-relationship"),
        (f"/seen/{len(file['seen']) - 1}", "unknown-post"),
        (f"/negative_feedback/{len(file['negative_feedback']) - 2}", "unknown-post"),
        ("/interests/embedding_model", "different-embedding-model"),
    }
    assert profile_rows("twin") == profile_rows("eve") | {"interests": None}


def test_affinities_to_unknown_authors_are_rejected_and_the_other_interests_are_imported(eve):
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    assert file["interests"]["affinities"]["author"]
    file["interests"]["affinities"]["author"]["no/body"] = 1.0
    factories.member("twin")
    rejected = [(r.pointer, r.code) for r in import_file("twin", file).rejected]
    assert rejected == [("/interests/affinities/author/no~1body", "unknown-member")]
    assert profile_rows("twin") == profile_rows("eve")


def test_muted_words_above_the_limit_are_rejected_and_the_others_are_added(eve):
    limit = MAX_PREFERENCES
    factories.member("twin", muted_words=[f"own-{n}" for n in range(limit - 2)])
    preferences = {"muted_words": ["own-0", "new-0", "new-1", "new-2"]}
    report = import_file("twin", {"format": "recsys-profile", "version": 1, "preferences": preferences})
    assert [(r.pointer, r.code) for r in report.rejected] == [("/preferences/muted_words/3", "limit-reached")]
    assert read_preferences(member_id="twin").muted_words[limit - 2 :] == ["new-0", "new-1"]


def test_interests_are_imported_only_with_consent_and_without_existing_interests(eve):
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    twin = factories.member("twin")
    interact.record_events(events=[interact.Event("t1", "twin", "p0", "share")], now=NOW)
    learn_interactions(member_ids=[twin.pk], now=NOW)
    learned = profile_rows("twin")["interests"]
    assert [r.code for r in import_file("twin", file).rejected] == ["interests-exist"]
    assert profile_rows("twin")["interests"] == learned
    file["preferences"]["is_personalized"] = False
    assert [r.code for r in import_file("twin", file).rejected] == ["not-personalized"]
    assert profile_rows("twin")["interests"] is None


def test_a_follow_of_a_member_who_is_blocked_has_no_effect_and_is_not_reported(eve):
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    twin = factories.member("twin")
    factories.block(twin, Member.objects.get(external_id="ann"))
    report = import_file("twin", file | {"negative_feedback": [], "seen": []})
    assert report.rejected == []
    assert not Relationship.objects.filter(source=twin, kind="follow").exists()


def test_members_who_block_the_importing_member_and_their_posts_are_reported_as_absent(eve):
    """The report is the same for members and posts that do not exist."""
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    twin, renamed = factories.member("twin"), json.loads(json.dumps(file).replace('"ann"', '"nobody"'))
    factories.block(Member.objects.get(external_id="ann"), twin)
    hidden = [(item.pointer, item.code) for item in import_file("twin", file).rejected]
    for item in renamed["negative_feedback"] + renamed["seen"]:
        item["post_id"] = f"no-{item['post_id']}"
    factories.member("other")
    absent = import_file("other", renamed).rejected
    assert hidden == [(item.pointer.replace("nobody", "ann"), item.code) for item in absent]
    assert {"unknown-member", "unknown-post"} == {code for _, code in hidden}
    assert not Relationship.objects.filter(source=twin, kind="follow").exists()


def test_a_member_without_settings_stays_private_unless_the_file_sets_it(eve):
    factories.member("twin", privacy=False)
    import_file("twin", {"format": "recsys-profile", "version": 1, "preferences": {"muted_words": ["x"]}})
    assert read_preferences(member_id="twin").is_private
    assert PrivacySettings.objects.get(member__external_id="twin").is_personalized, "as PERSONALIZATION_CONSENT says"


def floats(*numbers):
    """Return numbers as in a file."""
    return schema.encode_floats(np.array(numbers, "<f4").tobytes())


def interests(**fields):
    """Return the interests of a file, with vectors of two numbers."""
    empty = dict.fromkeys(("positive", "positive_mass", "negative", "negative_mass"), "")
    return {
        "interests": {"embedding_model": "m", "dimension": 2, "reference_at": "2026-01-01T00:00:00Z"} | empty | fields
    }


INVALID = [
    ({"version": 2}, "/version"),
    ({"format": "x"}, "/format"),
    ({"relationship": {}}, "/relationship"),
    ({"seen": [{"post_id": "p1", "seen_at": "2026-01-01T00:00:00Z"}] * 5001}, "/seen"),
    ({"preferences": {"sensitivity": "extreme"}}, "/preferences/sensitivity"),
    (interests(positive="!"), "/interests"),
    (interests(positive=floats(1, float("nan")), positive_mass=floats(1)), "/interests"),
    (interests(positive=floats(1), positive_mass=floats(1)), "/interests"),
    (interests(positive=floats(1, 2), positive_mass=floats(-1)), "/interests"),
]


@pytest.mark.parametrize(
    ("part", "pointer"),
    [
        ({"relationships": {"follow": [["a"]]}}, "/relationships/follow/0"),
        ({"relationships": {"follow": ["a\0b"]}}, "/relationships/follow/0"),
        ({"seen": [{"post_id": "p1", "seen_at": "2026-01-01"}]}, "/seen/0"),
        ({"negative_feedback": [{"target": "mood"}]}, "/negative_feedback/0"),
    ],
)
def test_an_invalid_item_of_a_list_costs_this_item_only(eve, part, pointer):
    file = {"format": "recsys-profile", "version": 1, "preferences": {"muted_words": ["kept"]}} | part
    report = import_file("eve", file)
    assert [(item.pointer, item.code) for item in report.rejected] == [(pointer, "invalid-item")]
    assert "kept" in read_preferences(member_id="eve").muted_words


def test_the_pointers_of_other_items_count_the_invalid_ones(eve):
    seen = [{"post_id": post_id, "seen_at": "2026-01-01T00:00:00Z"} for post_id in ("", "x", "a/", "y", "z")]
    report = import_file("eve", {"format": "recsys-profile", "version": 1, "seen": seen})
    invalid, unknown = (
        [item.pointer for item in report.rejected if item.code == code] for code in ("invalid-item", "unknown-post")
    )
    assert (invalid, unknown) == (["/seen/0", "/seen/2"], ["/seen/1", "/seen/3", "/seen/4"])


@pytest.mark.parametrize(("part", "pointer"), INVALID)
def test_an_invalid_file_changes_nothing(eve, part, pointer):
    before = profile_rows("eve")
    good = {
        "format": "recsys-profile",
        "version": 1,
        "relationships": {"follow": ["cat"]},
        "preferences": {"region": "FR"},
    }
    with pytest.raises(InvalidRequest) as error:
        import_file("eve", good | part)
    assert error.value.pointer == pointer and "Nothing was changed" in str(error.value)
    assert profile_rows("eve") == before


@pytest.mark.django_db
@pytest.mark.parametrize("content", [None, [], "x", 7])
def test_a_file_that_is_not_an_object_is_rejected(content):
    factories.member("eve")
    with pytest.raises(InvalidRequest):
        import_file("eve", content)
    with pytest.raises(UnknownMember):
        import_file("nobody", {"format": "recsys-profile", "version": 1})


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def exported(eve):
    """Eve's profile, exported once: the imports of a test's earlier examples change her data."""
    return json_round_trip(export_profile(member_id="eve", now=NOW))


@settings(max_examples=40)
@given(data=st.data())
def test_any_changed_file_is_imported_or_rejected_with_a_message(exported, data):
    """Replacing any value of a valid file by any value raises no error but `InvalidRequest`."""
    changed = copy.deepcopy(exported)
    node = changed
    key = data.draw(st.sampled_from(sorted(node)))
    while isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
    node[key] = data.draw(json_values)
    try:
        import_file("eve", changed)
    except InvalidRequest as error:
        assert str(error)


def test_the_schema_in_the_docs_is_current(capsys):
    """After a change, run `manage.py profile_file schema > docs/profile-file.schema.json`."""
    call_command("profile_file", "schema")
    assert (DOCS / "profile-file.schema.json").read_text() == capsys.readouterr().out


def test_the_command_exports_and_imports_a_profile(eve, tmp_path, capsys):
    file = tmp_path / "profile.json"
    call_command("profile_file", "export", "eve", str(file))
    factories.member("twin")
    call_command("profile_file", "import", "twin", str(file))
    assert "0 rejected" in capsys.readouterr().out and profile_rows("twin") == profile_rows("eve")
    call_command("profile_file", "export", "eve")
    exported, printed = (json.loads(text) for text in (file.read_text(), capsys.readouterr().out))
    assert exported | {"exported_at": ""} == printed | {"exported_at": ""}
    file.write_text(file.read_text().replace('"ann"', '"nobody"'))
    with pytest.raises(CommandError, match="/relationships/follow/0"):
        call_command("profile_file", "import", "twin", str(file))
    file.write_text("{")
    for arguments in (["import", "twin", str(file)], ["import", "twin", "no/such/file"], ["export", "nobody"]):
        with pytest.raises(CommandError):
            call_command("profile_file", *arguments)


def test_the_api_exports_and_imports_a_profile(eve, client):
    bearer = tokens.mint_token(member_id="eve", scopes=MEMBER_SCOPES, ttl_seconds=60, now=clock.now())
    header = {"HTTP_AUTHORIZATION": f"Bearer {bearer}"}
    exported = client.get("/api/v1/members/eve/profile", **header)
    assert exported.status_code == 200 and "no-store" in exported["Cache-Control"]
    assert client.get("/api/v1/members/ann/profile", **header).json()["code"] == "different-member"

    def put(content):
        return client.put("/api/v1/members/eve/profile", content, content_type="application/json", **header)

    assert put(exported.content).json()["applied"] == 0
    file = exported.json()
    file["relationships"]["mute"].append("nobody")
    response = put(json.dumps(file))
    assert response.status_code == 207
    assert response.json()["rejected"][0]["pointer"] == "/relationships/mute/1"
    invalid = put(json.dumps(file | {"version": 9}))
    assert invalid.status_code == 400 and invalid.json()["errors"][0]["pointer"] == "/version"


# Several devices


class Device:
    """A client with its own API key, over a real connection."""

    def __init__(self, server, name):
        scopes = ["feeds:read", "interactions:write", "profile:read", "profile:write"]
        _, self.secret = keys.create(name=name, scopes=scopes, now=clock.now())
        self.server = server

    def request(self, method, path, body=None):
        request = urllib.request.Request(
            f"{self.server}/api/v1/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
        return json.loads(text) if text else None

    def feed(self):
        page = self.request("GET", "members/m0/feed?limit=40&explain=true")
        return page["is_cached"], [pick["post"]["id"] for pick in page["picks"]], page


@pytest.mark.usefixtures("fresh_wiring")
def test_a_change_on_one_device_applies_to_the_next_page_of_another(worker, live_server, transactional_db):
    """Two keys, a live server and a worker: seen posts, mutes, words and interests, on cached and fresh feeds."""
    now = clock.now()
    factories.flag("wasm_recommendations", at=now, is_enabled=True, rollout_percentage=100)
    factories.member("m0", at=now)
    authors = [factories.member(f"a{i}", at=now) for i in range(4)]
    for i in range(40):
        topic = "war and soldiers" if i % 2 else "bread and yeast"
        factories.post(authors[i % 4], f"p{i}", text=f"{topic} {i}", at=now)
    factories.embed_all_posts(at=now)
    phone, tablet = Device(live_server.url, "phone"), Device(live_server.url, "tablet")
    _, first, _ = phone.feed()
    assert len(first) == 40

    is_cached, second, _ = tablet.feed()
    assert is_cached and second == first, "all devices share one slate"
    phone.request("POST", "members/m0/seen", {"post_ids": first[:3]})
    is_cached, second, _ = tablet.feed()
    assert is_cached and not set(first[:3]) & set(second), "seen on the phone, not in the tablet's cached feed"

    tablet.request("PUT", "members/m0/relationships/mute/a1")
    _, third, _ = phone.feed()
    assert third and not {p for p in third if int(p[1:]) % 4 == 1}, "muted on the tablet, not on the phone's page"

    phone.request("PATCH", "members/m0/preferences", {"muted_words": ["38"]})
    assert "p38" not in tablet.feed()[1]

    tablet.request("DELETE", "members/m0/relationships/mute/a1")
    assert any(int(p[1:]) % 4 == 1 for p in phone.feed()[1]), "unmuted on the tablet, on the phone's page again"

    share = {"events": [{"event_id": "e1", "member_id": "m0", "post_id": third[0], "kind": "share"}]}
    phone.request("POST", "interactions", share)

    def has_learned_feed():
        is_cached, _, page = tablet.feed()
        return not is_cached and any(pick["parts"]["taste"] > 0 for pick in page["picks"])

    wait_for(has_learned_feed, worker.log)
    wait_for(FeedRequest.objects.exists, worker.log)
