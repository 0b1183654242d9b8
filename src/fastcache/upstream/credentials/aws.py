"""Credentials by botocore: other programs, single sign-on, roles, web identity, containers and instances.

Each attempt is a program of its own: botocore reads megabytes of descriptions of services, which in a thread of this
process kept the interpreter, and so every request, for hundreds of milliseconds; and what it starts or waits for may
never end.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys

from fastcache.errors import ConfigError, CredentialsError
from fastcache.upstream.credentials.off_the_loop import in_thread
from fastcache.upstream.credentials.secret_file import parse_document
from fastcache.upstream.credentials.source import Obtained

HOW_TO_GET_IT = "install it with: pip install 'fastcache-s3[aws]'"
STS_VARIABLE = "AWS_ENDPOINT_URL_STS"
"""By which AWS's tools are told of another STS."""
PATIENCE = 60.0
"""Seconds for one attempt; what has not ended by then is killed, with whatever it started."""
_PROGRAM = "fastcache.upstream.credentials.botocore_program"


def has_botocore() -> bool:
    """Whether it is installed; nothing is imported."""
    return importlib.util.find_spec("botocore") is not None


class AwsSource:
    """What botocore finds: by its whole chain, or by the one ``method`` of it, as its resolver calls them.

    ``profile`` leaves the environment's keys and roles of the machine aside. ``region`` is that of STS where nothing
    else names one, ``sts`` the URL of another STS, empty where botocore knows it. ConfigError without botocore.
    """

    look_every = None

    def __init__(
        self, name: str, region: str, *, method: str | None = None, profile: str | None = None, sts: str = ""
    ) -> None:
        if not has_botocore():
            raise ConfigError(f"credentials from {name} need botocore; {HOW_TO_GET_IT}")
        self.name = name
        self._environment = {STS_VARIABLE: sts} if sts else {}
        self._question = json.dumps({"method": method, "profile": profile, "region": region})

    async def changed(self) -> bool:
        return False

    async def load(self) -> Obtained:
        try:
            said = await in_thread(self._ask)
        except subprocess.TimeoutExpired:
            raise CredentialsError(f"no answer within {PATIENCE:.0f} s") from None
        except OSError as error:
            raise CredentialsError(f"botocore could not be started: {error.strerror}") from None
        try:
            document = json.loads(said)
            if "Error" in document:
                raise CredentialsError(str(document["Error"]))
            return parse_document(said)
        except ValueError:
            raise CredentialsError("botocore's answer is none") from None

    def _ask(self) -> str:
        # -P: nothing is imported from the directory this happens to run in.
        command = [sys.executable, "-P", "-m", _PROGRAM, self._question]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # may hold what another program said, secrets too
            start_new_session=True,
            env={**os.environ, **self._environment},
        ) as program:
            try:
                said, _ = program.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
                raise
        return said.decode("utf-8", "replace")
