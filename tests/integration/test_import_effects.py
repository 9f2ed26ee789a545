"""An interaction has the same effects whether it is sent to the API, imported from a file, imported as the sample or
generated."""

import csv
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from recommendations import task_queue
from recommendations.contracts import InteractionKind
from recommendations.embedders.tiny import TinyText
from recommendations.models import (
    Interaction,
    InterestProfile,
    Member,
    NegativeFeedback,
    Post,
    PostStats,
    ReactionHistory,
    Relationship,
    SeenPost,
    Undo,
)
from recommendations.services import invalidate
from recommendations.services.content.generate import VectorSettings, generate
from recommendations.services.content.generating.draws import PlatformSize
from recommendations.services.content.import_file import import_file
from recommendations.services.content.import_movielens import SAMPLE_FOLDER, import_movielens, read_sample
from recommendations.services.content.importing.write_rows import derive_event_id
from recommendations.services.learning import interact, learn, store_interactions, store_relationships
from recommendations.services.learning.interact import Event
from recommendations.services.members.preferences import reset_interests
from recommendations.services.members.profile_file.export_profile import export_profile
from recommendations.services.members.profile_file.import_profile import import_profile
from recommendations.services.serving.recommend import recommend
from recommendations.services.upkeep import retention
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LONG_AGO = NOW - 3000 * DAY


def ignore_progress(*counts):
    pass


@pytest.fixture
def members():
    """Ann, and Bob, who wrote p1 (tagged war and film) and p2 (no tags)."""
    ann, bob = factories.member("ann"), factories.member("bob")
    factories.post(bob, "p1", tags=["war", "film"], kind="image")
    factories.post(bob, "p2")
    factories.post(ann, "own")
    return ann, bob


@pytest.fixture
def import_rows(tmp_path):
    """Import interactions from a file, and again if the file is already imported. Return the summary."""

    def import_rows(*rows, form="jsonl", restart=True, now=NOW):
        path = tmp_path / f"interactions.{form}"
        if form == "jsonl":
            path.write_text("".join(json.dumps(row, default=lambda time: time.isoformat()) + "\n" for row in rows))
        else:
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, sorted({name for row in rows for name in row}))
                writer.writeheader()
                writer.writerows(rows)
        return import_file(kind="interactions", path=path, now=now, restart=restart, progress=ignore_progress)

    return import_rows


def row(event_id="e1", post_id="p1", kind="like", *, at=NOW - HOUR, member_id="ann", **fields):
    return {"event_id": event_id, "member_id": member_id, "post_id": post_id, "kind": kind, "occurred_at": at, **fields}


def record(*rows, now=NOW):
    results = interact.record_events(events=[Event(**fields) for fields in rows], now=now)
    assert {result.status for result in results} <= {"recorded"}, results


def undo(event_id, *, now=NOW):
    record({"event_id": f"undo-{event_id}", "member_id": "ann", "undoes_event_id": event_id}, now=now)


def effects(member_id="ann"):
    """Return all stored effects of the member's interactions."""
    feedback = NegativeFeedback.objects.filter(member__external_id=member_id)
    follows = Relationship.objects.filter(source__external_id=member_id, kind="follow")
    return {
        "seen": set(SeenPost.objects.filter(member__external_id=member_id).values_list("post", "seen_at")),
        "feedback": set(feedback.values_list("target", "target_key", "post", "created_at")),
        "follows": set(follows.values_list("target__external_id", "created_at")),
    }


NO_EFFECTS = {"seen": set(), "feedback": set(), "follows": set()}


# The same effects


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "kind, target",
    [(kind, "") for kind in InteractionKind] + [("not_interested", target) for target in ("author", "topic", "kind")],
)
def test_an_imported_interaction_has_the_effects_of_a_sent_one(members, import_rows, kind, target, form):
    factories.member("twin")
    given = {"target": target} if target else {}
    import_rows(*(row(f"a-{id}", id, kind, **given) for id in ("p1", "p2")), form=form)
    record(*(row(f"t-{id}", id, kind, member_id="twin", **given) for id in ("p1", "p2")))
    assert effects("ann") == effects("twin") != NO_EFFECTS
    assert set(Interaction.objects.values_list("target", flat=True)) == {target}
    assert Interaction.objects.filter(is_learned=False, undone_at=None).count() == 4


