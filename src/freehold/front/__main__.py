"""``python -m freehold.front``."""

import sys

from freehold.front.serve import main

sys.exit(main())
