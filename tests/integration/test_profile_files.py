"""A member's profile: the same on every device at once, and as a file."""

import copy
import json
import urllib.request
from datetime import timedelta
from pathlib import Path

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
from recommendations.services.members.profile_file.export_profile import export_profile
from recommendations.services.members.profile_file.import_profile import import_profile
from recommendations.services.members.profile_file.schema import ProfileFile
from tests import factories
from tests.factories import NOW
from tests.integration.test_worker import wait_for

pytestmark = [pytest.mark.usefixtures("fresh_wiring")]
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def eve(db):
    """Eve, with something of everything: and a stalker whom she does not know of."""
    eve = factories.member("eve", muted_words=["war"], muted_tags=["spoiler"], languages=["en"], region="DE")
    ann, bob, cat, stalker = (factories.member(name) for name in ("ann", "bob", "cat", "stalker"))
    for n in range(6):
        factories.post(ann, f"p{n}", text=f"bread and yeast {n}", tags=["food"])
    factories.embed_all_posts()
    factories.follow(eve, ann), factories.block(eve, bob), factories.mute(eve, cat)
    factories.relationship(stalker, "block", eve), factories.relationship(stalker, "mute", eve)
    events = [
        interact.Event("e1", "eve", "p1", "share"),
        interact.Event("e2", "eve", "p2", "not_interested", reason="topic"),
    ]
    interact.record_events(events=events, now=NOW)
    learn_interactions(member_ids=[eve.pk], now=NOW)
    interact.mark_seen(member_id="eve", post_ids=["p3", "p4"], now=NOW)
    return eve


def state(name):
    """Return all that a profile is, from the rows."""
    member = Member.objects.get(external_id=name)
    profile = InterestProfile.objects.filter(member=member).first()
    return {
        "preferences": read_preferences(member_id=name),
        "ties": set(Relationship.objects.filter(source=member).values_list("kind", "target")),
        "less": set(
            NegativeFeedback.objects.filter(member=member).values_list("target", "target_key", "event_id", "created_at")
        ),
        "seen": dict(SeenPost.objects.filter(member=member).values_list("post", "seen_at")),
        "interests": profile and (bytes(profile.positive), bytes(profile.negative), profile.affinities),
    }


def json_round_trip(file):
    return json.loads(json.dumps(file))


def import_file(name, file, now=NOW):
    return import_profile(member_id=name, content=file, now=now)


def test_a_profile_moves_whole_and_twice_is_once(eve):
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    factories.member("twin")
    report = import_file("twin", file)
    assert report.rejected == [] and report.applied > 8
    moved = state("twin")
    assert moved == state("eve")
    assert moved["interests"] and len(moved["less"]) == 2 and len(moved["seen"]) >= 2
    again = import_file("twin", file)
    assert (again.applied, again.rejected) == (0, []) and again.unchanged > 10
    assert state("twin") == moved == state("eve")
    assert import_file("eve", file).applied == 0


def test_the_file_names_nobody_who_blocks_or_mutes_the_member(eve):
    assert "stalker" not in json.dumps(export_profile(member_id="eve", now=NOW))


def test_nothing_that_is_here_is_lost(eve):
    """What the twin has stays; what the file has comes to it."""
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    twin = factories.member("twin", muted_words=["golf", "war"])
    dan = factories.member("dan")
    factories.follow(twin, dan)
    interact.mark_seen(member_id="twin", post_ids=["p3", "p5"], now=NOW - timedelta(days=1))
    before = state("twin")
    import_file("twin", file)
    after = state("twin")
    assert after["preferences"].muted_words == ["golf", "war"] and after["preferences"].muted_tags == ["spoiler"]
    assert before["ties"] < after["ties"]
    assert before["seen"].items() <= after["seen"].items(), "a post seen here keeps its time"