def send_one_by_one(rows, client, import_rows):
    for sent in rows:
        send_at_once([sent], client, import_rows)


def send_at_once(rows, client, import_rows):
    body = json.dumps({"events": rows}, default=lambda time: time.isoformat())
    results = client.post("/api/v1/interactions", body, content_type="application/json").json()["results"]
    assert {result["status"] for result in results} == {"recorded"}, results


def send_graphql(rows, client, import_rows):
    names = {"event_id": "eventId", "member_id": "memberId", "post_id": "postId", "occurred_at": "occurredAt"}
    events = [{names.get(name, name): value for name, value in sent.items()} for sent in rows]
    query = "mutation($events: [EventInput!]!) { recordInteractions(events: $events) { status problem } }"
    body = {"query": query, "variables": {"events": events}}
    text = json.dumps(body, default=lambda time: time.isoformat())
    results = client.post("/graphql", text, content_type="application/json").json()["data"]["recordInteractions"]
    assert {result["status"] for result in results} == {"recorded"}, results


ENTRY_POINTS = {
    "REST, one by one": send_one_by_one,
    "REST, at once": send_at_once,
    "GraphQL": send_graphql,
    "CSV": lambda rows, client, import_rows: import_rows(*rows, form="csv"),
    "JSONL": lambda rows, client, import_rows: import_rows(*rows, form="jsonl"),
}


def stored_rows(member_id):
    """Return everything that is stored because of the member's interactions, and the member's feed."""
    of_member = {"member__external_id": member_id}
    profile = InterestProfile.objects.get(**of_member)
    history = ReactionHistory.objects.get(**of_member)
    feed = recommend(member_id=member_id, now=NOW + DAY, limit=100)
    return effects(member_id) | {
        "interactions": sorted(
            Interaction.objects.filter(**of_member).values_list(
                "sender", "post", "kind", "target", "value", "occurred_at", "undone_at", "is_learned", "is_ignored"
            ),
            key=str,
        ),
        "profile": (profile.positive, profile.negative, profile.session, profile.affinities, profile.interaction_count),
        "history": (history.reactions, history.reacted_at),
        # Without the order: which posts take the exploration slots is drawn by the id of the request.
        "feed": {pick.post.id: round(pick.score, 3) for pick in feed.picks if pick.post.id != "own"},
    }


@pytest.mark.parametrize("entry_point", sorted(ENTRY_POINTS))
def test_the_same_events_leave_the_same_rows_and_the_same_feed_by_every_entry_point(
    members, import_rows, client, settings, monkeypatch, entry_point
):
    """Also after an undo. The twin's events are recorded by the service itself. Ann is an adult, whose views count."""
    settings.ENV = settings.ENV.model_copy(update={"api_open": True})
    monkeypatch.setattr("recommendations.api.interactions.now", lambda: NOW)
    posts = [factories.post(members[1], f"q{number}", tags=[f"t{number % 3}"]) for number in range(14)]
    factories.posts(factories.member(), 10)
    factories.embed_all_posts()
    Member.objects.filter(external_id="ann").update(is_adult=True)
    factories.member("twin", is_adult=True)
    kinds = [(kind, "") for kind in InteractionKind] + [("not_interested", of) for of in ("author", "topic", "kind")]

    def build_rows(member_id):
        rows = []
        for number, ((kind, target), post) in enumerate(zip(kinds, posts, strict=True)):
            fields = {"target": target} if target else {}
            fields |= {"value": 12.5} if kind == "dwell" else {}
            at = NOW - HOUR + number * timedelta(seconds=1)
            rows.append(row(f"e{number}", post.external_id, kind, member_id=member_id, at=at, **fields))
        return rows

    ENTRY_POINTS[entry_point](build_rows("ann"), client, import_rows)
    record(*build_rows("twin"))
    before = {name: effects(name) for name in ("ann", "twin")}
    assert before["ann"] == before["twin"]
    pks = list(Member.objects.filter(external_id__in=["ann", "twin"]).values_list("pk", flat=True))
    for undone in ("", "e3", "e9", "e12"):
        for member_id in ("ann", "twin") if undone else ():
            record({"event_id": f"u-{undone}", "member_id": member_id, "undoes_event_id": undone})
        learn.learn_interactions(member_ids=pks, now=NOW)
        assert set(PostStats.objects.filter(positive_count=1).values_list("post")) == set(), "both members count"
        invalidate.invalidate_all_slates()
        assert stored_rows("ann") == stored_rows("twin")


