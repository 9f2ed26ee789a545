"""
Every service that writes, run beside every other one on real connections: no write is lost.

One service is stopped just before its first write, after it has read what it needs. Then the other one runs until it is
done or waits for a lock. The outcome must be that of one service after the other. `WRITERS` lists the services; a
function that writes and that none of them runs fails `test_every_function_that_writes_is_run_beside_the_others`.
"""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import combinations_with_replacement
from uuid import UUID

import numpy as np
import pytest
import redis
from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import connection, models, transaction
from django.test import Client
from psycopg.types.json import Json

from access import keys, usage
from access.models import ApiKey, UsageAlert
from flags.experiments.privacy import erase_unit_exposures
from flags.experiments.rules import ExposedVariant
from flags.models import ChangeSubject, ExperimentPhase, PayloadVersion, PendingChange
from flags.services import approve, experiments, kill, rollouts
from flags.services.change import apply_change
from flags.services.erasure import erase_unit_from_segments
from flags.services.errors import FlagError
from flags.services.record import Actor
from monitoring import alertmanager, alerts, maintenance, notices
from monitoring.models import Alert, AlertRule, MaintenanceRun, Notice
from recommendations import task_queue
from recommendations.admin import base
from recommendations.contracts import Slate
from recommendations.models import (
    AuthorCrowd,
    ChangeLogEntry,
    ChangeLogMark,
    ChangeLogTruncation,
    EmbeddingFailure,
    EmbeddingModel,
    ErasureReceipt,
    FeedRequest,
    ImportCheckpoint,
    Job,
    JobChunk,
    Member,
    Post,
    RankingPolicy,
    SeenReport,
    TrainedModel,
    TrainedModelBlock,
)
from recommendations.services import policies, wiring, work
from recommendations.services.content import publish
from recommendations.services.content.import_file import import_file
from recommendations.services.content.ingest import ingest_items
from recommendations.services.errors import ServiceError
from recommendations.services.learning import co_likes, learn, reset, rings, seen_counts
from recommendations.services.learning.interact import Event, mark_seen, record_events
from recommendations.services.measuring import roll_up
from recommendations.services.members import erasure, export, follow_requests, preferences
from recommendations.services.members.profile_file.import_profile import import_profile
from recommendations.services.serving import records
from recommendations.services.training import trained_models
from recommendations.services.upkeep import retention
from recommendations.services.vectors import embedding, embedding_models
from recommendations.stores.redis_record_queue import BATCHES_KEY, WAITING_KEY
from tests import factories
from tests.admin_forms import submit_page
from tests.factories import NOW
from tests.write_calls import ROOT, find_write_calls

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
PERSON = Actor(system="test")
JOB_ID = UUID(int=1)
REQUEST_ID = UUID(int=2)
Writer = Callable[[], object]


# The rows that the writers work on


def create_world() -> None:
    """Create rows that each writer of `WRITERS` changes, adds to or deletes."""
    ann = factories.member("ann", languages=["en"], region="DE", at=NOW - HOUR)
    bob = factories.member("bob", at=NOW - HOUR)
    cay = factories.member("cay", privacy=False, at=NOW - HOUR)
    dan = factories.member("dan", is_private=True, at=NOW - HOUR)
    factories.relationship(bob, "follow_request", dan)
    first = factories.post(bob, "first", tags=["bread"], at=NOW - HOUR)
    second = factories.post(ann, "second", at=NOW - HOUR)
    factories.post(bob, "third", at=NOW - HOUR)
    factories.follow(ann, bob)
    factories.embed_all_posts()
    for number, (member, post) in enumerate([(ann, first), (bob, second)]):
        factories.interaction(member, post, at=NOW - HOUR, event_id=f"learned-{number}")
    learn.learn_interactions(member_ids=[ann.pk, bob.pk], now=NOW - HOUR)
    # Ann is a ring of one of Bob's, because newcomers are not most of those who react to most authors. It is the only
    # ring: each crowd is damped in a transaction of its own, and an interaction may be learned between two of them.
    AuthorCrowd.objects.filter(author=ann).update(others=5)
    for author in (cay, dan):
        AuthorCrowd.objects.create(author=author, day=NOW.date(), newcomers=0, others=5, changed_at=NOW - HOUR)
    event("hidden", kind="not_interested", post="third", target="author")
    event("liked", post="third", member="bob")
    event("followed", "follow", post="second", member="bob")
    record_events(events=[Event("undo-learned", "bob", undoes_event_id="learned-1")], now=NOW)
    EmbeddingFailure.objects.create(post=first, embedding_model="old", error="E", attempts=4, changed_at=NOW)
    SeenReport.objects.bulk_create([SeenReport(post_id=post.pk) for post in (first, second, first)])
    create_jobs(ann, bob)
    create_models()
    create_flags()
    create_receipt()
    ApiKey.objects.create(
        prefix="a" * keys.PREFIX_LENGTH, name="key", scopes=["feeds:read"], secret_hash=b"x", created_at=NOW
    )
    AlertRule.objects.all().delete()
    rule = AlertRule.objects.create(name="rule", metric="m", threshold=1, for_seconds=0)
    alert = Alert.objects.create(key="rule:0", rule=rule, name="rule", severity="low", state="firing", began_at=NOW)
    Notice.objects.create(alert=alert, channel="webhook", event="firing", due_at=NOW)
    RankingPolicy.objects.create(variant="tested", version=1, is_active=True)
    get_user_model().objects.create_superuser("root")
    get_user_model().objects.create_user("eve")
    Group.objects.get_or_create(name="Editor")


