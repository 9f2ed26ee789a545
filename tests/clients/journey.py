"""What an integrator does with the client that is generated from the API's description. Prints what it found."""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from recsys_client import AuthenticatedClient
from recsys_client.api.feeds import explain, feed
from recsys_client.api.interactions import mark_seen, record_interactions
from recsys_client.api.jobs import job, submit_job
from recsys_client.api.members import send_members
from recsys_client.api.posts import send_posts
from recsys_client.models import (
    EventKindEnum,
    EventRequest,
    EventResultsOut,
    EventsBodyRequest,
    ExplanationOut,
    JobBodyRequest,
    JobBodyRequestParams,
    JobKind,
    JobOut,
    MemberItemRequest,
    MembersBodyRequest,
    OutcomesOut,
    PageOut,
    PostItemRequest,
    PostsBodyRequest,
    Problem,
    SeenBodyRequest,
    SeenOut,
    VisibilityEnum,
)
from recsys_client.types import UNSET

T = TypeVar("T")
MEMBER, AUTHOR = "py-reader", "py-author"


def read_page(api: AuthenticatedClient, cursor: str | None = None) -> PageOut:
    """Return a page of the member's feed."""
    found = feed.sync(MEMBER, client=api, limit=5, cursor=cursor or UNSET)
    assert isinstance(found, PageOut), found
    return found


def wait_for(check: Callable[[], T | None]) -> T:
    """Return what *look* finds, asked again for a minute at most."""
    deadline = time.monotonic() + 60
    while (found := check()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def first_page(api: AuthenticatedClient) -> PageOut | None:
    """Return the first page once the posts are in: a process follows the catalogue within a second."""
    page = read_page(api)
    return page if len(page.picks) == 5 else None


def read_explanation(api: AuthenticatedClient, page: PageOut) -> ExplanationOut | None:
    """Return why the first pick was shown, once a worker has written down that it was."""
    found = explain.sync(page.request_id, page.picks[0].post.id, client=api, viewer=MEMBER)
    return found if isinstance(found, ExplanationOut) else None


def finished_job(api: AuthenticatedClient, id: UUID) -> JobOut | None:
    """Return the job once a worker is through with it."""
    found = job.sync(id, client=api)
    assert isinstance(found, JobOut), found
    return found if found.finished else None


def main(url: str, key: str) -> None:
    api = AuthenticatedClient(base_url=url, token=key)
    members = MembersBodyRequest([MemberItemRequest(id, is_private=False, languages=["en"]) for id in (MEMBER, AUTHOR)])
    assert isinstance(send_members.sync(client=api, body=members), OutcomesOut)
    posts = [
        PostItemRequest(
            id=f"py-post-{n}",
            author_id=AUTHOR,
            text=f"Bread and yeast, part {n}",
            language="en",
            visibility=VisibilityEnum.PUBLIC,
            created_at=datetime.now(UTC),
        )
        for n in range(12)
    ]
    sent = send_posts.sync(client=api, body=PostsBodyRequest(posts))
    assert isinstance(sent, OutcomesOut), sent

    first = wait_for(lambda: first_page(api))
    second = read_page(api, first.next_cursor)
    shown = first.picks[0].post.id
    event = EventRequest(event_id="py-1", member_id=MEMBER, post_id=shown, kind=EventKindEnum.LIKE)
    acts = record_interactions.sync(client=api, body=EventsBodyRequest([event]))
    assert isinstance(acts, EventResultsOut), acts
    assert isinstance(mark_seen.sync(MEMBER, client=api, body=SeenBodyRequest([shown])), SeenOut)
    params = JobBodyRequestParams()
    params["member_ids"] = [MEMBER]
    asked = submit_job.sync(client=api, body=JobBodyRequest(JobKind.MEMBER_FEED, params))
    assert isinstance(asked, JobOut), asked
    followed = wait_for(lambda: finished_job(api, asked.id))
    refused = feed.sync("nobody", client=api)
    assert isinstance(refused, Problem), refused
    found = {
        "posts": len(sent.results),
        "pages": [[pick.post.id for pick in page.picks] for page in (first, second)],
        "act": acts.results[0].status,
        "why": wait_for(lambda: read_explanation(api, first)).status,
        "job": [followed.kind, followed.state],
        "refused": refused.code,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
