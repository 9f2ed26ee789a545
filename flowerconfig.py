"""
Settings of Flower, which reads this file from the folder in which it starts. Others are options and variables.

User and password are FLOWER_BASIC_AUTH, or the file flower_basic_auth in the folder SECRETS_DIR.
"""

import os
import sys
from pathlib import Path


def read_password() -> list[str]:
    """Return user:password as Flower's option. Ends the process if Flower would be open to everybody."""
    file = Path(os.environ.get("SECRETS_DIR", "")) / "flower_basic_auth"
    text = os.environ.get("FLOWER_BASIC_AUTH") or (file.read_text(encoding="utf-8").strip() if file.is_file() else "")
    if not text:
        sys.exit("Flower shows all jobs and can stop workers. Set FLOWER_BASIC_AUTH=user:password.")
    return text.split(",")


basic_auth = read_password()