def create_receipt() -> None:
    """Create the receipt of a member whose rows were erased, and whose erasure can be finished."""
    receipt = ErasureReceipt(member_hash="h", member_number=10**9, requested_by="a test", requested_at=NOW - 60 * HOUR)
    receipt.erased_at, receipt.models_due_at = NOW - 59 * HOUR, NOW - 11 * HOUR
    receipt.sealed_member_id = wiring.seal().seal(b"gone", erasure.seal_context(receipt))
    receipt.save(force_insert=True)


def create_jobs(*members: Member) -> None:
    """Create a job with a chunk whose message is lost, one of a lost worker, a failed one, and one of two items."""
    job = Job.objects.create(pk=JOB_ID, kind="batch_feeds", state="running", total=3, failed=1, created_at=NOW - HOUR)
    Job.objects.filter(pk=JOB_ID).update(params={"member_ids": ["ann", "bob"], "post_ids": ["first"]})
    ids = [member.pk for member in members]
    lost = {"slot": 0, "publications": 1, "lost_after": NOW - HOUR}
    JobChunk.objects.create(job=job, number=0, item_ids=ids[:1], state="queued", **lost)
    JobChunk.objects.create(job=job, number=1, item_ids=ids[1:], state="running", attempts=3, leased_until=NOW - HOUR)
    JobChunk.objects.create(job=job, number=2, item_ids=ids[:1], state="failed", attempts=3)
    JobChunk.objects.create(job=job, number=3, item_ids=ids, state="running", attempts=1, leased_until=NOW + HOUR)
    Job.objects.create(pk=UUID(int=3), kind="batch_feeds", state="failed", total=1, failed=1, created_at=NOW - HOUR)
    JobChunk.objects.create(job_id=UUID(int=3), number=0, item_ids=ids[:1], state="failed", attempts=3)


def create_models() -> None:
    """Create two trained models, of which one is active, and an embedding model that is being built."""
    for pk, state in ((1, "retired"), (2, "active")):
        TrainedModel.objects.create(pk=pk, kind="item_weights", state=state, created_at=NOW - HOUR)
        TrainedModelBlock.objects.create(model_id=pk, name="a", position=0, data=b"x")
    EmbeddingModel.objects.create(
        space="content", name=wiring.embedder().name, embedder="tiny", dimension=8, created_at=NOW, changed_at=NOW
    )
    slate = np.array([1], "<i8").tobytes()
    FeedRequest.objects.create(
        id=UUID(int=9), member=Member.objects.get(external_id="ann"), feed="discovery", engine="plain",
        variant="control", policy_version=1, post_ids=slate, part_names=[], parts=b"", origins=b"", reasons=b"",
        created_at=NOW - 400 * 24 * HOUR,
    )  # fmt: skip


def create_flags() -> None:
    """Create a flag with a running plan, a segment, a running experiment and a change that waits for approval."""
    factories.flag("f", is_enabled=True, rollout_percentage=10)
    factories.flag("guarded", needs_approval=True)
    change("segment", "s", create=True, allowed_ids=["ann", "bob"], match="all")
    plan = {"flag": "f", "phases": [{"percentage": 20, "hours": 1}, {"percentage": 40, "hours": 1}]}
    change("plan", "p", create=True, **plan)
    rollouts.start(key="p", actor=PERSON, why="a test", now=NOW - 2 * HOUR)
    factories.experiment("f")
    change("flag", "guarded", is_enabled=True)
    exposure = records.exposure_record(exposed_variant(), Member.objects.get(external_id="ann").pk, "ann", 0.0)
    records.write_rows(list(filter(None, [records.read_record(exposure)])), NOW)


# The writers


def event(event_id: str, kind: str = "like", *, member: str = "ann", post: str = "first", **fields: object) -> object:
    """Record an event."""
    return record_events(events=[Event(event_id, member, post_id=post, kind=kind, occurred_at=NOW, **fields)], now=NOW)


def change(subject: str, key: str, *, create: bool = False, **patch: object) -> object:
    """Change a flag or what belongs to flags."""
    return apply_change(
        subject=ChangeSubject(subject), key=key, patch=patch, actor=PERSON, why="a test", now=NOW, create=create
    )


def pk_of(name: str) -> int:
    """Return the primary key of a member or post, or -1 if there is none."""
    found = (model.objects.filter(external_id=name).values_list("pk", flat=True).first() for model in (Member, Post))
    return next((pk for pk in found if pk is not None), -1)


