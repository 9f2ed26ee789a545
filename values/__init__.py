"""
What the values that others send are: ids, words, languages, times and numbers. Every entry point reads them here.

A type (`values.types`) states how a value is parsed, its normal form, its limits, its error messages and its JSON
schema. REST, GraphQL, OFREP, imported files, profile files, YAML documents, the admin's forms and the commands use the
same types, so that they accept and refuse the same values. The package is pure: it knows no framework and no database.
"""