def test_what_cannot_be_used_is_said_one_by_one_and_the_rest_applied(eve):
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    file["ties"]["follow"] += ["nobody", "twin"]
    file["seen"].append({"post_id": "gone", "seen_at": "2026-01-01T00:00:00Z"})
    file["negative_feedback"].append(file["negative_feedback"][0] | {"post_id": "gone"})
    file["interests"]["model"] = "another"
    factories.member("twin")
    report = import_file("twin", file)
    assert {(r.pointer, r.code) for r in report.rejected} == {
        ("/ties/follow/1", "unknown-member"),
        ("/ties/follow/2", "oneself"),
        (f"/seen/{len(file['seen']) - 1}", "unknown-post"),
        (f"/negative_feedback/{len(file['negative_feedback']) - 1}", "unknown-post"),
        ("/interests/model", "other-model"),
    }
    assert state("twin") == state("eve") | {"interests": None}


def test_interests_are_taken_only_where_none_were_learned_and_with_consent(eve):
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    twin = factories.member("twin")
    interact.record_events(events=[interact.Event("t1", "twin", "p0", "share")], now=NOW)
    learn_interactions(member_ids=[twin.pk], now=NOW)
    own = state("twin")["interests"]
    assert [r.code for r in import_file("twin", file).rejected] == ["already-known"]
    assert state("twin")["interests"] == own
    file["preferences"]["is_personalized"] = False
    assert [r.code for r in import_file("twin", file).rejected] == ["not-allowed"]
    assert state("twin")["interests"] is None


def test_a_follow_across_a_block_has_no_effect_and_is_not_told(eve):
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    twin = factories.member("twin")
    factories.block(Member.objects.get(external_id="ann"), twin)
    report = import_file("twin", file)
    assert report.rejected == []
    assert not Relationship.objects.filter(source=twin, kind="follow").exists()


def test_a_member_without_settings_stays_private_unless_the_file_says_otherwise(eve):
    factories.member("twin", privacy=False)
    import_file("twin", {"format": "recsys-profile", "version": 1, "preferences": {"muted_words": ["x"]}})
    assert read_preferences(member_id="twin").is_private
    assert not PrivacySettings.objects.get(member__external_id="twin").is_personalized


WRONG = [
    ({"version": 2}, "/version"),
    ({"format": "x"}, "/format"),
    ({"tyes": {}}, "/tyes"),
    ({"ties": {"follow": [7]}}, "/ties/follow/0"),
    ({"ties": {"follow": ["a\0b"]}}, "/ties/follow/0"),
    ({"seen": [{"post_id": "p1", "seen_at": "2026-01-01"}]}, "/seen/0/seen_at"),
    ({"seen": [{"post_id": "p1", "seen_at": "2026-01-01T00:00:00Z"}] * 5001}, "/seen"),
    ({"negative_feedback": [{"subject": "mood"}]}, "/negative_feedback/0/subject"),
    ({"preferences": {"sensitivity": "extreme"}}, "/preferences/sensitivity"),
    ({"interests": {"model": "m", "dimension": 2, "positive": "!", "positive_mass": "", "negative": "",
                    "negative_mass": "", "reference_at": "2026-01-01T00:00:00Z"}}, "/interests"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "pointer"), WRONG, ids=[pointer for _, pointer in WRONG])
def test_a_file_that_is_none_changes_nothing(eve, part, pointer):
    before = state("eve")
    good = {"format": "recsys-profile", "version": 1, "ties": {"follow": ["cat"]}, "preferences": {"region": "FR"}}
    with pytest.raises(InvalidRequest) as refused:
        import_file("eve", good | part)
    assert refused.value.pointer == pointer and "Nothing was changed" in str(refused.value)
    assert state("eve") == before


@pytest.mark.django_db
@pytest.mark.parametrize("content", [None, [], "x", 7])
def test_what_is_no_object_is_refused(content):
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


@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_put_into_a_file_is_taken_or_refused_in_words(eve, data):
    """A value anywhere in a good file is replaced by anything: never an error that is not a refusal."""
    file = json_round_trip(export_profile(member_id="eve", now=NOW))
    place = copy.deepcopy(file)
    where = place
    key = data.draw(st.sampled_from(sorted(where)))
    while isinstance(where[key], dict | list) and where[key] and data.draw(st.booleans()):
        where = where[key]
        key = data.draw(st.sampled_from(sorted(where) if isinstance(where, dict) else range(len(where))))
    where[key] = data.draw(json_values)
    try:
        import_file("eve", place)
    except InvalidRequest as refused:
        assert str(refused)