def preference(**changes: object) -> object:
    return preferences.set_preferences(member_id="ann", changes=changes, now=NOW)


def relate(source: str, kind: str, target: str, *, is_on: bool = True, is_sent_by_member: bool = False) -> None:
    preferences.set_relationship(
        member_id=source, kind=kind, target_id=target, is_on=is_on, is_sent_by_member=is_sent_by_member, now=NOW
    )


def ingest_member(**fields: object) -> object:
    return ingest_items(kind="members", items=[{"id": "ann"} | fields], now=NOW)


def ingest_post(**fields: object) -> object:
    item = {"id": "first", "author_id": "bob", "visibility": "public", "created_at": "2026-05-01T00:00:00Z"}
    return ingest_items(kind="posts", items=[item | fields], now=NOW)


def import_words() -> object:
    file = {"format": "recsys-profile", "version": 1}
    parts = {
        "preferences": {"muted_words": ["imported"]},
        "relationships": {"block": ["cay"], "mute": ["bob"]},
        "seen": [{"post_id": "third", "seen_at": "2026-05-01T00:00:00Z"}],
        "negative_feedback": [
            {"target": "post", "post_id": "first", "event_id": "elsewhere", "created_at": "2026-05-01T00:00:00Z"}
        ],
    }
    return import_profile(member_id="ann", content=file | parts, now=NOW)


def import_rows(kind: str, text: str) -> object:
    """Import a file with this text."""
    path = ROOT / "var" / f"{threading.get_ident()}.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    try:
        return import_file(kind=kind, path=path, now=NOW, progress=lambda done, total: None)
    finally:
        path.unlink()


def exposed_variant() -> ExposedVariant:
    phase = ExperimentPhase.objects.get()
    return ExposedVariant(phase.experiment_id, phase.pk, "control", 0.5)


def write_served() -> object:
    """Write the records of a slate, a page, the inputs of the slate and an exposure."""
    ann, first = pk_of("ann"), pk_of("first")
    column = np.ones(1, np.uint16)
    slate = Slate(
        request_id=REQUEST_ID, engine="plain", variant="control", policy_version=1, fallback="",
        built_at=NOW.timestamp(), candidate_count=1, post_ids=np.array([first]), scores=np.ones(1, np.float32),
        origins=column, reasons=column,
    )  # fmt: skip
    packed = [
        *records.slate_records(slate, ann, "discovery", 1.0),
        records.inputs_record(REQUEST_ID, NOW.timestamp(), b"packed"),
        records.page_record(REQUEST_ID, ann, 0, [first], NOW.timestamp()),
        records.exposure_record(exposed_variant(), ann, "ann", NOW.timestamp()),
    ]
    return records.write_rows(list(filter(None, map(records.read_record, packed))), NOW)


def fail_embedding() -> None:
    embedding.record_embedding_failure(Post(pk=pk_of("third")), "tiny", "E", NOW)


def process_chunk(*, fails: bool = False) -> object:
    """Process the queued chunk, without the work itself."""
    chunk = work.claim_chunk(JOB_ID, 0, NOW)
    if chunk is None:
        return None
    work.set_job_result(chunk, {"stage": "a test"})
    return work.release_chunk(chunk, "E", NOW) if fails else work.complete_chunk(chunk, "done", [], NOW)


def split_chunk() -> None:
    if chunk := JobChunk.objects.filter(job=JOB_ID, number=3).first():
        work.release_chunk(chunk, "E", NOW)


def stop_chunk() -> None:
    if chunk := work.claim_chunk(JOB_ID, 0, NOW):
        work.stop_chunk(chunk, NOW)


def submit_job() -> object:
    return work.submit_job(kind="batch_feeds", params={"member_ids": ["ann"]}, now=NOW, idempotency_key="key")


def step(service: Callable[..., object], key: str, **options: object) -> object:
    return service(key=key, actor=PERSON, why="a test", now=NOW, **options)


def decide(service: Callable[..., object]) -> object:
    user = get_user_model().objects.get(username="root")
    return service(pending_id=PendingChange.objects.get().pk, user=user, now=NOW)


def alertmanager_alert(*, is_firing: bool) -> None:
    alert = {"key": "alertmanager:1", "name": "a", "severity": "low", "summary": "", "labels": {}, "began_at": NOW}
    alertmanager.record_alerts([alert | {"is_firing": is_firing}], NOW)


def compare_rule(value: float) -> None:
    alerts.update_alert(AlertRule.objects.get(), value, NOW)


def run_maintenance() -> object:
    if not maintenance.claim_maintenance_task("task", NOW, HOUR):
        return None
    return maintenance.record_maintenance_run("task", NOW, MaintenanceRun.Outcome.DONE, seconds=0)


def staff_client() -> Client:
    """Return a client that is signed in as the superuser."""
    client = Client()
    client.force_login(get_user_model().objects.get(username="root"))
    return client


def submit_until_saved(url: str, form: dict[str, object]) -> None:
    """
    Open a page of the admin, and submit its form.

    If the row was changed after the page was opened, the form says so, and the page is opened again.
    """
    client = staff_client()
    while (response := submit_page(client, url, form)).status_code == 200:
        assert "was changed after you opened the page" in response.content.decode()


