"""Jobs: long-running work that a worker does. These views submit, read, retry and cancel them."""

from uuid import UUID

from django.http import StreamingHttpResponse
from drf_orjson_renderer.renderers import ORJSONRenderer
from drf_spectacular.utils import OpenApiParameter
from rest_framework.response import Response

from access.inputs import Request
from access.permissions import require_permission
from access.request_costs import FILE_COST, ITEMS_PER_UNIT, WHOLE_TABLE_COST
from access.scopes import Scope, read_write_scopes
from access.views import APIView, takes
from monitoring.clock import now
from recommendations.api import job_stream, openapi, responses
from recommendations.api import serializers as s
from recommendations.api.problems import Problem
from recommendations.api.senders import get_submitter
from recommendations.services import work
from recommendations.services.members import export

IDEMPOTENCY_KEY_HEADER = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="A second request of the same caller with the same key returns the first request's job. At most 200 "
    "characters.",
)
RETRY_AFTER_HEADER = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER, response=[202], description="Seconds to wait before reading the job."
)
LOCATION_HEADER = OpenApiParameter(
    "Location", str, OpenApiParameter.HEADER, response=[202], description="URL of the job."
)

EXPORT_PERMISSION = "recommendations.export_member"
MEMBERS_PERMISSION = "recommendations.view_member"
"""What a session needs to read which members failed."""
KIND_PERMISSIONS = {
    "export_members": EXPORT_PERMISSION,
    "erase_members": "recommendations.delete_member",
    "erase_posts": "recommendations.delete_post",
}
"""What a session needs to submit a job of the kind, besides the permission of jobs:write."""


def read_idempotency_key(request: Request) -> str | None:
    """Return the request's Idempotency-Key header, or None. Raises `Problem` (400)."""
    serializer = s.IdempotencyKey(data={"idempotency_key": request.headers.get("Idempotency-Key")})
    if not serializer.is_valid():
        errors = " ".join(serializer.errors["idempotency_key"])
        raise Problem(f"The header Idempotency-Key is invalid: {errors}", status=400, code="invalid-request")
    key: str | None = serializer.validated_data["idempotency_key"]
    return key


