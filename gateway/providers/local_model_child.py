"""The child process of a local model: llama.cpp's OpenAI server on a loopback port of its own.

Run by file, never imported by the gateway: it knows no other module of the project, so that it
carries no memory but the model's. The key that callers must show comes as the first line of stdin;
the address goes out as one JSON line on stdout. The child ends with its parent: stdin reaches its
end when the parent dies, however that happens, and Linux sends a signal as well.
"""

import argparse
import ctypes
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence

LINUX_PR_SET_PDEATHSIG = 1
# llama.cpp: 0 output, 1 errors, 2 warnings (some on every request), 3 infos.
LOG_VERBOSITY = 1
# Prompts are read in batches; the buffers for a batch are a good part of the memory.
BATCH_TOKENS = 128


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-file", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context-tokens", type=int, default=4096)
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--parent-pid", type=int, required=True)
    return parser.parse_args(arguments)


def die_with_parent(parent_pid: int) -> None:
    """End when the parent is gone: by its end of stdin everywhere, by a signal on Linux too."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(LINUX_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(1)


def read_api_key() -> str:
    """The first line of stdin. Read by file descriptor: a buffer would be locked at exit."""
    line = b""
    while not line.endswith(b"\n"):
        text = os.read(0, 1)
        if not text:
            os._exit(1)
        line += text
    return line.decode().strip()


def wait_for_parent() -> None:
    """Read stdin to its end, then leave at once: requests in flight have no one to answer to."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    options = parse_arguments(sys.argv[1:])
    die_with_parent(options.parent_pid)
    api_key = read_api_key()
    parent_watch = threading.Thread(target=wait_for_parent, name="parent-watch", daemon=True)
    parent_watch.start()

    import xllamacpp  # noqa: PLC0415  # loading it takes a while: the watch comes first

    params = xllamacpp.CommonParams()
    params.model.path = options.model_file
    params.model_alias = {options.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.api_keys = [api_key]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.offline = True
    params.verbosity = LOG_VERBOSITY
    params.n_parallel = options.parallel
    params.n_ctx = options.context_tokens * options.parallel
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.cache_ram_mib = 0
    params.n_ctx_checkpoints = 0
    server = xllamacpp.Server(params)
    print(json.dumps({"address": server.listening_address}), flush=True)
    parent_watch.join()


if __name__ == "__main__":
    main()
