"""One request is one trace, from the web process to the worker's task, and says nothing of anybody."""

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
ASK = """
import django
django.setup()
from django.test import Client
answer = Client(headers={"User-Agent": "%(secret)s"}).get("/api/v1/members/%(secret)s/feed?limit=3")
assert answer.status_code == 200, answer.content
"""


@pytest.fixture
def collector():
    """Return the address of a collector, and the spans that it was sent."""
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
    """In a process of its own with tracing on, and a real worker on a Redis of their own."""
    endpoint, spans = collector
    author = factories.member("author")
    factories.posts(author, 5)
    factories.member(SECRET)
    with redis_server(tmp_path, port=free_port()) as broker:
        own = {"REDIS_URL": broker, "CACHE_REDIS_URL": broker, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        own |= {"DATABASE_URL": shared_database_url(), "DJANGO_SETTINGS_MODULE": "recsys_project.settings"}
        own |= {"API_OPEN": "1", "ALLOWED_HOSTS": "testserver"}
        tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with celery_worker(tmp_path, broker=broker, **tracing) as worker:
            subprocess.run([sys.executable, "-c", ASK % {"secret": SECRET}], cwd=ROOT, env=os.environ | own, check=True)
            deadline = time.monotonic() + 60
            while not (ran := [span for span in spans if span.name == "run/recommendations.record_served"]):
                assert time.monotonic() < deadline, worker.log()
                time.sleep(0.05)
    (request,) = [span for span in spans if span.name == "GET api/v1/members/<path:member_id>/feed"]
    assert ran[0].trace_id == request.trace_id
    names = {span.name for span in spans if span.trace_id == request.trace_id}
    assert {"filter visible", "rerank spacing", "HMGET"} <= names, names
    assert SECRET not in str(spans) and SECRET not in json.dumps([str(span) for span in spans])