def submit_member_page() -> None:
    """Save the page of a member with another region."""
    ann = Member.objects.filter(external_id="ann").first()
    if ann is None:
        return
    form = {
        "external_id": "ann", "languages": '["en"]', "region": "AT", "is_active": "on", "created_at_0": "2026-06-01",
        "created_at_1": "11:00:00", "privacy-TOTAL_FORMS": "0", "privacy-INITIAL_FORMS": "0",
    }  # fmt: skip
    submit_until_saved(f"/admin/recommendations/member/{ann.pk}/change/", form)


def submit_user_page() -> None:
    """Save the page of a user with another address and a role."""
    role = Group.objects.get(name="Editor")
    form = {"username": "eve", "email": "eve@example.com", "is_active": "on", "groups": [role.pk]}
    submit_until_saved(f"/admin/auth/user/{user_pk('eve')}/change/", form)


def submit_role_page() -> None:
    """Save the page of a role with one permission."""
    permission = Permission.objects.get(codename="view_member")
    url = f"/admin/auth/group/{Group.objects.get(name='Editor').pk}/change/"
    submit_until_saved(url, {"name": "Editor", "permissions": [permission.pk]})


def set_password() -> None:
    """Set the password of a user in the admin."""
    password = "correct horse battery staple"
    form = {"usable_password": "true", "password1": password, "password2": password}
    response = staff_client().post(f"/admin/auth/user/{user_pk('eve')}/password/", form)
    assert response.status_code == 302


def submit_policy_page() -> None:
    """Save a new version of a policy in the admin, and use it."""
    client, url = staff_client(), "/admin/recommendations/rankingpolicy/add/"
    response = None
    while response is None or response.status_code == 200:  # until no other version was activated meanwhile
        form = client.get(url, {"from": RankingPolicy.objects.get(variant="tested", is_active=True).pk})
        values = {key: value for key, value in form.context["adminform"].form.initial.items() if value is not None}
        response = client.post(url, values | {"note": "from the admin", "activate": "on"})


def export_csv() -> None:
    """Export a list of the admin, which records the export."""
    form = {"action": "export_csv", "_selected_action": [RankingPolicy.objects.order_by("pk")[0].pk]}
    response = staff_client().post("/admin/recommendations/rankingpolicy/", form)
    assert b"".join(response.streaming_content)


def user_pk(name: str) -> int:
    return get_user_model().objects.get(username=name).pk


