"""The real program, whose patience with slow clients is what the first argument says, in seconds for everything."""

import sys
from functools import partial

from mcp_keys_server.cli.program import main
from mcp_keys_server.server import http_service
from mcp_keys_server.server.http_protocol import Owed

if __name__ == "__main__":
    patience = dict.fromkeys(Owed, float(sys.argv.pop(1)))
    http_service.http_server = partial(http_service.http_server, patience=patience)
    main()
