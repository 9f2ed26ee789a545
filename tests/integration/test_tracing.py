"""A request and its tasks are one trace, which contains no personal data."""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from recsys_project.environment import ROOT
from tests import factories
from tests.servers import celery_worker, free_port, redis_server, shared_database_url

SECRET = "Zq4711Holmgren"
REQUEST_FEED = """
import django
django.setup()
from django.test import Client
response = Client(headers={"User-Agent": "%(secret)s"}).get("/api/v1/members/%(secret)s/feed?limit=3")
assert response.status_code == 200, response.content
"""


@pytest.fixture
def collector():
    """The URL of an OpenTelemetry collector, and the list of the spans that it received."""
    spans = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            spans.extend(s for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.django_db(transaction=True)
def test_a_request_and_its_task_are_one_trace(collector, tmp_path):
    """In a separate process with tracing enabled, and a real worker on a separate Redis."""
    endpoint, spans = collector
    author = factories.member("author")
    factories.posts(author, 5)
    factories.member(SECRET)
    with redis_server(tmp_path, port=free_port()) as broker:
        environment = {"REDIS_URL": broker, "CACHE_REDIS_URL": broker, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        environment |= {"DATABASE_URL": shared_database_url(), "DJANGO_SETTINGS_MODULE": "recsys_project.settings"}
        environment |= {"API_OPEN": "1", "ALLOWED_HOSTS": "testserver"}
        tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with celery_worker(tmp_path, broker=broker, **tracing) as worker:
            subprocess.run(
                [sys.executable, "-c", REQUEST_FEED % {"secret": SECRET}],
                cwd=ROOT,
                env=os.environ | environment,
                check=True,
            )
            deadline = time.monotonic() + 60
            while not (task_spans := [span for span in spans if span.name == "run/recommendations.record_served"]):
                assert time.monotonic() < deadline, worker.log()
                time.sleep(0.05)
    (request,) = [span for span in spans if span.name == "GET api/v1/members/<id:member_id>/feed"]
    assert task_spans[0].trace_id == request.trace_id
    names = {span.name for span in spans if span.trace_id == request.trace_id}
    assert {"filter visible_to_viewer", "rerank spacing", "HMGET"} <= names, names
    assert SECRET not in str(spans) and SECRET not in json.dumps([str(span) for span in spans])