WRITERS: dict[str, Writer] = {
    # Members
    "mute a word": lambda: preference(muted_words=["noise"]),
    "withdraw consent": lambda: preference(is_personalized=False),
    "choose languages": lambda: preference(languages=["de"]),
    "set preferences of a member without settings": lambda: preferences.set_preferences(
        member_id="cay", changes={"is_private": False}, now=NOW
    ),
    "reset interests": lambda: preferences.reset_interests(member_id="ann", now=NOW),
    "follow": lambda: relate("cay", "follow", "ann"),
    "unfollow": lambda: relate("ann", "follow", "bob", is_on=False),
    "block": lambda: relate("ann", "block", "cay"),
    "request a follow": lambda: relate("cay", "follow", "dan", is_sent_by_member=True),
    "withdraw a request": lambda: relate("bob", "follow", "dan", is_on=False),
    "approve a request": lambda: follow_requests.approve_follow_request(member_id="dan", requester_id="bob"),
    "decline a request": lambda: follow_requests.decline_follow_request(member_id="dan", requester_id="bob"),
    "block a requester": lambda: relate("dan", "block", "bob"),
    "open an account": lambda: preferences.set_preferences(member_id="dan", changes={"is_private": False}, now=NOW),
    "import a profile": import_words,
    "upsert privacy": lambda: ingest_member(is_private=True, muted_words=["upserted"]),
    "upsert consent": lambda: ingest_member(is_personalized=False),
    "upsert a region": lambda: ingest_member(region="FR", is_adult=True),
    "upsert a new member": lambda: ingest_items(kind="members", items=[{"id": "new", "region": "FR"}], now=NOW),
    "deactivate": lambda: publish.set_members_active(member_ids=[pk_of("ann")], is_active=False, now=NOW),
    "save a member in the admin": submit_member_page,
    "export a member": lambda: export.export_member(job_id=JOB_ID, member_pk=pk_of("ann"), now=NOW),
    "erase a member": lambda: erasure.erase_members(member_ids=[pk_of("bob")], now=NOW),
    "accept an erasure": lambda: erasure.begin_erasures(
        member_ids=[pk_of("ann")], job_id=None, requested_by="a test", now=NOW
    ),
    "finish erasures": lambda: erasure.finish_erasures(now=NOW),
    "forget an author": lambda: reset.forget_author(pk_of("bob")),
    # Posts
    "upsert tags": lambda: ingest_post(tags=["wine"]),
    "upsert a text": lambda: ingest_post(text="another text"),
    "import posts": lambda: import_rows("posts", "id,author_id,visibility,created_at\nfirst,bob,private,2026-05-01\n"),
    "import relationships": lambda: import_rows("relationships", "source_id,target_id,kind\ncay,bob,mute\n"),
    "remove a post": lambda: publish.remove_posts(post_ids=[pk_of("first")], now=NOW),
    "restore a post": lambda: publish.restore_posts(post_ids=[pk_of("first")], now=NOW),
    "mark as changed": lambda: publish.mark_changed(post_ids=[pk_of("first")], member_ids=[pk_of("ann")], now=NOW),
    "erase a post": lambda: erasure.erase_posts(post_ids=[pk_of("first")], now=NOW),
    # Events and learning
    "like": lambda: event("new-like"),
    "follow by an event": lambda: event("new-follow", "follow", member="cay", post="second"),
    "hide": lambda: event("new-hide", "not_interested", target="topic"),
    "undo": lambda: record_events(events=[Event("undo", "ann", undoes_event_id="new-hide")], now=NOW),
    "undo a learned like": lambda: record_events(events=[Event("undo-0", "ann", undoes_event_id="learned-0")], now=NOW),
    "undo a follow": lambda: record_events(events=[Event("undo-1", "cay", undoes_event_id="new-follow")], now=NOW),
    "undo an old follow": lambda: record_events(events=[Event("undo-2", "bob", undoes_event_id="followed")], now=NOW),
    "see posts": lambda: mark_seen(member_id="ann", post_ids=["first", "third"], now=NOW),
    "learn": lambda: learn.learn_interactions(member_ids=[pk_of("ann"), pk_of("bob")], now=NOW),
    "rebuild interests": lambda: learn.rebuild_interests(member_id=pk_of("ann"), now=NOW),
    "damp rings": lambda: rings.damp_rings(now=NOW),
    "report seen posts": lambda: seen_counts.store_seen_posts(pk_of("cay"), [pk_of("first"), pk_of("second")], NOW),
    "count seen posts": lambda: seen_counts.count_seen(now=NOW),
    "count co-likes": lambda: co_likes.count_changes(now=NOW),
    "recount co-likes": lambda: co_likes.recount(now=NOW),
    # Vectors and models
    "embed posts": lambda: embedding.embed_posts(
        embedder=wiring.embedder(), now=NOW, post_ids=[pk_of("first"), pk_of("third")]
    ),
    "fail to embed": fail_embedding,
    "retry an embedding": lambda: embedding.retry_failures(
        failure_ids=list(EmbeddingFailure.objects.values_list("pk", flat=True)), now=NOW
    ),
    "build an embedding model": lambda: embedding_models.embed_due_posts(now=NOW),
    "supply vectors": lambda: embedding_models.store_vectors(
        space="image", model="clip", post_ids=["first"], vectors=np.ones((1, 8)), now=NOW
    ),
    "supply vectors of another model": lambda: embedding_models.store_vectors(
        space="image", model="other", post_ids=["third"], vectors=np.ones((1, 8)), now=NOW
    ),
    "activate a trained model": lambda: trained_models.activate_model(model_id=1, now=NOW),
    "roll a trained model back": lambda: trained_models.roll_back(model_id=2, now=NOW),
    "forget trained models": lambda: trained_models.forget_models(trained_before=NOW, is_due=True, now=NOW),
    "delete old arrays": lambda: trained_models.delete_old_arrays(now=NOW),
    "put a policy": lambda: policies.put_policy(variant="tested", settings={"taste": 2}, note="", version=1),
    "put another policy": lambda: policies.put_policy(variant="tested", settings={"taste": 3}, note="", version=None),
    "put the first policy of a variant": lambda: policies.put_policy(variant="new", settings={}, note="", version=0),
    "copy a policy": lambda: policies.activate_copies(list(RankingPolicy.objects.filter(variant="tested", version=1))),
    "save a policy in the admin": submit_policy_page,
    # Staff
    "save a user in the admin": submit_user_page,
    "save a role in the admin": submit_role_page,
    "set a password in the admin": set_password,
    "export a list of the admin": export_csv,
    # Jobs
    "submit a job": submit_job,
    "cancel a job": lambda: work.cancel_job(job_id=JOB_ID, now=NOW),
    "expire a job": lambda: work.expire_job(Job.objects.get(pk=JOB_ID), NOW),
    "retry a job": lambda: work.retry_job(job_id=UUID(int=3), now=NOW),
    "process a chunk": process_chunk,
    "process another chunk": lambda: work.process_chunk(job_id=JOB_ID, number=0, now=NOW),
    "fail a chunk": lambda: process_chunk(fails=True),
    "split a chunk": split_chunk,
    "stop a chunk": stop_chunk,
    "reconcile jobs": lambda: work.reconcile_jobs(now=NOW),
    # Records and upkeep
    "write served pages": write_served,
    "roll up an hour": lambda: roll_up.roll_up_hour(NOW - HOUR),
    "delete expired records": lambda: retention.delete_expired_records(now=NOW),
    # Flags
    "change a flag": lambda: change("flag", "f", description="changed"),
    "set a percentage": lambda: change("flag", "f", rollout_percentage=70),
    "request an approval": lambda: change("flag", "guarded", description="requested"),
    "create a flag": lambda: change("flag", "new", create=True, kind="bool"),
    "turn a flag off": lambda: step(kill.kill_flag, "f"),
    "change a segment": lambda: change("segment", "s", allowed_ids=["ann", "bob", "cay"]),
    "erase a member from segments": lambda: erase_unit_from_segments(unit_id="ann", now=NOW),
    "erase exposures": lambda: erase_unit_exposures(unit_id="ann", until=NOW),
    "pause a plan": lambda: step(rollouts.pause, "p"),
    "advance the plans": lambda: rollouts.advance(now=NOW),
    "approve": lambda: decide(approve.approve),
    "reject": lambda: decide(approve.reject),
    "widen an experiment": lambda: step(experiments.pause, "trial"),
    "begin a phase": lambda: step(experiments.begin_phase, "trial", weights={"control": 20, "treatment": 80}),
    "finish an experiment": lambda: step(experiments.finish, "trial", decision="control"),
    # Keys and alerts
    "rotate a key": lambda: keys.rotate(prefix="a" * keys.PREFIX_LENGTH, old_secret_expires_at=NOW, now=NOW),
    "revoke a key": lambda: keys.revoke(prefix="a" * keys.PREFIX_LENGTH, now=NOW),
    "use a key": lambda: keys.load_key("a" * keys.PREFIX_LENGTH, NOW),
    "raise a usage alert": lambda: usage.raise_usage_alert(
        "caller", usage.UsageAnomaly(UsageAlert.Kind.SPIKE, 9, 1.0), NOW
    ),
    "open an alert": lambda: compare_rule(9),
    "close an alert": lambda: compare_rule(0),
    "evaluate the rules": lambda: alerts.evaluate_rules(now=NOW),
    "resolve alerts": lambda: alerts.resolve_alerts(Alert.objects.all(), NOW),
    "receive a firing alert": lambda: alertmanager_alert(is_firing=True),
    "receive a resolved alert": lambda: alertmanager_alert(is_firing=False),
    "send notices": lambda: notices.send_due_notices(now=NOW),
    "run a maintenance task": run_maintenance,
}
"""The services that write, by what they do."""

