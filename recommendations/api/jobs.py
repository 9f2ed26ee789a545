"""Jobs: work that takes a while. A job is asked for, looked at and cancelled here; a worker does it."""

from uuid import UUID

from django.http import StreamingHttpResponse
from drf_orjson_renderer.renderers import ORJSONRenderer
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.scopes import Scope, read_write_scopes
from monitoring.clock import now
from recommendations.api import job_stream, openapi, responses
from recommendations.api import serializers as s
from recommendations.api.problems import Problem
from recommendations.api.query_parameters import parse_query_parameters
from recommendations.services import work
from recommendations.services.members import export

IDEMPOTENCY_KEY_HEADER = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Asked for twice with the same key, a job is done once. At most 200 characters.",
)
RETRY_AFTER_HEADER = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER, response=[202], description="Seconds until it is worth a look."
)
LOCATION_HEADER = OpenApiParameter("Location", str, OpenApiParameter.HEADER, response=[202], description="Of the job.")


def read_idempotency_key(request: Request) -> str | None:
    """Return the request's idempotency key, if it has one."""
    checked = s.IdempotencyKey(data={"idempotency_key": request.headers.get("Idempotency-Key")})
    if not checked.is_valid():
        wrong = " ".join(checked.errors["idempotency_key"])
        raise Problem(f"The header Idempotency-Key cannot be used: {wrong}", status=400, code="invalid-request")
    key: str | None = checked.validated_data["idempotency_key"]
    return key


class JobsView(APIView):
    """Every job."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)

    @openapi.describe_endpoint(
        400,
        responses={200: s.JobsOut},
        parameters=[s.JobsQuery],
        operation_id="list_jobs",
        summary="Jobs, newest first",
        tags=["jobs"],
    )
    def get(self, request: Request) -> Response:
        """Return a page of jobs."""
        query = parse_query_parameters(s.JobsQuery, request)
        wanted = {"kind": query["kind"], "state": query["state"]}
        jobs = work.list_jobs(before=query["cursor"], limit=query["limit"] + 1, **wanted)
        page = jobs[: query["limit"]]
        more = len(jobs) > len(page)
        cursor = page[-1].created_at.isoformat().replace("+00:00", "Z") if more else None
        return Response({"jobs": [responses.serialize_job(job) for job in page], "next_cursor": cursor})

    @openapi.describe_endpoint(
        400,
        404,
        responses={202: s.JobOut},
        request=s.JobBody,
        parameters=[IDEMPOTENCY_KEY_HEADER, LOCATION_HEADER, RETRY_AFTER_HEADER],
        operation_id="submit_job",
        summary="Ask for a job",
        tags=["jobs"],
    )
    def post(self, request: Request) -> Response:
        """Queue a job; its address is in Location."""
        body = s.JobBody(data=request.data)
        body.is_valid(raise_exception=True)
        return responses.job_accepted_response(
            work.submit_job(now=now(), idempotency_key=read_idempotency_key(request), **body.validated_data)
        )


class JobView(APIView):
    """One job."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)

    @openapi.describe_endpoint(
        404, responses={200: s.JobOut}, operation_id="job", summary="A job and how far it is", tags=["jobs"]
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """Return the job."""
        return Response(responses.serialize_job(work.read_job(job_id=job_id)))

    @openapi.describe_endpoint(
        404, 409, responses={200: s.JobOut}, operation_id="cancel_job", summary="Cancel a job", tags=["jobs"]
    )
    def delete(self, request: Request, job_id: UUID) -> Response:
        """Ask for the job to stop; what is done stays done. Returns the job."""
        return Response(responses.serialize_job(work.cancel_job(job_id=job_id, now=now())))


class JobRetryView(APIView):
    """Another try."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)

    @openapi.describe_endpoint(
        404,
        responses={202: s.JobOut},
        request=None,
        parameters=[LOCATION_HEADER, RETRY_AFTER_HEADER],
        operation_id="retry_job",
        summary="Do again what failed or was cancelled",
        tags=["jobs"],
    )
    def post(self, request: Request, job_id: UUID) -> Response:
        """Queue what failed or was cancelled of a job that is over; of any other job, nothing."""
        return responses.job_accepted_response(work.retry_job(job_id=job_id, now=now()))


class JobResultView(APIView):
    """What a job made."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)

    @openapi.describe_endpoint(
        404,
        responses={200: s.ExportOut},
        operation_id="job_result",
        summary="What an export made",
        tags=["jobs"],
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """Return all that is held about each member whom the job export_members named, for seven days."""
        members = export.fetch_export(job_id=work.read_job(job_id=job_id).id)
        headers = {"Content-Disposition": f'attachment; filename="export-{job_id}.json"', "Cache-Control": "no-store"}
        return Response({"members": members}, headers=headers)


class EventStreamRenderer(ORJSONRenderer):
    """Names the type of a stream, so that a browser's EventSource may ask for it."""

    media_type, format = "text/event-stream", "events"


class JobEventsView(APIView):
    """A job's progress as it happens."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)

    renderer_classes = [ORJSONRenderer, EventStreamRenderer]

    @openapi.describe_endpoint(
        404,
        responses={(200, "text/event-stream"): s.JobStreamEventOut},  # type: ignore[dict-item]
        operation_id="job_events",
        summary="A job's progress, as server-sent events",
        tags=["jobs"],
    )
    def get(self, request: Request, job_id: UUID) -> StreamingHttpResponse | Response:
        """
        Send the job whenever it has changed, until it is over or half a minute has passed: then ask again.

        A process serves two streams at a time; above that the answer is 503, and polling works as ever.
        """
        work.read_job(job_id=job_id)
        stream = job_stream.JobStream(lambda: responses.serialize_job(work.read_job(job_id=job_id)))
        return StreamingHttpResponse(
            stream, content_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