def test_the_schema_in_the_documents_is_the_one_in_force():
    """`manage.py profile schema > docs/profile-file.schema.json` after a change."""
    assert json.loads((DOCS / "profile-file.schema.json").read_text()) == ProfileFile.model_json_schema()


def test_the_command_writes_and_takes_in(eve, tmp_path, capsys):
    file = tmp_path / "profile.json"
    call_command("profile", "export", "eve", str(file))
    factories.member("twin")
    call_command("profile", "import", "twin", str(file))
    assert "0 refused" in capsys.readouterr().out and state("twin") == state("eve")
    file.write_text(file.read_text().replace('"ann"', '"nobody"'))
    with pytest.raises(CommandError, match="/ties/follow/0"):
        call_command("profile", "import", "twin", str(file))
    file.write_text("{")
    for words in (["import", "twin", str(file)], ["import", "twin", "no/such/file"], ["export", "nobody"]):
        with pytest.raises(CommandError):
            call_command("profile", *words)


def test_the_door_gives_and_takes_the_file(eve, client):
    bearer = tokens.mint_token(member_id="eve", scopes=MEMBER_SCOPES, ttl_seconds=60, now=clock.now())
    header = {"HTTP_AUTHORIZATION": f"Bearer {bearer}"}
    got = client.get("/api/v1/members/eve/profile", **header)
    assert got.status_code == 200 and "no-store" in got["Cache-Control"]
    assert client.get("/api/v1/members/ann/profile", **header).json()["code"] == "other-member"

    def put(content):
        return client.put("/api/v1/members/eve/profile", content, content_type="application/json", **header)

    assert put(got.content).json()["applied"] == 0
    file = got.json()
    file["ties"]["mute"].append("nobody")
    answer = put(json.dumps(file))
    assert answer.status_code == 207
    assert answer.json()["refused"][0]["pointer"] == "/ties/mute/1"
    wrong = put(json.dumps(file | {"version": 9}))
    assert wrong.status_code == 400 and wrong.json()["errors"][0]["pointer"] == "/version"


# Several devices


class Device:
    """A client with a key of its own, over a real connection."""

    def __init__(self, server, name):
        scopes = ["feeds:read", "interactions:write", "profile:read", "profile:write"]
        _, self.secret = keys.create(name=name, scopes=scopes, now=clock.now())
        self.server = server

    def ask(self, method, address, body=None):
        request = urllib.request.Request(
            f"{self.server}/api/v1/{address}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def feed(self):
        page = self.ask("GET", "members/m0/feed?limit=40&explain=true")
        return page["cached"], [pick["post"]["id"] for pick in page["picks"]], page


@pytest.mark.usefixtures("fresh_wiring")
def test_what_one_device_does_the_other_sees_in_the_next_page(worker, live_server, transactional_db):
    """Two keys, a live server, a real worker: seen, mute, words and interests, on cached feeds and fresh ones."""
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

    cached, second, _ = tablet.feed()
    assert cached and second == first, "one slate for all devices"
    phone.ask("POST", "members/m0/seen", {"post_ids": first[:3]})
    cached, second, _ = tablet.feed()
    assert cached and not set(first[:3]) & set(second), "seen on the phone, gone from the tablet's cached feed"

    tablet.ask("PUT", "members/m0/ties/mute/a1")
    _, third, _ = phone.feed()
    assert third and not {p for p in third if int(p[1:]) % 4 == 1}, "muted on the tablet, gone from the phone"

    phone.ask("PATCH", "members/m0/preferences", {"muted_words": ["38"]})
    assert "p38" not in tablet.feed()[1]

    tablet.ask("DELETE", "members/m0/ties/mute/a1")
    assert any(int(p[1:]) % 4 == 1 for p in phone.feed()[1]), "unmuted: back on the other device"

    liked = {"events": [{"event_id": "e1", "member_id": "m0", "post_id": third[0], "kind": "share"}]}
    phone.ask("POST", "interactions", liked)

    def knows():
        cached, _, page = tablet.feed()
        return not cached and any(pick["parts"]["taste"] > 0 for pick in page["picks"])

    wait_for(knows, worker.log)
    wait_for(FeedRequest.objects.exists, worker.log)
