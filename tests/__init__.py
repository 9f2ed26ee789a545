"""The tests, in folders by kind; each kind's promise is told in CONTRIBUTING.md."""
