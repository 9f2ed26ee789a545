"""
The examples in the API documentation are requests that were sent and the responses to them.

`make examples` writes them again. The tests send the same requests: each response has the status and the fields of its
example, and every operation has an example.
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
    """Calls operations of the API, and records the requests and responses."""

    def __init__(self, description):
        operations = {
            operation["operationId"]: (method, path)
            for path, methods in description["paths"].items()
            for method, operation in methods.items()
        }
        self.operations, self.examples, self.problems = operations, {}, {}
        self.translated = {
            operation["operationId"]
            for methods in description["paths"].values()
            for operation in methods.values()
            if any(parameter["name"] == "Accept-Language" for parameter in operation.get("parameters", ()))
        }
        _, self.secret = keys.create(name="example", scopes=list(Scope), now=clock.now())

    def send(self, operation, body=None, *, secret=None, client=None, headers=None, query=None, **ids):
        method, path = self.operations[operation]
        url = path.format(**{name: quote(str(value)) for name, value in ids.items()})
        credentials = {} if client else {"Authorization": f"Bearer {self.secret if secret is None else secret}"}
        # Django's client would send an empty form.
        options = {"content_type": "application/json", "data": "" if body is None else json.dumps(body)}
        options = {} if method == "get" else options
        url += f"?{urlencode(query, doseq=True)}" if query else ""
        return getattr(client or Client(raise_request_exception=False), method)(
            url, headers=credentials | (headers or {}), **options
        )

    def __call__(self, operation, status, body=None, **options):
        """Send a request, record it with its response, and return the content of the response."""
        response = self.send(operation, body, **options)
        # Of a file that is not text, the example has the beginning.
        is_file = response.get("Content-Type") == "application/octet-stream"
        text = json.dumps(f"{response.getvalue()[:8].decode()} …") if is_file else response.getvalue().decode()
        assert response.status_code == status, (operation, response.status_code, text)
        assert ("Content-Language" in response) == (operation in self.translated), operation
        example = self.examples.setdefault(operation, {"responses": {}})
        if body is not None:
            example.setdefault("request", body)
        if not text:
            return None
        if response["Content-Type"].startswith("text/event-stream"):
            content = dict(line.split(": ", 1) for line in text.split("\n\n")[0].splitlines())
        else:
            content = json.loads(text)
        example["responses"].setdefault(str(status), content)
        return content

    def record_problem(self, operation, status, body=None, **options):
        """Send a request that must be rejected, and record the problem."""
        response = self.send(operation, body, **options)
        assert (response.status_code, response["Content-Type"]) == (status, PROBLEM_CONTENT_TYPE), (
            operation,
            response.content,
        )
        self.problems.setdefault(str(status), response.json())


def run_job(job_id):
    """Process the chunks of a job, as a worker does."""
    for chunk in Job.objects.get(pk=job_id).chunks.all():
        work.process_chunk(job_id=UUID(str(job_id)), number=chunk.number, now=clock.now())


def call_every_operation(call_api, monkeypatch):
    """Call every operation of the API, in an order that an integrator could use."""
    upsert_content(call_api)
    read_feeds(call_api)
    search_posts(call_api, monkeypatch)
    manage_profiles(call_api)
    run_jobs(call_api)
    change_flags(call_api)
    run_experiment(call_api)
    send_rejected_requests(call_api, monkeypatch)
    call_api("remove_post", 204, post_id="9")
    call_api("erase_member", 202, member_id=READER)
    receipt = call_api("list_erasures", 200, query={"member_id": READER})["erasures"][0]
    call_api("read_erasure", 200, erasure_id=receipt["id"])


def upsert_content(call_api):
    members = [
        {"id": AUTHOR, "is_private": False, "languages": ["en", "de"], "region": "DE"},
        {"id": READER, "is_private": True, "is_adult": True, "sensitivity": "sensitive"},
    ]
    call_api("upsert_members", 200, {"members": members})
    call_api("upsert_members", 207, {"members": [{"id": "43"}]})
    call_api("upsert_member", 201, {"is_private": False, "languages": ["fr"]}, member_id="43")
    call_api("upsert_member", 200, {"is_private": True, "languages": ["fr"]}, member_id="43")
    call_api("list_members", 200, query={"prefix": "4", "limit": 5})
    call_api("read_member", 200, member_id=READER)
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
    call_api("upsert_posts", 200, {"posts": [lighthouse]})
    call_api("upsert_posts", 207, {"posts": [lighthouse | {"author_id": "nobody"}]})
    other = {"author_id": AUTHOR, "visibility": "public", "created_at": moment, "text": "Keepers of the lighthouse"}
    call_api("upsert_post", 201, other, post_id="8")
    call_api("upsert_post", 200, other | {"tags": ["documentary"]}, post_id="8")
    for name, text in (("9", "Bread for beginners"), ("10", "A lighthouse in winter"), ("11", "Ships that pass")):
        call_api("upsert_post", 201, other | {"text": text}, post_id=name)
    call_api("read_post", 200, post_id="7")
    factories.embed_all_posts(at=clock.now())
    events = [
        {"event_id": "e-1", "member_id": READER, "post_id": "7", "kind": "like"},
        {"event_id": "e-2", "member_id": READER, "post_id": "8", "kind": "dwell", "value": 12.5, "occurred_at": moment},
    ]
    call_api("record_interactions", 200, {"events": events})
    invalid = {"event_id": "e-3", "member_id": READER, "post_id": "nothing", "kind": "like"}
    call_api("record_interactions", 207, {"events": [events[0], invalid]})
    call_api("list_interactions", 200, query={"member_id": READER, "kind": "like", "limit": 1})
    feedback = {"event_id": "e-4", "member_id": READER, "post_id": "9", "kind": "not_interested", "target": "topic"}
    call_api("record_interactions", 200, {"events": [feedback]})
    learn.learn_interactions(member_ids=[Member.objects.get(external_id=READER).pk], now=clock.now())
    call_api("create_relationship", 204, member_id=READER, kind="follow_request", target_id="43")
    call_api("list_follow_requests", 200, member_id="43")
    call_api("approve_follow_request", 204, member_id="43", requester_id=READER)
    call_api("decline_follow_request", 204, member_id="43", requester_id=READER)
    call_api("create_relationship", 204, member_id=READER, kind="follow", target_id=AUTHOR)
    call_api("delete_relationship", 204, member_id=READER, kind="follow", target_id=AUTHOR)


def read_feeds(call_api):
    page = call_api("read_feed", 200, member_id=READER, query={"limit": 2, "explain": "true"})
    records.record_served(now=clock.now())
    parameters = {
        "request_id": page["request_id"],
        "post_id": page["picks"][0]["post"]["id"],
        "query": {"viewer_id": READER},
    }
    call_api("explain", 200, **parameters)
    call_api("list_similar_posts", 200, post_id="7", query={"viewer_id": READER, "limit": 1})
    call_api("read_candidate_pack", 200, member_id=READER)
    call_api("list_candidate_pack_keys", 200)
    call_api("mark_seen", 200, {"post_ids": ["7", "8"]}, member_id=READER)
    call_api("mark_seen", 207, {"post_ids": ["7", "8/"]}, member_id=READER)
    call_api("list_show_less_effects", 200, member_id=READER)


def search_posts(call_api, monkeypatch):
    vectors = [{"post_id": name, "vector": [0.0] * n + [1.0] + [0.0] * (7 - n)} for n, name in enumerate("789")]
    call_api("store_vectors", 200, {"embedding_model": "own-1", "vectors": vectors}, space="photo")
    short = {"post_id": "9", "vector": [1.0]}
    call_api("store_vectors", 207, {"embedding_model": "own-1", "vectors": [vectors[0], short]}, space="photo")
    wiring.sync_embedding_models(clock.now(), must_be_current=True)  # every process does this within a second
    body = {"viewer_id": READER, "space": "photo", "vector": vectors[0]["vector"], "limit": 1}
    call_api("search_by_vector", 200, body)
    call_api("search", 200, query={"viewer_id": READER, "space": "photo", "post_id": "7", "limit": 1})
    picture = BytesIO()
    Image.new("RGB", (SMALL, SMALL), "navy").save(picture, "PNG")
    body = {"pictures": [{"post_id": "7", "image": base64.b64encode(picture.getvalue()).decode()}]}
    with monkeypatch.context() as patch:
        # An image embedding model has about 100 MB. It is tested in test_pictures.py.
        patch.setattr(spaces, "store_pictures", lambda **_: [])
        call_api("store_pictures", 200, body, space="image")
        call_api("store_pictures", 207, {"pictures": [*body["pictures"], {"post_id": "8"}]}, space="image")


def manage_profiles(call_api):
    call_api("read_preferences", 200, member_id=READER)
    call_api("update_preferences", 200, {"muted_words": ["war"], "languages": ["en"]}, member_id=READER)
    file = call_api("export_profile", 200, member_id=READER)
    call_api("import_profile", 200, file, member_id=READER)
    file_with_unknown_post = file | {"seen": [{"post_id": "gone", "seen_at": file["exported_at"]}]}
    call_api("import_profile", 207, file_with_unknown_post, member_id=READER)
    call_api("reset_profile", 204, member_id="43")


def run_jobs(call_api):
    job = call_api("submit_job", 202, {"kind": "member_feed", "params": {"member_ids": [READER]}})
    run_job(job["id"])
    call_api("read_job", 200, job_id=job["id"])
    call_api("stream_job_events", 200, job_id=job["id"])
    export = call_api("submit_job", 202, {"kind": "export_members", "params": {"member_ids": [READER]}})
    run_job(export["id"])
    call_api("read_job_result", 200, job_id=export["id"])
    call_api("list_jobs", 200, query={"limit": 1})
    call_api("list_job_failures", 200, job_id=job["id"])
    other = call_api("submit_job", 202, {"kind": "batch_feeds", "priority": "low"})
    call_api("cancel_job", 200, job_id=other["id"])
    call_api("retry_job", 202, {}, job_id=other["id"])
    call_api("mint_token", 201, {"member_id": READER, "scopes": ["feeds:read"], "ttl_seconds": 900})
    call_api("list_policies", 200)
    call_api("read_product_report", 200, query={"days": 1})
    call_api("read_main_parameters", 200)
    call_api("read_policy", 200, variant="control")
    call_api("preview_feed", 200, query={"member_id": READER, "variant": "control", "limit": 1})
    policy = {"settings": {"diversity": 0.45, "nearest_candidates": 800}, "note": "more diversity"}
    call_api("put_policy", 200, policy, variant="control", headers={"If-Match": '"1"'})
    call_api("put_policy", 201, policy, variant="wider", headers={"If-None-Match": "*"})


def change_flags(call_api):
    flag = {"key": "new_player", "description": "The player that opens at once.", "owner": "video", "why": "a try"}
    call_api("create_flag", 201, flag | {"rollout_percentage": 20, "needs_approval": False})
    call_api("read_flag", 200, key="new_player")
    call_api("update_flag", 200, {"is_enabled": True, "why": "ready"}, key="new_player", headers={"If-Match": '"1"'})
    call_api("list_flags", 200, query={"q": "new_player"})
    call_api("explain_flag", 200, {"unit_id": READER, "attributes": {"language": "en"}}, key="new_player")
    context = {"context": {"targetingKey": READER, "language": "en"}}
    call_api("evaluate_flag", 200, context, key="new_player")
    call_api("evaluate_flag", 400, {"context": {}}, key="new_player")
    call_api("evaluate_flag", 404, context, key="none")
    call_api("evaluate_flags", 200, context)
    call_api("evaluate_flags", 400, {"context": {}})
    changes = call_api("list_flag_changes", 200, key="new_player")["changes"]
    call_api("restore_flag", 200, {"change_id": changes[-1]["id"], "why": "not yet"}, key="new_player")
    call_api("kill_flag", 200, {"why": "players crash"}, key="new_player")
    condition = {"attribute": "language", "operator": "in", "values": ["en"]}
    segment = {"key": "english", "description": "Reads English.", "conditions": [condition], "why": "used often"}
    call_api("create_segment", 201, segment)
    call_api("list_segments", 200)
    call_api("read_segment", 200, key="english")
    call_api("update_segment", 200, {"denied_ids": ["43"], "why": "asked to be left out"}, key="english")
    plan = call_api("create_rollout", 201, {"template": "gradual", "flag": "new_player", "why": "the standard plan"})
    call_api("list_rollouts", 200)
    call_api("run_rollout_action", 200, {"why": "begin"}, key=plan["key"], action="start")
    call_api("run_rollout_action", 200, {"why": "one moment"}, key=plan["key"], action="pause")
    change_flag_with_approval(call_api, changes, plan["key"])
    call_api("archive_flag", 204, key="new_player", query={"why": "every member has it"})


def change_flag_with_approval(call_api, changes, plan):
    """Change a flag that needs the approval of a second person."""
    change = {"needs_approval": True, "is_enabled": True, "rules": [{"segment": "english"}], "why": "it matters now"}
    flag = call_api("read_flag", 200, key="new_player")
    call_api("update_flag", 200, change, key="new_player", headers={"If-Match": f'"{flag["version"]}"'})
    flag = call_api("read_flag", 200, key="new_player")
    body = {"rollout_percentage": 50, "why": "wider"}
    pending = call_api("update_flag", 202, body, key="new_player", headers={"If-Match": f'"{flag["version"]}"'})
    call_api("restore_flag", 202, {"change_id": changes[-1]["id"], "why": "back"}, key="new_player")
    call_api("archive_flag", 202, key="new_player", query={"why": "done"})
    call_api("update_segment", 202, {"denied_ids": [], "why": "asked to be let in"}, key="english")
    call_api("run_rollout_action", 202, {"why": "go on"}, key=plan, action="resume")
    call_api("list_approvals", 200)
    staff = Client()
    staff.force_login(User.objects.create_superuser("releaser", password="x" * 16))
    call_api("decide_approval", 204, pending_id=pending["id"], decision="approve", client=staff)
    flag = call_api("read_flag", 200, key="new_player")
    body = {"needs_approval": False, "why": "settled"}
    pending = call_api("update_flag", 202, body, key="new_player", headers={"If-Match": f'"{flag["version"]}"'})
    call_api("decide_approval", 204, pending_id=pending["id"], decision="approve", client=staff)


def run_experiment(call_api):
    variants = [{"key": "control", "is_control": True, "value": False}, {"key": "new", "value": True}]
    draft = {
        "key": "player",
        "flag": "new_player_trial",
        "hypothesis": "Members who do not wait watch more.",
        "goal": "engagements_per_member",
        "variants": variants,
        "why": "to know",
    }
    factories.flag("new_player_trial", is_enabled=True)
    call_api("create_experiment", 201, draft)
    call_api("update_experiment", 200, {"traffic_percentage": 20, "why": "fewer"}, key="player")
    call_api("run_experiment_step", 200, {"why": "begin"}, key="player", step="start")
    call_api("list_experiments", 200, query={"state": "running"})
    call_api("read_experiment", 200, key="player")
    call_api("list_experiment_changes", 200, key="player")
    call_api("analyze_experiment", 202, key="player")
    interim_analysis.run_interim_analysis(key="player", now=clock.now())
    call_api("read_results", 200, key="player")
    factories.flag("new_player_trial", needs_approval=True)
    call_api("update_experiment", 202, {"hypothesis": "Members who wait leave.", "why": "clearer"}, key="player")
    call_api("run_experiment_step", 202, {"why": "a holiday"}, key="player", step="pause")


def send_rejected_requests(call_api, monkeypatch):
    member = {"member_id": READER}
    call_api.record_problem("read_feed", 400, **member, query={"limit": 1000})
    call_api.record_problem("read_feed", 401, **member, secret="rk_unknown")
    _, narrow_secret = keys.create(name="reads", scopes=[Scope.FEEDS_READ], now=clock.now())
    call_api.record_problem("reset_profile", 403, **member, secret=narrow_secret)
    call_api.record_problem("read_feed", 404, member_id="nobody")
    Member.objects.filter(external_id="43").update(is_active=False)
    call_api.record_problem("read_feed", 409, member_id="43")
    settings = {"settings": {}, "note": "again"}
    call_api.record_problem("put_policy", 412, settings, variant="control", headers={"If-Match": '"1"'})
    call_api.record_problem("upsert_posts", 413, {"posts": ["x" * LARGE]})
    call_api.record_problem("upsert_posts", 415, {"posts": []}, headers={"Content-Type": "text/plain"})
    call_api.record_problem("put_policy", 428, settings, variant="control")
    _, limited_secret = keys.create(name="limited", scopes=[Scope.FEEDS_READ], per_minute=1, now=clock.now())
    call_api.send("read_feed", **member, secret=limited_secret)
    call_api.record_problem("read_feed", 429, **member, secret=limited_secret)

    def fail(**_):
        raise FactsUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(feeds, "recommend", fail)
        call_api.record_problem("read_feed", 503, **member)


def has_same_shape(stored, actual):
    """Return whether two responses have the same fields. A list may have any length, and null matches any value."""
    if isinstance(stored, dict) and isinstance(actual, dict):
        return set(stored) == set(actual) and all(has_same_shape(stored[name], actual[name]) for name in stored)
    return None in (stored, actual) or type(stored) is type(actual) or {type(stored), type(actual)} <= {int, float}


def test_the_examples_are_what_is_sent_and_answered(description, monkeypatch):
    call_api = ExampleRecorder(description)
    call_every_operation(call_api, monkeypatch)
    recorded = {"operations": call_api.examples, "problems": call_api.problems}
    if os.environ.get("WRITE_EXAMPLES"):
        EXAMPLES.write_text(json.dumps(recorded, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    stored = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    assert set(stored["problems"]) == set(call_api.problems)
    for operation, example in call_api.examples.items():
        stored_responses = stored["operations"][operation]["responses"]
        assert set(example["responses"]) == set(stored_responses), operation
        for status, content in example["responses"].items():
            assert has_same_shape(stored_responses[status], content), (operation, status)


def test_every_operation_has_valid_examples(description):
    """It also has a summary, a description, its security schemes, and its 401, 403 and 429 responses."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            name = f"{method} {path}"
            assert operation["summary"] and operation["description"] and operation["security"], name
            assert {"401", "403", "429"} <= set(operation["responses"]), name
            bodies = [(name, operation["requestBody"])] if "requestBody" in operation else []
            bodies += [(f"{name} {status}", response) for status, response in operation["responses"].items()]
            for body_name, body in bodies:
                for content in body.get("content", {}).values():
                    assert "examples" in content, body_name
                    schema = content["schema"] | {"components": description["components"]}
                    for example in content["examples"].values():
                        jsonschema.Draft202012Validator(schema).validate(example["value"])
