"""Settings of Flower, which reads this file from the folder in which it starts. Others are options and variables."""

import os
import sys


def require_password() -> None:
    """End the process if Flower would be open to everybody."""
    if not os.environ.get("FLOWER_BASIC_AUTH"):
        sys.exit("Flower shows all jobs and can stop workers. Set FLOWER_BASIC_AUTH=user:password.")


require_password()
