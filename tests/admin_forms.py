"""Forms of the admin, as a browser submits them."""

import re
from html import unescape

from django.test import Client

HIDDEN_STATE = re.compile(r'<input type="hidden" name="([\w-]*opened_state)"(?: value="([^"]*)")?')


def read_states(client: Client, url: str) -> dict[str, str]:
    """Return the hidden fields with which the page tells apart a row that was changed after the page was opened."""
    states = {name: unescape(value) for name, value in HIDDEN_STATE.findall(client.get(url).content.decode())}
    assert states, "the page has no hidden state"
    return states


def submit_page(client: Client, url: str, form: dict[str, object], **options: object):
    """Open the page and submit its form with these values. Return the response."""
    return client.post(url, read_states(client, url) | form, **options)