NOT_RUN = {
    "access/admin.py": {"mark_reviewed": "an action of the admin: one statement", "save_model": "adds a key"},
    "access/keys.py": {"create": "adds a row"},
    "access/management/commands/key.py": {"create_key": "adds a row"},
    "access/management/commands/reset_second_factor.py": {"handle": "a command of the operator: one statement"},
    "flags/analysis/interim_analysis.py": {"save_analysis": "adds rows"},
    "flags/models/guarded.py": {"bulk_update": "a guard, which refuses the call"},
    "monitoring/admin.py": {"acknowledge_all": "an action of the admin: one statement"},
    "recommendations/roles.py": {"create_roles": "runs at a deployment"},
    "recommendations/services/content/generate.py": dict.fromkeys(
        ("insert_people", "insert_posts", "insert_vectors"), "fills an empty database"
    ),
    "recommendations/services/content/import_movielens.py": dict.fromkeys(
        ("add_members", "add_posts"), "fills an empty database"
    ),
    "recommendations/services/evaluating/rank_cases.py": dict.fromkeys(
        ("rank_cases", "store_vectors"), "writes to a copy or a file"
    ),
    "recommendations/services/measuring/evaluations.py": {"store_evaluation": "adds rows"},
    "recommendations/services/members/profile_file/import_profile.py": {
        "create_interest_profile": "adds a row under the member's lock, which the other parts of the import test"
    },
    "recommendations/services/serving/recommend.py": {"check_page": "writes to a cache"},
    "recommendations/services/serving/refresh.py": {"rebuild_slate": "writes to a cache"},
    "recommendations/services/training/train.py": dict.fromkeys(
        ("fail_model", "publish_model", "train"), "writes rows of its own"
    ),
    "recommendations/services/upkeep/trim_change_log.py": {"trim_change_log": "deletes what nobody changes"},
    "recommendations/services/vectors/archive.py": {"archive_model_vectors": "deletes what nobody changes"},
    "recommendations/services/vectors/reindexing.py": dict.fromkeys(("reindex", "sync_space"), "one statement"),
    "recommendations/services/wiring.py": {"create_engines": "one statement"},
    "recommendations/services/work.py": {"renew": "one statement"},
    "recommendations/stores/change_log.py": dict.fromkeys(
        ("install_triggers", "invalidate_all_processes"), "runs at a deployment"
    ),
    "recommendations/stores/trained_models.py": {"store_arrays": "writes rows of its own"},
}
"""Functions with a call that writes which no writer runs, by file, each with the reason."""


# Running two writers


