"""The GraphQL door: the same services as the REST API's, in one address and one question."""
