"""Settings of Flower, which reads this file from the folder in which it starts. Others are options and variables."""

import os
import sys

if not os.environ.get("FLOWER_BASIC_AUTH"):
    sys.exit("Flower shows the jobs of all members and can stop workers. Set FLOWER_BASIC_AUTH=user:password.")
