"""Jobs: work that takes a while. A job is asked for, looked at and cancelled here; a worker does it."""

from uuid import UUID

from django.http import StreamingHttpResponse
from drf_orjson_renderer.renderers import ORJSONRenderer
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.scopes import Scope, reading_and_writing
from monitoring.clock import now
from recommendations.api import schema, shapes, watching
from recommendations.api import serializers as s
from recommendations.api.problems import Problem
from recommendations.api.reading import query_of
from recommendations.services import work
from recommendations.services.members import export

KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Asked for twice with the same key, a job is done once. At most 200 characters.",
)
RETRY_AFTER = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER, response=[202], description="Seconds until it is worth a look."
)
LOCATION = OpenApiParameter("Location", str, OpenApiParameter.HEADER, response=[202], description="Of the job.")


def key_of(request: Request) -> str | None:
    """Return the request's idempotency key, if it has one."""
    checked = s.IdempotencyKey(data={"idempotency_key": request.headers.get("Idempotency-Key")})
    if not checked.is_valid():
        wrong = " ".join(checked.errors["idempotency_key"])
        raise Problem(f"The header Idempotency-Key cannot be used: {wrong}", status=400, code="invalid-request")
    key: str | None = checked.validated_data["idempotency_key"]
    return key


class JobsView(APIView):
    """Every job."""

    scopes = reading_and_writing(Scope.JOBS_READ, Scope.JOBS_WRITE)

    @schema.address(
        400,
        answers={200: s.JobsOut},
        parameters=[s.JobsQuery],
        operation_id="list_jobs",
        summary="Jobs, newest first",
        tags=["jobs"],
    )
    def get(self, request: Request) -> Response:
        """Return a page of jobs."""
        query = query_of(s.JobsQuery, request)
        wanted = {"kind": query["kind"], "state": query["state"]}
        jobs = work.list_jobs(before=query["cursor"], limit=query["limit"] + 1, **wanted)
        page = jobs[: query["limit"]]
        more = len(jobs) > len(page)
        cursor = page[-1].created_at.isoformat().replace("+00:00", "Z") if more else None
        return Response({"jobs": [shapes.job_shape(job) for job in page], "next_cursor": cursor})

    @schema.address(
        400,
        404,
        answers={202: s.JobOut},
        request=s.JobBody,
        parameters=[KEY, LOCATION, RETRY_AFTER],
        operation_id="submit_job",
        summary="Ask for a job",
        tags=["jobs"],
    )
    def post(self, request: Request) -> Response:
        """Queue a job; its address is in Location."""
        body = s.JobBody(data=request.data)
        body.is_valid(raise_exception=True)
        return shapes.accepted(work.submit(now=now(), idempotency_key=key_of(request), **body.validated_data))


class JobView(APIView):
    """One job."""

    scopes = reading_and_writing(Scope.JOBS_READ, Scope.JOBS_WRITE)

    @schema.address(404, answers={200: s.JobOut}, operation_id="job", summary="A job and how far it is", tags=["jobs"])
    def get(self, request: Request, job_id: UUID) -> Response:
        """Return the job."""
        return Response(shapes.job_shape(work.look_up(job_id=job_id)))

    @schema.address(404, 409, answers={200: s.JobOut}, operation_id="cancel_job", summary="Cancel a job", tags=["jobs"])
    def delete(self, request: Request, job_id: UUID) -> Response:
        """Ask for the job to stop; what is done stays done. Returns the job."""
        return Response(shapes.job_shape(work.cancel(job_id=job_id, now=now())))


class RetryView(APIView):
    """Another try."""

    scopes = reading_and_writing(Scope.JOBS_READ, Scope.JOBS_WRITE)

    @schema.address(
        404,
        answers={202: s.JobOut},
        request=None,
        parameters=[LOCATION, RETRY_AFTER],
        operation_id="retry_job",
        summary="Do again what failed or was cancelled",
        tags=["jobs"],
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """Queue what failed or was cancelled of a job that is over; of any other job, nothing."""
        return shapes.accepted(work.retry(job_id=job_id, now=now()))


class ResultView(APIView):
    """What a job made."""

    scopes = reading_and_writing(Scope.JOBS_READ, Scope.JOBS_WRITE)

    @schema.address(
        404,
        answers={200: s.ExportOut},
        operation_id="job_result",
        summary="What an export made",
        tags=["jobs"],
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """Return all that is held about each member whom the job export_members named, for seven days."""
        members = export.fetch(job_id=work.look_up(job_id=job_id).id)
        headers = {"Content-Disposition": f'attachment; filename="export-{job_id}.json"', "Cache-Control": "no-store"}
        return Response({"members": members}, headers=headers)


class EventsRenderer(ORJSONRenderer):
    """Names the type of a stream, so that a browser's EventSource may ask for it."""

    media_type, format = "text/event-stream", "events"


class EventsView(APIView):
    """A job's progress as it happens."""

    scopes = reading_and_writing(Scope.JOBS_READ, Scope.JOBS_WRITE)

    renderer_classes = [ORJSONRenderer, EventsRenderer]

    @schema.address(
        404,
        answers={(200, "text/event-stream"): s.JobEventOut},  # type: ignore[dict-item]
        operation_id="job_events",
        summary="A job's progress, as server-sent events",
        tags=["jobs"],
    )
    def get(self, request: Request, job_id: UUID) -> StreamingHttpResponse | Response:
        """
        Send the job whenever it has changed, until it is over or half a minute has passed: then ask again.

        A process serves two streams at a time; above that the answer is 503, and polling works as ever.
        """
        work.look_up(job_id=job_id)
        stream = watching.Stream(lambda: shapes.job_shape(work.look_up(job_id=job_id)))
        return StreamingHttpResponse(
            stream, content_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
