"""
The examples on the page of the API are requests that were sent and answers that came: `make examples` writes them anew.

`day` is an integrator's, in order. The tests live through it again: every request does what its example says, every
answer has the example's form, and no operation is without.
"""

import base64
import json
import os
from io import BytesIO
from urllib.parse import quote, urlencode
from uuid import UUID

import jsonschema
import pytest
from django.contrib.auth.models import User
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from PIL import Image

from access import keys
from access.scopes import Scope
from flags.analysis import interim_analysis
from monitoring import clock
from recommendations.api import feeds, spaces
from recommendations.models import Job, Member
from recommendations.services import wiring, work
from recommendations.services.errors import FactsUnavailable
from recommendations.services.learning import learn
from recommendations.services.serving import records
from recsys_project.openapi import EXAMPLES, PROBLEM_CONTENT_TYPE
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
READER, AUTHOR = "42", "3"
SMALL, LARGE = 3, 6_000_000


@pytest.fixture(scope="module")
def description():
    return json.loads(json.dumps(SchemaGenerator().get_schema(public=True), default=str))


class ExampleRecorder:
    """Sends what an operation is to be sent, and notes request and answer."""

    def __init__(self, description):
        operations = {
            operation["operationId"]: (method, path)
            for path, methods in description["paths"].items()
            for method, operation in methods.items()
        }
        self.addresses, self.noted, self.problems = operations, {}, {}
        _, self.secret = keys.create(name="example", scopes=list(Scope), now=clock.now())

    def send(self, operation, body=None, *, secret=None, client=None, headers=None, query=None, **ids):
        method, path = self.addresses[operation]
        address = path.format(**{name: quote(str(value)) for name, value in ids.items()})
        given = {} if client else {"Authorization": f"Bearer {self.secret if secret is None else secret}"}
        options = {"content_type": "application/json", "data": json.dumps(body)} if body is not None else {}
        address += f"?{urlencode(query, doseq=True)}" if query else ""
        return getattr(client or Client(raise_request_exception=False), method)(
            address, headers=given | (headers or {}), **options
        )

    def __call__(self, operation, status, body=None, **how):
        """Send, note, and return the answer."""
        answer = self.send(operation, body, **how)
        text = answer.getvalue().decode()
        assert answer.status_code == status, (operation, answer.status_code, text)
        noted = self.noted.setdefault(operation, {"responses": {}})
        if body is not None:
            noted.setdefault("request", body)
        if not text:
            return None
        if answer["Content-Type"].startswith("text/event-stream"):
            found = dict(line.split(": ", 1) for line in text.split("\n\n")[0].splitlines())
        else:
            found = json.loads(text)
        noted["responses"].setdefault(str(status), found)
        return found

    def problem(self, operation, status, body=None, **how):
        """Send what is refused, and note the problem."""
        answer = self.send(operation, body, **how)
        assert (answer.status_code, answer["Content-Type"]) == (status, PROBLEM_CONTENT_TYPE), (
            operation,
            answer.content,
        )
        self.problems.setdefault(str(status), answer.json())


def run_job(job_id):
    """Do a job's chunks, as a worker does."""
    for chunk in Job.objects.get(pk=job_id).chunks.all():
        work.process_chunk(job_id=UUID(str(job_id)), number=chunk.number, now=clock.now())


def integrator_day(tell, monkeypatch):
    """Live an integrator's day."""
    content(tell)
    serve_feed(tell)
    search_posts(tell, monkeypatch)
    save_profile(tell)
    run_jobs(tell)
    change_flags(tell)
    try_experiment(tell)
    refused_requests(tell, monkeypatch)
    tell("remove_post", 204, post_id="9")
    tell("erase_member", 202, member_id=READER)


