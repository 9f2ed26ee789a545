"""The demo: an invented community of people with hobbies. `import_demo.py` imports it."""