VOLATILE = {
    (ApiKey, "secret_hash"),
    (ApiKey, "old_secret_hash"),
    (ImportCheckpoint, "id"),
    (RankingPolicy, "created_at"),
    (JobChunk, "job"),
    (JobChunk, "claim_id"),
    (get_user_model(), "last_login"),
    (get_user_model(), "password"),
    (get_user_model(), "date_joined"),
    *((ErasureReceipt, name) for name in ("sealed_member_id", "erased_at", "models_due_at")),
}
"""Columns that are random or follow the clock. The number of a chunk and its items tell which job it is of."""
IGNORED_MODELS = {
    *(ChangeLogEntry, ChangeLogMark, ChangeLogTruncation, PayloadVersion),
    *apps.get_app_config("admin").get_models(),
    *apps.get_app_config("sessions").get_models(),
}


def all_models() -> list[type[models.Model]]:
    return apps.get_models(include_auto_created=True)


def read_state() -> dict[str, list[str]]:
    """Return the rows of every table, without generated keys, in an order of their own."""
    state = {}
    for model in all_models():
        if model in IGNORED_MODELS:
            continue
        columns = [
            field.attname
            for field in model._meta.concrete_fields
            if (model, field.name) not in VOLATILE
            and not (field.primary_key and (isinstance(field, models.AutoField) or field.has_default()))
        ]
        rows = model._base_manager.order_by().values_list(*columns)
        state[model._meta.label] = sorted(
            # The row of a member who is being erased has the number of the receipt, which is random.
            re.sub(r"erasing:[0-9a-f-]+", "erasing", repr([bytes(v) if isinstance(v, memoryview) else v for v in row]))
            for row in rows
        )
    return state


class Snapshot:
    """The rows of all tables, to which the database is set back."""

    def __init__(self) -> None:
        self.tables = {model._meta.db_table: self.read(model._meta.db_table) for model in all_models()}

    def read(self, table: str) -> tuple[list[str], list[tuple[object, ...]]]:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            return [column[0] for column in cursor.description], cursor.fetchall()

    def restore(self) -> None:
        """Set every table back. Foreign keys are checked at the end of the transaction."""
        quote = connection.ops.quote_name
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL session_replication_role = replica")
            for table in self.tables:
                cursor.execute(f"DELETE FROM {quote(table)}")
            for table, (columns, rows) in self.tables.items():
                if rows:
                    names = ", ".join(map(quote, columns))
                    marks = ", ".join(["%s"] * len(columns))
                    sql = f"INSERT INTO {quote(table)} ({names}) VALUES ({marks})"
                    cursor.executemany(sql, [[adapt(value) for value in row] for row in rows])
        keys.clear_key_cache()
        with redis.Redis.from_url(settings.ENV.redis_url) as broker:
            broker.delete(WAITING_KEY, BATCHES_KEY)


def adapt(value: object) -> object:
    """Return a value in a form that the driver accepts."""
    if connection.vendor == "postgresql" and isinstance(value, dict | list):
        return Json(value)
    return value


def run_writer(name: str) -> str:
    """Run a writer. Return "done", or the refusal with its type."""
    try:
        WRITERS[name]()
    except (ServiceError, FlagError, Member.DoesNotExist, PendingChange.DoesNotExist) as error:
        return type(error).__name__
    return "done"


Outcome = tuple[dict[str, list[str]], dict[int, str]]
"""The rows, and the result of the first and the second writer."""


def run_serially(snapshot: Snapshot, names: tuple[str, str], order: tuple[int, int]) -> Outcome:
    """Run two writers one after the other. Return the outcome."""
    snapshot.restore()
    results = {position: run_writer(names[position]) for position in order}
    return read_state(), results


