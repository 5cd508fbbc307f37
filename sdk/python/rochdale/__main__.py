import sys

from rochdale.cli import main

sys.exit(main())
