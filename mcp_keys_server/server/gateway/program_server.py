"""A program behind an alias: a process, and what is relayed to it, for each of the users who use it."""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

import anyio
from anyio.abc import TaskGroup
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from mcp_keys_server.auth.answers import INVALID_REQUEST, ONLY_POST, TRY_AGAIN, refusal
from mcp_keys_server.auth.guard import principal_of
from mcp_keys_server.core.errors import McpKeysError
from mcp_keys_server.server.gateway.child_process import ProcessTable, spawned
from mcp_keys_server.server.gateway.child_start import MEBIBYTE, Spawn
from mcp_keys_server.server.gateway.errors import UpstreamError
from mcp_keys_server.server.gateway.open_calls import OpenCalls
from mcp_keys_server.server.gateway.relay import Relay, Surroundings
from mcp_keys_server.server.gateway.sessions import SECONDS_OF_AN_IDLE_SESSION, UserSessions
from mcp_keys_server.server.gateway.user_process import Habits, State, UserProcess
from mcp_keys_server.server.gateway.working_folder import WorkingFolder, working_folder
from mcp_keys_server.upstreams import ProgramUpstream

logger = logging.getLogger(__name__)