def test_an_import_stores_the_feedback_on_the_target(members, import_rows):
    ann, bob = members
    rows = [row(f"e-{target}", "p1", "not_interested", target=target) for target in ("author", "topic", "kind")]
    import_rows(*rows, row("e-untagged", "p2", "not_interested", target="topic"))
    targets = set(NegativeFeedback.objects.exclude(target="post").values_list("target", "target_key", "event_id"))
    assert targets == {("author", str(bob.pk), "e-author"), ("topic", "war", "e-topic"), ("kind", "image", "e-kind")}
    hidden = NegativeFeedback.objects.filter(target="post", member=ann)
    assert set(hidden.values_list("post__external_id", flat=True)) == {"p1", "p2"}


def test_a_post_is_seen_at_the_time_of_the_interaction_and_keeps_its_first_time(members, import_rows):
    import_rows(row("e1", "p1", at=LONG_AGO))
    record(row("e2", "p1"), row("e3", "p2", at=NOW - DAY))
    import_rows(row("e4", "p2", at=LONG_AGO))
    times = dict(SeenPost.objects.values_list("post__external_id", "seen_at"))
    assert times == {"p1": LONG_AGO, "p2": NOW - DAY}


@pytest.mark.parametrize("source, target", [("ann", "bob"), ("bob", "ann")])
def test_an_imported_follow_across_a_block_is_not_created(members, import_rows, source, target):
    factories.block(Member.objects.get(external_id=source), Member.objects.get(external_id=target))
    import_rows(row(kind="follow"))
    assert Interaction.objects.count() == 1 and effects()["follows"] == set()


def test_a_repeated_import_changes_nothing(members, import_rows):
    """Neither what the member has undone since nor a follow that the member has deleted since comes back."""
    rows = [row("e1", "p1", "not_interested", target="author"), row("e2", "p2", "follow"), row("e3", "own", "hide")]
    assert import_rows(*rows).created == 3
    undo("e1", now=NOW + HOUR)
    Relationship.objects.all().delete()
    before = effects()
    assert len(before["seen"]) == 2 and len(before["feedback"]) == 1 and not before["follows"]
    again = import_rows(*rows, row("e4", "p2", "view"), now=NOW + DAY)
    assert (again.created, again.unchanged) == (1, 3)
    assert effects() == before


@pytest.mark.parametrize("kind", InteractionKind)
def test_an_interaction_that_was_undone_before_its_import_is_stored_as_undone(members, import_rows, kind):
    undo("e1")
    import_rows(row("e1", "p1", kind), now=NOW + HOUR)
    assert Interaction.objects.get().undone_at == NOW + HOUR
    is_negative = kind in store_interactions.NEGATIVE_KINDS
    assert effects() == NO_EFFECTS | {
        "seen": set() if is_negative else {(Post.objects.get(external_id="p1").pk, NOW - HOUR)}
    }
    assert learn.learn_interactions(member_ids=[members[0].pk], now=NOW + 9 * HOUR) == 0


def test_the_undo_of_another_member_does_not_undo_an_import(members, import_rows):
    Undo.objects.create(member=members[1], event_id="u", undoes_event_id="e1", received_at=NOW)
    import_rows(row("e1", "p1", "hide"))
    assert Interaction.objects.get().undone_at is None and effects()["feedback"]


def test_an_interaction_from_before_a_reset_gives_no_feedback_on_its_target(members, import_rows):
    """A reset deletes such feedback. The post stays hidden: a reset does not change that."""
    reset_interests(member_id="ann", now=NOW)
    rows = [
        row("old", "p1", "not_interested", target="author"),
        row("new", "p2", "not_interested", target="author", at=NOW),
    ]
    import_rows(*rows, now=NOW + HOUR)
    feedback = set(NegativeFeedback.objects.values_list("event_id", "target"))
    assert feedback == {("old", "post"), ("new", "post"), ("new", "author")}


def test_events_with_one_id_in_one_file_have_the_effects_of_the_first(members, import_rows):
    first = row("e1", "p1", "hide")
    summary = import_rows(first, row("e1", "p2", "follow"), first)
    assert (summary.created, summary.unchanged, summary.rejected) == (1, 1, 1)
    p1 = Post.objects.get(external_id="p1")
    assert Interaction.objects.get().post == p1
    assert {post for _, _, post, _ in effects()["feedback"]} == {p1.pk} == {post for post, _ in effects()["seen"]}
    assert not effects()["follows"]


