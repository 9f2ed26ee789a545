"""The transport of messages."""

from uuid import uuid4

import pytest
from celery import current_app
from kombu import Consumer, Queue

from recsys_project.broker import Transport

pytestmark = pytest.mark.usefixtures("redis_url")


def test_a_worker_closes_a_channel_whose_connection_is_gone():
    """It ended otherwise, when Redis was killed while it closed the channel. The channel holds a message."""
    connection = current_app.connection_for_write()
    assert isinstance(connection.transport, Transport)
    queue, messages = Queue(f"test-{uuid4()}", expires=60), []
    with connection.Producer() as producer:
        producer.publish({}, routing_key=queue.name, exchange="", declare=[queue])
    channel = connection.default_channel
    with Consumer(channel, [queue], callbacks=[lambda body, message: messages.append(message)], auto_declare=False):
        connection.drain_events(timeout=10)
    assert len(messages) == 1
    connection.transport.client = None
    connection.close()
    assert channel.closed