def content(tell):
    people = [
        {"id": AUTHOR, "is_private": False, "languages": ["en", "de"], "region": "DE"},
        {"id": READER, "is_private": True, "is_adult": True, "sensitivity": "sensitive"},
    ]
    tell("upsert_members", 200, {"members": people})
    tell("upsert_members", 207, {"members": [{"id": "43"}]})
    tell("upsert_member", 201, {"is_private": False, "languages": ["fr"]}, member_id="43")
    tell("upsert_member", 200, {"is_private": True, "languages": ["fr"]}, member_id="43")
    tell("list_members", 200, query={"prefix": "4", "limit": 5})
    tell("read_member", 200, member_id=READER)
    moment = clock.now().replace(microsecond=0).isoformat().replace("+00:00", "Z")
    lighthouse = {
        "id": "7",
        "author_id": AUTHOR,
        "visibility": "public",
        "created_at": moment,
        "text": "A film about a lighthouse",
        "kind": "image",
        "language": "en",
        "tags": ["drama"],
        "media": [{"kind": "image", "url": "https://example.org/7.jpg", "alt": "A lighthouse at dusk"}],
        "safety_labels": {"violence": 0.1},
    }
    tell("upsert_posts", 200, {"posts": [lighthouse]})
    tell("upsert_posts", 207, {"posts": [lighthouse | {"author_id": "nobody"}]})
    other = {"author_id": AUTHOR, "visibility": "public", "created_at": moment, "text": "Keepers of the lighthouse"}
    tell("upsert_post", 201, other, post_id="8")
    tell("upsert_post", 200, other | {"tags": ["documentary"]}, post_id="8")
    for name, text in (("9", "Bread for beginners"), ("10", "A lighthouse in winter"), ("11", "Ships that pass")):
        tell("upsert_post", 201, other | {"text": text}, post_id=name)
    tell("read_post", 200, post_id="7")
    factories.embed_all_posts(at=clock.now())
    acts = [
        {"event_id": "e-1", "member_id": READER, "post_id": "7", "kind": "like"},
        {"event_id": "e-2", "member_id": READER, "post_id": "8", "kind": "dwell", "value": 12.5, "occurred_at": moment},
    ]
    tell("record_interactions", 200, {"events": acts})
    wrong = {"event_id": "e-3", "member_id": READER, "post_id": "nothing", "kind": "like"}
    tell("record_interactions", 207, {"events": [acts[0], wrong]})
    less = {"event_id": "e-4", "member_id": READER, "post_id": "9", "kind": "not_interested", "target": "topic"}
    tell("record_interactions", 200, {"events": [less]})
    learn.learn_interactions(member_ids=[Member.objects.get(external_id=READER).pk], now=clock.now())
    tell("create_relationship", 204, member_id=READER, kind="follow", target_id=AUTHOR)
    tell("delete_relationship", 204, member_id=READER, kind="follow", target_id=AUTHOR)


def serve_feed(tell):
    page = tell("read_feed", 200, member_id=READER, query={"limit": 2, "explain": "true"})
    records.record_served(now=clock.now())
    asked = {
        "request_id": page["request_id"],
        "post_id": page["picks"][0]["post"]["id"],
        "query": {"viewer_id": READER},
    }
    tell("explain", 200, **asked)
    tell("list_similar_posts", 200, post_id="7", query={"viewer_id": READER, "limit": 1})
    tell("mark_seen", 200, {"post_ids": ["7", "8"]}, member_id=READER)
    tell("list_show_less_effects", 200, member_id=READER)


def search_posts(tell, monkeypatch):
    vectors = [{"post_id": name, "vector": [0.0] * n + [1.0] + [0.0] * (7 - n)} for n, name in enumerate("789")]
    tell("store_vectors", 200, {"embedding_model": "own-1", "vectors": vectors}, space="photo")
    wiring.sync_embedding_models(clock.now(), must_be_current=True)  # which every process does within a second
    asked = {"viewer_id": READER, "space": "photo", "vector": vectors[0]["vector"], "limit": 1}
    tell("search_by_vector", 200, asked)
    tell("search", 200, query={"viewer_id": READER, "space": "photo", "post_id": "7", "limit": 1})
    picture = BytesIO()
    Image.new("RGB", (SMALL, SMALL), "navy").save(picture, "PNG")
    body = {"pictures": [{"post_id": "7", "image": base64.b64encode(picture.getvalue()).decode()}]}
    with monkeypatch.context() as patch:
        # A model that looks at pictures is some 100 MB: its own tests are in test_pictures.py.
        patch.setattr(spaces, "store_pictures", lambda **_: [])
        tell("store_pictures", 200, body, space="image")


def save_profile(tell):
    tell("read_preferences", 200, member_id=READER)
    tell("update_preferences", 200, {"muted_words": ["war"], "languages": ["en"]}, member_id=READER)
    file = tell("export_profile", 200, member_id=READER)
    tell("import_profile", 200, file, member_id=READER)
    gone = file | {"seen": [{"post_id": "gone", "seen_at": file["exported_at"]}]}
    tell("import_profile", 207, gone, member_id=READER)
    tell("reset_profile", 204, member_id="43")