@pytest.mark.parametrize("queries", [1, 10_000])
def test_a_batch_of_any_size_has_all_effects(members, import_rows, monkeypatch, queries):
    """With one id per query, and with all ids in one."""
    monkeypatch.setattr(store_relationships, "IDS_PER_QUERY", queries)
    undo("e2")
    kinds = ["follow", "hide", "hide", "follow"]
    rows = [row(f"e{number}", ("p1", "p2")[number % 2], kind) for number, kind in enumerate(kinds)]
    import_rows(
        *rows, row("t1", "p1", "not_interested", target="kind"), row("t2", "p2", "not_interested", target="kind")
    )
    assert {name for name, _ in effects()["follows"]} == {"bob"}
    assert set(NegativeFeedback.objects.values_list("event_id", "target")) == {
        ("e1", "post"), ("t1", "post"), ("t1", "kind"), ("t2", "post"), ("t2", "kind"),
    }  # fmt: skip


# Rows that are refused


@pytest.mark.parametrize(
    "fields, field, problem",
    [
        ({"kind": "like", "target": "author"}, "target", "does not apply to a like"),
        ({"kind": "hide", "target": "topic"}, "target", "does not apply to a hide"),
        ({"kind": "not_interested", "target": "post"}, "target", "post"),
        ({"kind": "follow", "post_id": "own"}, "post_id", "is the member's own"),
    ],
)
def test_a_row_that_the_api_would_reject_is_rejected(members, import_rows, fields, field, problem):
    summary = import_rows(row("bad") | fields, row("good"))
    (error,) = [json.loads(line) for line in summary.errors_path.read_text().splitlines()]
    assert (error["line"], error["field"]) == (1, field) and problem in error["problem"]
    assert [interaction.event_id for interaction in Interaction.objects.all()] == ["good"]
    assert not Relationship.objects.exists()
    (result,) = interact.record_events(events=[Event(**row("bad") | fields)], now=NOW)
    assert result.status == "rejected" and result.problem.startswith(f"{field}: ")


def test_a_derived_event_id_changes_only_with_a_target():
    """The ids of events that were imported before imports had targets stay the same."""
    event = {"member_id": "ann", "post_id": "p1", "kind": "not_interested", "occurred_at": NOW}
    assert derive_event_id(event) == "import:2256e0f4410db204fd94f375cb8f01238184cff9"
    assert (
        len(
            {derive_event_id(event | {"target": target}) for target in ("author", "topic", "kind")}
            | {derive_event_id(event)}
        )
        == 4
    )


# Slates, learning and concurrent imports


def test_a_batch_purges_the_slates_of_its_members_once_and_sends_no_message(
    members, import_rows, monkeypatch, django_capture_on_commit_callbacks
):
    """Imported interactions are learned by `manage.py learn`, or by workers that beat sends them to."""
    purged, published = [], []
    monkeypatch.setattr(task_queue, "publish", lambda task, kwargs, *_: published.append((task, kwargs)))
    cache = invalidate.wiring.slate_cache()
    monkeypatch.setattr(type(cache), "purge", lambda self, ids: purged.append(list(ids)))
    with django_capture_on_commit_callbacks(execute=True):
        import_rows(
            row("e1", "p1", "hide"), row("e2", "p2", "follow"), row("e3"), row("e4", "p1", "hide", member_id="bob")
        )
    both = sorted(member.pk for member in members)
    assert [sorted(ids) for ids in purged] == [both, both[:1]] and not published, "for the follow, not for hidden posts"
    factories.embed_all_posts()
    with django_capture_on_commit_callbacks(execute=True):
        assert learn.enqueue_pending_learning(now=NOW) == 2
    ((task, kwargs),) = published
    assert task == task_queue.LEARN_INTERACTIONS and sorted(kwargs["member_ids"]) == both


