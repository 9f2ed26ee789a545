"""Parts of `services/content/import_file.py`: rows are read one by one, parsed, and written in chunks."""
