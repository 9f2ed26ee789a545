"""An erasure is attacked: traces are planted wherever a member's id and words can go, and looked for afterwards."""

import json

import pytest

MEMBER, WORD = "zz-erase-me-773109526", "zzword773109526"
"""Long numbers: a short one would be in the random id of a task some day."""

PROCESS_JOBS = """
from monitoring.clock import now
from recommendations.models import JobChunk
from recommendations.services import work
for chunk in JobChunk.objects.filter(state="queued").order_by("pk"):
    work.process_chunk(job_id=chunk.job_id, number=chunk.number, now=now())
"""
"""What a worker does: no worker runs beside the server."""
FINISH = """
from datetime import timedelta
from monitoring.clock import now
from recommendations.services.members import erasure
print(erasure.finish_erasures(now=now() + timedelta(hours=1)))
"""


def events(member_id, *rows):
    return {
        "events": [
            {"event_id": f"{member_id}-{post_id}-{kind}", "member_id": member_id, "post_id": post_id, "kind": kind}
            for post_id, kind in rows
        ]
    }


def find_places(server):
    """Return the places in which `verify_erasure` finds the member."""
    code = f"""
from recommendations.services.members.traces import find_traces
print(*{{trace.place for trace in find_traces(member_id={MEMBER!r}, marks=[{WORD!r}, "773109526"])}}, sep="\\n")
"""
    return set(server.manage("shell", "-v0", "-c", code).splitlines()) - {""}


@pytest.fixture(scope="module")
def platform(server):
    """Plant a member: in rows, jobs, exports of another member, flags, segments, caches and the admin's log."""

    def send(method, path, body=None, headers=None, expected=(200, 201, 202, 204)):
        response = server.send(method, path, body, credential=server.key, headers=headers)
        assert response.status in expected, (path, response.body)
        return response.json() if response.body else None

    server.add_members(MEMBER, region="ZZREG773109526", is_personalized=True, muted_words=[WORD], birth_year=1977)
    server.add_members("keeper", region="DE", is_personalized=True)
    server.add_posts("zz-post-773109526", author_id=MEMBER, text=f"{WORD} about stones", tags=[WORD])
    server.add_posts("bread", author_id="keeper")
    send("POST", "/api/v1/interactions", events(MEMBER, ("bread", "like"), ("bread", "save")))
    send("POST", "/api/v1/interactions", events("keeper", ("zz-post-773109526", "like")))
    send("PUT", f"/api/v1/members/keeper/relationships/follow/{MEMBER}")
    for path in (f"/api/v1/members/{MEMBER}/feed", "/api/v1/members/keeper/feed"):
        send("GET", path)
    send("GET", f"/api/v1/posts/bread/similar?viewer_id={MEMBER}")
    for ids in ([MEMBER], ["keeper"], [MEMBER, "keeper"]):
        body = {"kind": "export_members", "params": {"member_ids": ids}}
        send("POST", "/api/v1/jobs", body, {"Idempotency-Key": f"export-{'-'.join(ids)}-{MEMBER}"})
    segment = {"key": "zzseg", "allowed_ids": [MEMBER], "description": f"with {MEMBER}", "why": "a trial"}
    send("POST", "/api/v1/segments", segment)
    rules = [{"segment": "zzseg", "note": f"n {MEMBER}"}]
    send("POST", "/api/v1/flags", {"key": "zzflag", "description": "a trial", "rules": rules, "why": "a trial"})
    server.manage("shell", "-c", PROCESS_JOBS)
    return send


def test_no_trace_is_left_of_an_erased_member(server, platform):
    token = server.token(MEMBER)
    assert server.send("GET", f"/api/v1/members/{MEMBER}/feed", credential=token).status == 200
    planted = {
        "recommendations.Member",
        "recommendations.Post",
        "recommendations.JobFile",
        "flags.Segment",
        "flags.Rule",
    }
    assert planted <= find_places(server)

    job = platform("DELETE", f"/api/v1/members/{MEMBER}")
    assert server.send("GET", f"/api/v1/members/{MEMBER}/feed", credential=token).status == 404
    assert server.send("DELETE", f"/api/v1/jobs/{job['id']}", credential=server.key).status == 409
    server.manage("shell", "-c", PROCESS_JOBS + FINISH)
    assert platform("GET", f"/api/v1/jobs/{job['id']}")["state"] == "done"

    # The change history of flags is append-only: the note that staff wrote stays in it, and is reported.
    assert find_places(server) == {"flags.FlagChange"}
    (receipt,) = platform("GET", f"/api/v1/erasures?member_id={MEMBER}")["erasures"]
    assert receipt["finished_at"] and receipt["requested_by"].startswith("key:")
    assert receipt["counts"]["recommendations.Interaction"] == 3 and MEMBER not in json.dumps(receipt)


def test_a_member_who_signs_up_again_during_the_erasure_is_kept(server, platform):
    server.add_members("zz-again-773209526", is_personalized=True, muted_words=["zzold773209526"])
    platform("GET", "/api/v1/members/zz-again-773209526/feed")
    job = platform("DELETE", "/api/v1/members/zz-again-773209526")
    like = events("zz-again-773209526", ("bread", "like"))
    late = server.send("POST", "/api/v1/interactions", like, credential=server.key)
    assert (late.status, late.json()["rejected"]) == (207, 1), "the id is unknown until it is sent again"
    server.add_members("zz-again-773209526", region="FR")
    platform("POST", "/api/v1/interactions", like)
    platform("GET", "/api/v1/members/zz-again-773209526/feed")
    server.manage("shell", "-c", PROCESS_JOBS)
    assert platform("GET", f"/api/v1/jobs/{job['id']}")["state"] == "done"
    assert platform("GET", "/api/v1/members/zz-again-773209526")["interaction_count"] == 1
    content = platform("GET", "/api/v1/members/zz-again-773209526/preferences")
    assert (content["region"], content["muted_words"]) == ("FR", [])