class JobsView(APIView):
    """The list of jobs."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)

    def extra_cost(self, request: Request) -> int:
        """Return the extra cost of a job that names no items."""
        return WHOLE_TABLE_COST if request.method == "POST" and not request.inputs.item_count else 0

    @openapi.describe_endpoint(
        400,
        responses={200: s.JobsOut},
        operation_id="list_jobs",
        summary="List jobs",
        tags=["jobs"],
    )
    @takes(query=s.JobsQuery())
    def get(self, request: Request) -> Response:
        """Return a page of jobs, newest first."""
        query = request.inputs.query
        jobs = work.list_jobs(
            before=query["cursor"], limit=query["limit"] + 1, kind=query["kind"], state=query["state"]
        )
        page = jobs[: query["limit"]]
        has_more = len(jobs) > len(page)
        cursor = page[-1].created_at.isoformat().replace("+00:00", "Z") if has_more else None
        return Response({"jobs": [responses.serialize_job(job) for job in page], "next_cursor": cursor})

    @openapi.describe_endpoint(
        400,
        404,
        responses={202: s.JobOut},
        parameters=[IDEMPOTENCY_KEY_HEADER, LOCATION_HEADER, RETRY_AFTER_HEADER],
        operation_id="submit_job",
        summary="Submit a job",
        tags=["jobs"],
    )
    @takes(body=s.JobBody())
    def post(self, request: Request) -> Response:
        """Queue a job. The Location header is its URL."""
        if permission := KIND_PERMISSIONS.get(request.inputs.body["kind"]):
            require_permission(request, permission)
        job = work.submit_job(
            now=now(),
            idempotency_key=read_idempotency_key(request),
            submitter=get_submitter(request),
            **request.inputs.body,
        )
        return responses.job_accepted_response(job)


class JobView(APIView):
    """One job."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)

    @openapi.describe_endpoint(
        404, responses={200: s.JobOut}, operation_id="read_job", summary="Read a job and its progress", tags=["jobs"]
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """Return the job."""
        return Response(responses.serialize_job(work.read_job(job_id=job_id)))

    @openapi.describe_endpoint(
        404, 409, responses={200: s.JobOut}, operation_id="cancel_job", summary="Cancel a job", tags=["jobs"]
    )
    def delete(self, request: Request, job_id: UUID) -> Response:
        """Request that the job stops, and return the job. Completed work is not reverted."""
        return Response(responses.serialize_job(work.cancel_job(job_id=job_id, now=now())))


class JobRetryView(APIView):
    """Retry of a job."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)

    def extra_cost(self, request: Request) -> int:
        """Return the extra cost of the items: the list of their numbers counts as none."""
        item_ids = request.inputs.body["item_ids"]
        return WHOLE_TABLE_COST if item_ids is None else len(item_ids) // ITEMS_PER_UNIT

    @openapi.describe_endpoint(
        400,
        404,
        responses={202: s.JobOut},
        parameters=[LOCATION_HEADER, RETRY_AFTER_HEADER],
        operation_id="retry_job",
        summary="Retry the failed or cancelled part of a job",
        tags=["jobs"],
    )
    @takes(body=s.JobRetryBody())
    def post(self, request: Request, job_id: UUID) -> Response:
        """
        Queue the failed and cancelled items of a finished job again, or only some failed items.

        Other items are not processed again, and an item that has not failed is ignored. The job loses its deadline.
        Does nothing for an unfinished job.
        """
        job = work.retry_job(job_id=job_id, now=now(), item_ids=request.inputs.body["item_ids"])
        return responses.job_accepted_response(job)


class JobFailuresView(APIView):
    """The failed items of a job."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)
    staff_permissions = {"GET": MEMBERS_PERMISSION, "HEAD": MEMBERS_PERMISSION}

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.JobFailuresOut},
        operation_id="list_job_failures",
        summary="List the failed items of a job",
        tags=["jobs"],
    )
    @takes(query=s.JobFailuresQuery())
    def get(self, request: Request, job_id: UUID) -> Response:
        """Return a page of the items that failed in all their attempts, with their errors. A retry removes them."""
        query = request.inputs.query
        failures = work.list_failures(job_id=job_id, after=query["cursor"], limit=query["limit"] + 1)
        page = failures[: query["limit"]]
        cursor = page[-1].cursor if len(failures) > len(page) else None
        fields = ("item_id", "id", "problem", "failed_at")
        rows = [{name: getattr(failure, name) for name in fields} for failure in page]
        return Response({"failures": rows, "next_cursor": cursor})


class JobResultView(APIView):
    """The result of a job."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)
    staff_permissions = {"GET": EXPORT_PERMISSION, "HEAD": EXPORT_PERMISSION}

    def extra_cost(self, request: Request) -> int:
        """Return the extra cost of a file."""
        return FILE_COST

    @openapi.describe_endpoint(
        404,
        responses={200: s.ExportOut},
        operation_id="read_job_result",
        summary="Download the result of an export",
        tags=["jobs"],
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        """Return all stored data of each member of an export_members job. Available for seven days after the export."""
        members = export.fetch_export(job_id=work.read_job(job_id=job_id).id)
        headers = {"Content-Disposition": f'attachment; filename="export-{job_id}.json"', "Cache-Control": "no-store"}
        return Response({"members": members}, headers=headers)


class EventStreamRenderer(ORJSONRenderer):
    """Makes DRF accept the media type that a browser's EventSource requests."""

    media_type, format = "text/event-stream", "events"


class JobEventsView(APIView):
    """The progress of a job as a stream."""

    scopes = read_write_scopes(Scope.JOBS_READ, Scope.JOBS_WRITE)

    renderer_classes = [ORJSONRenderer, EventStreamRenderer]

    @openapi.describe_endpoint(
        404,
        responses={(200, "text/event-stream"): s.JobStreamEventOut},  # type: ignore[dict-item]
        operation_id="stream_job_events",
        summary="Stream a job's progress as server-sent events",
        tags=["jobs"],
    )
    def get(self, request: Request, job_id: UUID) -> StreamingHttpResponse | Response:
        """
        Send the job after every change, until it is finished or half a minute has passed. Then open a new stream.

        A process serves few streams at a time. Further requests get a 429; poll the job instead.
        """
        work.read_job(job_id=job_id)
        stream = job_stream.JobStream(lambda: responses.serialize_job(work.read_job(job_id=job_id)))
        return StreamingHttpResponse(
            stream, content_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