def run_jobs(tell):
    job = tell("submit_job", 202, {"kind": "member_feed", "params": {"member_ids": [READER]}})
    run_job(job["id"])
    tell("read_job", 200, job_id=job["id"])
    tell("stream_job_events", 200, job_id=job["id"])
    export = tell("submit_job", 202, {"kind": "export_members", "params": {"member_ids": [READER]}})
    run_job(export["id"])
    tell("read_job_result", 200, job_id=export["id"])
    tell("list_jobs", 200, query={"limit": 1})
    other = tell("submit_job", 202, {"kind": "batch_feeds"})
    tell("cancel_job", 200, job_id=other["id"])
    tell("retry_job", 202, job_id=other["id"])
    tell("mint_token", 201, {"member_id": READER, "scopes": ["feeds:read"], "ttl_seconds": 900})
    tell("list_policies", 200)
    tell("read_policy", 200, variant="control")
    wider = {"settings": {"diversity": 0.45, "nearest_candidates": 800}, "note": "spreads wider"}
    tell("put_policy", 200, wider, variant="control", headers={"If-Match": '"1"'})
    tell("put_policy", 201, wider, variant="wider", headers={"If-None-Match": "*"})


def change_flags(tell):
    shown = {"key": "new_player", "description": "The player that opens at once.", "owner": "video", "why": "a try"}
    tell("create_flag", 201, shown | {"rollout_percentage": 20, "needs_approval": False})
    tell("read_flag", 200, key="new_player")
    tell("update_flag", 200, {"is_enabled": True, "why": "ready"}, key="new_player", headers={"If-Match": '"1"'})
    tell("list_flags", 200, query={"q": "new_player"})
    tell("explain_flag", 200, {"unit_id": READER, "attributes": {"language": "en"}}, key="new_player")
    context = {"context": {"targetingKey": READER, "language": "en"}}
    tell("evaluate_flag", 200, context, key="new_player")
    tell("evaluate_flag", 400, {"context": {}}, key="new_player")
    tell("evaluate_flag", 404, context, key="none")
    tell("evaluate_flags", 200, context)
    tell("evaluate_flags", 400, {"context": {}})
    changes = tell("list_flag_changes", 200, key="new_player")["changes"]
    tell("restore_flag", 200, {"change_id": changes[-1]["id"], "why": "not yet"}, key="new_player")
    tell("kill_flag", 200, {"why": "players crash"}, key="new_player")
    condition = {"attribute": "language", "operator": "in", "values": ["en"]}
    english = {"key": "english", "description": "Reads English.", "conditions": [condition], "why": "used often"}
    tell("create_segment", 201, english)
    tell("list_segments", 200)
    tell("read_segment", 200, key="english")
    tell("update_segment", 200, {"denied_ids": ["43"], "why": "asked to be left out"}, key="english")
    plan = tell("create_rollout", 201, {"template": "gradual", "flag": "new_player", "why": "by the book"})
    tell("list_rollouts", 200)
    tell("run_rollout_action", 200, {"why": "begin"}, key=plan["key"], action="start")
    tell("run_rollout_action", 200, {"why": "one moment"}, key=plan["key"], action="pause")
    guarded_change(tell, changes, plan["key"])
    tell("archive_flag", 204, key="new_player", query={"why": "it is everywhere"})


def guarded_change(tell, changes, plan):
    """Change what a second person must approve."""
    guard = {"needs_approval": True, "is_enabled": True, "rules": [{"segment": "english"}], "why": "it matters now"}
    flag = tell("read_flag", 200, key="new_player")
    tell("update_flag", 200, guard, key="new_player", headers={"If-Match": f'"{flag["version"]}"'})
    flag = tell("read_flag", 200, key="new_player")
    body = {"rollout_percentage": 50, "why": "wider"}
    asked = tell("update_flag", 202, body, key="new_player", headers={"If-Match": f'"{flag["version"]}"'})
    tell("restore_flag", 202, {"change_id": changes[-1]["id"], "why": "back"}, key="new_player")
    tell("archive_flag", 202, key="new_player", query={"why": "done"})
    tell("update_segment", 202, {"denied_ids": [], "why": "asked to be let in"}, key="english")
    tell("run_rollout_action", 202, {"why": "go on"}, key=plan, action="resume")
    tell("list_approvals", 200)
    staff = Client()
    staff.force_login(User.objects.create_superuser("releaser", password="x" * 16))
    tell("decide_approval", 204, pending_id=asked["id"], decision="approve", client=staff)
    flag = tell("read_flag", 200, key="new_player")
    body = {"needs_approval": False, "why": "settled"}
    eased = tell("update_flag", 202, body, key="new_player", headers={"If-Match": f'"{flag["version"]}"'})
    tell("decide_approval", 204, pending_id=eased["id"], decision="approve", client=staff)


