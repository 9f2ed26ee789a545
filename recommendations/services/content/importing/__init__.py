"""The parts of `services/content/import_file.py`: read rows one by one, parse them and write them in chunks."""
