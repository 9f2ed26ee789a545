"""The GraphQL entry point: one endpoint, with the same services as the REST API."""
