"""Rerankers change the order of the candidates. They drop none and do not change the scores."""