def try_experiment(tell):
    variants = [{"key": "control", "is_control": True, "value": False}, {"key": "new", "value": True}]
    draft = {
        "key": "player",
        "flag": "new_player_trial",
        "hypothesis": "Who need not wait sees more.",
        "goal": "engagements_per_member",
        "variants": variants,
        "why": "to know",
    }
    factories.flag("new_player_trial", is_enabled=True)
    tell("create_experiment", 201, draft)
    tell("update_experiment", 200, {"traffic_percentage": 20, "why": "fewer"}, key="player")
    tell("run_experiment_step", 200, {"why": "begin"}, key="player", step="start")
    tell("list_experiments", 200, query={"state": "running"})
    tell("read_experiment", 200, key="player")
    tell("list_experiment_changes", 200, key="player")
    tell("analyze_experiment", 202, key="player")
    interim_analysis.run_interim_analysis(key="player", now=clock.now())
    tell("read_results", 200, key="player")
    factories.flag("new_player_trial", needs_approval=True)
    tell("update_experiment", 202, {"hypothesis": "Who waits leaves.", "why": "clearer"}, key="player")
    tell("run_experiment_step", 202, {"why": "a holiday"}, key="player", step="pause")


def refused_requests(tell, monkeypatch):
    page = {"member_id": READER}
    tell.problem("read_feed", 400, **page, query={"limit": 1000})
    tell.problem("read_feed", 401, **page, secret="rk_unknown")
    _, narrow = keys.create(name="reads", scopes=[Scope.FEEDS_READ], now=clock.now())
    tell.problem("reset_profile", 403, **page, secret=narrow)
    tell.problem("read_feed", 404, member_id="nobody")
    Member.objects.filter(external_id="43").update(is_active=False)
    tell.problem("read_feed", 409, member_id="43")
    settings = {"settings": {}, "note": "again"}
    tell.problem("put_policy", 412, settings, variant="control", headers={"If-Match": '"1"'})
    tell.problem("upsert_posts", 413, {"posts": ["x" * LARGE]})
    tell.problem("upsert_posts", 415, {"posts": []}, headers={"Content-Type": "text/plain"})
    tell.problem("put_policy", 428, settings, variant="control")
    _, slow = keys.create(name="slow", scopes=[Scope.FEEDS_READ], per_minute=1, now=clock.now())
    tell.send("read_feed", **page, secret=slow)
    tell.problem("read_feed", 429, **page, secret=slow)

    def fail(**_):
        raise FactsUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(feeds, "recommend", fail)
        tell.problem("read_feed", 503, **page)


def has_same_shape(kept, came):
    """Return whether two answers have the same fields; a list may be of any length, and null stands for anything."""
    if isinstance(kept, dict) and isinstance(came, dict):
        return set(kept) == set(came) and all(has_same_shape(kept[name], came[name]) for name in kept)
    return None in (kept, came) or type(kept) is type(came) or {type(kept), type(came)} <= {int, float}


def test_the_examples_are_what_is_sent_and_answered(description, monkeypatch):
    tell = ExampleRecorder(description)
    integrator_day(tell, monkeypatch)
    known = {"operations": tell.noted, "problems": tell.problems}
    if os.environ.get("WRITE_EXAMPLES"):
        EXAMPLES.write_text(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    kept = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    assert set(kept["problems"]) == set(tell.problems)
    for operation, noted in tell.noted.items():
        assert set(noted["responses"]) == set(kept["operations"][operation]["responses"]), operation
        for status, answer in noted["responses"].items():
            assert has_same_shape(kept["operations"][operation]["responses"][status], answer), (operation, status)


def test_every_operation_has_its_examples_and_they_fit(description):
    """And a summary, what it does, what it wants of the caller, and what it may be refused with."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"] and operation["description"] and operation["security"], where
            assert {"401", "403", "429"} <= set(operation["responses"]), where
            bodies = [(where, operation["requestBody"])] if "requestBody" in operation else []
            bodies += [(f"{where} {status}", answer) for status, answer in operation["responses"].items()]
            for about, body in bodies:
                for content in body.get("content", {}).values():
                    assert "examples" in content, about
                    form = content["schema"] | {"components": description["components"]}
                    for example in content["examples"].values():
                        jsonschema.Draft202012Validator(form).validate(example["value"])