class PausedWriter(threading.Thread):
    """A writer that stops before its first write until it is released."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.writer, self.result, self.error = name, "", None
        self.is_paused, self.may_write = threading.Event(), threading.Event()

    def run(self) -> None:
        try:
            with connection.execute_wrapper(self.pause):
                self.result = run_writer(self.writer)
        except BaseException as error:
            self.error = error
        finally:
            self.is_paused.set()
            connection.close()

    def pause(self, execute, sql, params, many, context):
        if not self.is_paused.is_set() and sql.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE", "CREATE")):
            self.is_paused.set()
            assert self.may_write.wait(60)
        return execute(sql, params, many, context)


def run_beside_each_other(snapshot: Snapshot, names: tuple[str, str]) -> Outcome:
    """Stop the first writer before it writes, run the second until it is done or blocked, and let the first go on."""
    snapshot.restore()
    first, second = PausedWriter(names[0]), PausedWriter(names[1])
    second.may_write.set()
    first.start()
    assert first.is_paused.wait(60)
    second.start()
    wait_until_done_or_blocked(second)
    first.may_write.set()
    for thread in (first, second):
        thread.join(60)
        assert not thread.is_alive()
        if thread.error:
            raise thread.error
    return read_state(), {0: first.result, 1: second.result}


def wait_until_done_or_blocked(thread: threading.Thread) -> None:
    """Wait until the thread has ended, or waits for a lock of the other one."""
    deadline = time.monotonic() + (0.05 if connection.vendor == "sqlite" else 10)
    while thread.is_alive() and time.monotonic() < deadline:
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                if cursor.fetchone()[0]:
                    return
        thread.join(0.005)


@pytest.fixture
def snapshot(fresh_wiring, monkeypatch):
    """Create the rows, and let no task start."""
    monkeypatch.setattr(task_queue, "publish", lambda *arguments: None)
    monkeypatch.setattr(notices, "post_json", lambda url, body: None)
    monkeypatch.setitem(work.KINDS, "batch_feeds", work.JobKind("batch_feeds", lambda chunk, items, now: []))
    monkeypatch.setattr(base, "now", lambda: NOW)
    monkeypatch.setattr(work, "monotonic", lambda: 0.0)
    monkeypatch.setattr(rings, "FREE_NEWCOMERS", 0)
    monkeypatch.setattr(alerts.gauges, "gauge_values", lambda name, labels, now: [9.0])
    create_world()
    return Snapshot()


def find_lost_writes(snapshot: Snapshot, pairs: Iterator[tuple[str, str]]) -> list[str]:
    """Return the pairs whose outcome is not that of one writer after the other, with the tables that differ."""
    lost = []
    for pair in pairs:
        serial = [run_serially(snapshot, pair, order) for order in ((0, 1), (1, 0))]
        for names in {pair, pair[::-1]}:
            state, results = run_beside_each_other(snapshot, names)
            if names != pair:
                results = {0: results[1], 1: results[0]}
            if (state, results) not in serial:
                lost.append(f"{names[0]} | {names[1]}: {describe_difference(state, results, serial)}")
    return lost


def describe_difference(state: dict[str, list[str]], results: dict[int, str], serial: list[Outcome]) -> str:
    """Return the results and the rows that differ from each serial order."""
    tables = [
        [f"{name}: {set(rows) ^ set(expected[name])}" for name, rows in state.items() if rows != expected[name]]
        for expected, _ in serial
    ]
    return f"{results} instead of {[expected for _, expected in serial]}; {tables}"


# Tests


LOST_BEFORE = [
    ("mute a word", "upsert privacy"),
    ("withdraw consent", "upsert privacy"),
    ("choose languages", "upsert a region"),
    ("mute a word", "import a profile"),
    ("save a member in the admin", "choose languages"),
    ("remove a post", "upsert tags"),
    ("upsert a text", "embed posts"),
    ("undo", "hide"),
    ("follow", "block"),
    ("put a policy", "put another policy"),
    ("submit a job", "submit a job"),
    ("upsert a new member", "upsert a new member"),
    ("cancel a job", "process a chunk"),
    ("cancel a job", "split a chunk"),
    ("cancel a job", "fail a chunk"),
    ("process a chunk", "process another chunk"),
    ("process a chunk", "reconcile jobs"),
    ("change a segment", "erase a member from segments"),
    ("pause a plan", "turn a flag off"),
    ("create a flag", "create a flag"),
    ("supply vectors", "supply vectors of another model"),
    ("write served pages", "write served pages"),
    ("learn", "reset interests"),
    ("learn", "count seen posts"),
    ("count seen posts", "count seen posts"),
    ("count co-likes", "recount co-likes"),
    ("approve", "reject"),
    ("approve a request", "block a requester"),
    ("approve a request", "decline a request"),
    ("request a follow", "open an account"),
    ("learn", "forget an author"),
    ("like", "erase a member"),
    ("change a segment", "accept an erasure"),
    ("activate a trained model", "forget trained models"),
    ("save a user in the admin", "set a password in the admin"),
    ("save a policy in the admin", "put another policy"),
    ("copy a policy", "put another policy"),
    ("learn", "damp rings"),
]
"""Pairs that lost a write or failed, or are the nearest to one that did."""


def test_no_write_is_lost_when_two_services_run_at_once(snapshot):
    lost = find_lost_writes(snapshot, iter(LOST_BEFORE))
    assert not lost, "\n".join(lost)


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(len(WRITERS)), ids=list(WRITERS))
def test_no_pair_of_services_loses_a_write(snapshot, first):
    pairs = combinations_with_replacement(WRITERS, 2)
    lost = find_lost_writes(snapshot, (pair for pair in pairs if pair[0] == list(WRITERS)[first]))
    assert not lost, "\n".join(lost)


def test_every_function_that_writes_is_run_beside_the_others(snapshot):
    """Each function with a call that writes is run by a writer of the list, or named with the reason why not."""
    called: set[tuple[str, str]] = set()

    def record_call(frame, event, _argument):
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            called.add((frame.f_code.co_filename.removeprefix(f"{ROOT}/"), frame.f_code.co_name))

    for name in WRITERS:
        snapshot.restore()
        sys.setprofile(record_call)
        try:
            run_writer(name)
        finally:
            sys.setprofile(None)
    writing = {(call.file, call.function) for call in find_write_calls()}
    not_run = {(file, function) for file, functions in NOT_RUN.items() for function in functions}
    assert writing - called == not_run
