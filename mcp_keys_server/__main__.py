import sys

from mcp_keys_server.cli.program import main

sys.exit(main())
