"""An integrator's use of the Python client that is generated from the OpenAPI schema. Prints the results as JSON."""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from recsys_client import AuthenticatedClient
from recsys_client.api.feeds import explain, read_feed
from recsys_client.api.interactions import mark_seen, record_interactions
from recsys_client.api.jobs import read_job, submit_job
from recsys_client.api.members import upsert_members
from recsys_client.api.posts import upsert_posts
from recsys_client.models import (
    EventInRequest,
    EventResultsOut,
    EventsBodyRequest,
    ExplanationOut,
    InteractionKind,
    ItemResultsOut,
    JobBodyRequest,
    JobBodyRequestParams,
    JobKind,
    JobOut,
    MemberInRequest,
    MembersBodyRequest,
    PageOut,
    PostInRequest,
    PostsBodyRequest,
    Problem,
    SeenPostsBodyRequest,
    SeenPostsOut,
    VisibilityEnum,
)
from recsys_client.types import UNSET

T = TypeVar("T")
MEMBER, AUTHOR = "py-reader", "py-author"


def read_page(api: AuthenticatedClient, cursor: str | None = None) -> PageOut:
    """Return a page of the member's feed."""
    page = read_feed.sync(MEMBER, client=api, limit=5, cursor=cursor or UNSET)
    assert isinstance(page, PageOut), page
    return page


def wait_for(read: Callable[[], T | None]) -> T:
    """Return the first result of *read* that is not None. Fails after a minute."""
    deadline = time.monotonic() + 60
    while (result := read()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return result


def read_full_page(api: AuthenticatedClient) -> PageOut | None:
    """Return the first page once it has 5 posts: a process loads new posts within a second."""
    page = read_page(api)
    return page if len(page.picks) == 5 else None


def read_explanation(api: AuthenticatedClient, page: PageOut) -> ExplanationOut | None:
    """Return the explanation of the first pick once a worker has recorded the page."""
    explanation = explain.sync(page.request_id, page.picks[0].post.id, client=api, viewer_id=MEMBER)
    return explanation if isinstance(explanation, ExplanationOut) else None


def read_finished_job(api: AuthenticatedClient, id: UUID) -> JobOut | None:
    """Return the job once it is finished."""
    job = read_job.sync(id, client=api)
    assert isinstance(job, JobOut), job
    return job if job.is_finished else None


def main(url: str, key: str) -> None:
    api = AuthenticatedClient(base_url=url, token=key)
    members = MembersBodyRequest(
        [MemberInRequest(id, is_private=False, is_personalized=True, languages=["en"]) for id in (MEMBER, AUTHOR)]
    )
    assert isinstance(upsert_members.sync(client=api, body=members), ItemResultsOut)
    posts = [
        PostInRequest(
            id=f"py-post-{n}",
            author_id=AUTHOR,
            text=f"Bread and yeast, part {n}",
            language="en",
            visibility=VisibilityEnum.PUBLIC,
            created_at=datetime.now(UTC),
        )
        for n in range(12)
    ]
    post_results = upsert_posts.sync(client=api, body=PostsBodyRequest(posts))
    assert isinstance(post_results, ItemResultsOut), post_results

    first = wait_for(lambda: read_full_page(api))
    second = read_page(api, first.next_cursor)
    post_id = first.picks[0].post.id
    event = EventInRequest(event_id="py-1", member_id=MEMBER, post_id=post_id, kind=InteractionKind.LIKE)
    event_results = record_interactions.sync(client=api, body=EventsBodyRequest([event]))
    assert isinstance(event_results, EventResultsOut), event_results
    assert isinstance(mark_seen.sync(MEMBER, client=api, body=SeenPostsBodyRequest([post_id])), SeenPostsOut)
    params = JobBodyRequestParams()
    params["member_ids"] = [MEMBER]
    job = submit_job.sync(client=api, body=JobBodyRequest(kind=JobKind.MEMBER_FEED, params=params))
    assert isinstance(job, JobOut), job
    finished = wait_for(lambda: read_finished_job(api, job.id))
    problem = read_feed.sync("nobody", client=api)
    assert isinstance(problem, Problem), problem
    results = {
        "posts": len(post_results.results),
        "pages": [[pick.post.id for pick in page.picks] for page in (first, second)],
        "event_status": event_results.results[0].status,
        "explanation_status": wait_for(lambda: read_explanation(api, first)).status,
        "job": [finished.kind, finished.state],
        "problem": problem.code,
    }
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