@pytest.mark.django_db(transaction=True)
def test_two_imports_at_once_have_each_effect_once(members, tmp_path):
    """Two files share half of their events, in opposite orders. Either import may insert a shared event."""
    ann, bob = members
    posts = [factories.post(bob, f"q{number}") for number in range(60)]
    events = [row(f"e{number}", f"q{number}", ("hide", "like", "follow")[number % 3]) for number in range(60)]

    def run(number):
        rows = events[:40] if number else events[20:]
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps(event, default=lambda time: time.isoformat()) + "\n" for event in rows))
        try:
            return import_file(kind="interactions", path=path, now=NOW, progress=ignore_progress).created
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(run, range(2))) == 60
    assert Interaction.objects.count() == SeenPost.objects.filter(member=ann).count() == len(posts)
    assert NegativeFeedback.objects.filter(member=ann).count() == 20
    assert Relationship.objects.filter(source=ann, target=bob, kind="follow").count() == 1


# Profile files


def test_a_profile_file_does_not_bring_back_feedback_that_was_undone(members):
    record(row("e1", "p1", "not_interested", target="author"), row("e2", "p2", "hide"))
    file = export_profile(member_id="ann", now=NOW)
    undo("e1")
    before = effects()["feedback"]
    report = import_profile(member_id="ann", content=file, now=NOW + HOUR)
    assert effects()["feedback"] == before and len(before) == 1
    assert not report.rejected
    factories.member("twin")
    import_profile(member_id="twin", content=file, now=NOW + HOUR)
    assert len(effects("twin")["feedback"]) == 3, "the undo of one member does not apply to another"


# What members already know


def import_part_of_the_sample(tmp_path, import_rows):
    """Import the ratings of 40 members of the sample, by `import_movielens`."""
    ratings = [rating for rating in read_sample(SAMPLE_FOLDER, "ratings") if int(rating["member"]) <= 40]
    rated = {rating["film"] for rating in ratings}
    films = [film for film in read_sample(SAMPLE_FOLDER, "films") if film["film"] in rated]
    for name, rows in (("films", films), ("ratings", ratings)):
        with gzip.open(tmp_path / f"{name}.csv.gz", "wt", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    import_movielens(now=NOW, folder=tmp_path)
    factories.embed_all_posts()


def import_files(tmp_path, import_rows):
    """Import interactions of 20 members with 150 posts from a CSV file."""
    authors = [factories.member(f"author-{number}") for number in range(30)]
    posts = [
        factories.post(
            authors[number % 30], f"p{number}", text=f"a film about {('war', 'bread', 'summer')[number % 3]}"
        )
        for number in range(150)
    ]
    readers = [factories.member(f"reader-{number}") for number in range(20)]
    import_rows(
        *(
            row(
                f"{reader.external_id}-{number}",
                posts[(number * 7 + reader.pk) % 150].external_id,
                ("like", "like", "not_interested", "view")[number % 4],
                member_id=reader.external_id,
                at=NOW - number * DAY,
            )
            for reader in readers
            for number in range(60)
        ),
        form="csv",
    )
    factories.embed_all_posts()


def generate_platform(tmp_path, import_rows):
    """Generate a platform of 60 members."""
    size = PlatformSize(members=60, posts=600, interactions=2_500, follows=300, blocks=5, mutes=5, seed=3)
    vectors = VectorSettings(TinyText().name, TinyText().dimension)
    generate(size=size, now=NOW, vectors=vectors, progress=ignore_progress)


def known_picks():
    """Return the picks of personalized members that they have interacted with, and the number of all picks."""
    invalidate.invalidate_all_slates()
    known, count = set(), 0
    for member in Member.objects.filter(
        is_active=True, interactions__isnull=False, privacy__is_personalized=True
    ).distinct():
        picks = {pick.post.id for pick in recommend(member_id=member.external_id, now=NOW, limit=20).picks}
        interactions = Interaction.objects.filter(member=member, post__external_id__in=picks)
        known |= set(interactions.values_list("member", "post"))
        count += len(picks)
    return known, count


@pytest.mark.parametrize("importer", [import_part_of_the_sample, import_files, generate_platform])
def test_no_member_is_recommended_a_post_that_they_interacted_with(importer, tmp_path, import_rows):
    importer(tmp_path, import_rows)
    learn.learn_all(now=NOW, progress=ignore_progress)
    known, count = known_picks()
    assert not known and count > 200
    # The retention of seen posts keeps those that a member interacted with, however long ago.
    retention.delete_old_seen(NOW + 999 * DAY)
    assert not known_picks()[0]
    SeenPost.objects.all().delete()
    NegativeFeedback.objects.all().delete()
    assert known_picks()[0], "without the effects of the import, members would be recommended what they know"
