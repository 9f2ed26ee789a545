"""
The OpenFeature client with which other apps evaluate flags.

This module registers the provider, so that a process that evaluates no flag loads no engine for them.
"""

from __future__ import annotations

from openfeature import api

from flags.provider import FlagProvider

api.set_provider(FlagProvider())

FLAG_CLIENT = api.get_client()
