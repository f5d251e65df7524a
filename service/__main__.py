"""Run the service.

    python -m service            everything on this machine, with a Valkey of its own
    python -m service api        the web page and the REST API; needs AUTOCHROME_REDIS_URL
    python -m service worker     colors photos; needs AUTOCHROME_REDIS_URL
    python -m service health     0 when a worker of this machine is ready: for a container's health check
    python -m service keys       API keys: create NAME [--scope S]…, list, revoke ID
    python -m service erase      erase jobs and batches: by id, by address, or by a copy of the photo or the result

Every setting is an environment variable that begins with AUTOCHROME_.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from service import settings as configuration
from service.errors import EX_CONFIG, Problem, SettingsError
from service.observability import get_logger, set_up_logging
from service.settings import Settings

MODULE = "python -m service"


def main() -> int:
    arguments = _parse()
    try:
        settings = configuration.read()
        _warn_of_unknown()
        match arguments.part:
            case "api":
                return _api(settings, arguments.fd)
            case "worker":
                return _worker(settings)
            case "health":
                return _health(settings)
            case "keys":
                return _keys(settings, arguments)
            case "erase":
                return _erase(settings, arguments.what)
            case _:
                return _everything(settings)
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        return EX_CONFIG
    except KeyboardInterrupt:  # uvicorn raises it once more when it has stopped in order
        return 128 + signal.SIGINT


def _parse() -> argparse.Namespace:
    # The script `autochrome` puts its own name there.
    program = MODULE if sys.argv[0].endswith(".py") else sys.argv[0]
    parser = argparse.ArgumentParser(
        prog=program,
        description=str(__doc__).replace(MODULE, program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = parser.add_subparsers(dest="part")
    api = parts.add_parser("api", help="the web page and the REST API")
    api.add_argument("--fd", type=int, help="an open listening socket, instead of host and port")
    parts.add_parser("worker", help="colors photos")
    parts.add_parser("health", help="whether a worker of this machine is ready")
    keys = parts.add_parser("keys", help="API keys: who may do what")
    verbs = keys.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="make a key and print it, this once")
    create.add_argument("name", help="whose it is or what for: for you to read in the list")
    create.add_argument(
        "--scope",
        action="append",
        help="colorize, batch, url, webhook or metrics; again for each more. By default colorize and batch",
    )
    verbs.add_parser("list", help="id, times of making and last use, scopes, name")
    verbs.add_parser("revoke", help="refuse a key from now on").add_argument("id", help="as in the list")
    erase = parts.add_parser("erase", help="erase jobs and batches, as an operator")
    erase.add_argument(
        "what",
        nargs="+",
        help="an id, an address that holds one, or a file: the photo or its result; - is standard input",
    )
    return parser.parse_args()


def _warn_of_unknown() -> None:
    """Once: the variables are taken out, so that the parts that this one starts do not warn again."""
    for name, meant in configuration.unknown().items():
        del os.environ[name]
        hint = f" Did you mean {meant}?" if meant else ""
        sys.stderr.write(f"warning: {name} is no setting and changes nothing.{hint}\n")


# Each part imports only what it needs: the API starts without torch, the supervisor without either.


def _everything(settings: Settings) -> int:
    from service.local import Supervisor

    return Supervisor(settings).run()


def _api(settings: Settings, descriptor: int | None) -> int:
    from service.database import refuse_cluster

    refuse_cluster(settings.required_redis_url)
    from service.api.app import create_app, serve
    from service.local import address, listen

    set_up_logging(settings.log_format)
    app = create_app(settings)
    if descriptor is not None:
        serve(app, socket.socket(fileno=descriptor))
        return 0
    with listen(settings.host, settings.port) as listener:
        get_logger("autochrome.api").info("api_listening", url=address(listener))
        serve(app, listener)
    return 0


def _worker(settings: Settings) -> int:
    from service.database import refuse_cluster

    refuse_cluster(settings.required_redis_url)
    # Photos are what the cores share. NumPy's threads, waiting for each other over small matrices, took half as much CPU again.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from service import worker

    set_up_logging(settings.log_format)
    return worker.main(settings)


def _health(settings: Settings) -> int:
    from service.database import connect
    from service.jobs import Jobs
    from service.models import Lease

    jobs = Jobs(connect(settings.required_redis_url), Lease(settings.lease, settings.lease_per_megapixel))
    return 0 if any(name.startswith(f"{socket.gethostname()}:") for name in jobs.workers()) else 1


def _keys(settings: Settings, arguments: argparse.Namespace) -> int:
    import redis

    from service.auth import Keys, Scope
    from service.database import connect

    keys = Keys(connect(_redis_url(settings)))
    try:
        match arguments.verb:
            case "create":
                scopes = [Scope(name) for name in arguments.scope or ("colorize", "batch")]
                print(keys.create(arguments.name, scopes))
            case "list":
                for id, (key, used) in keys.list().items():
                    times = f"made {_day(key.created)}  used {_day(used)}"
                    print(f"{id}  {times}  {','.join(sorted(key.scopes))}  {key.name}")
            case _ if not keys.revoke(arguments.id):
                sys.stderr.write(f"error: there is no key with the id {arguments.id}; see `keys list`\n")
                return 1
    except ValueError as error:
        sys.stderr.write(f"error: {error}; there are {', '.join(Scope)}\n")
        return 2
    except redis.RedisError as error:
        raise _silent(error) from error
    return 0


def _erase(settings: Settings, wanted: list[str]) -> int:
    """Returns 1 where nothing is kept of something of `wanted`, and 2 where something is neither a file nor holds an id."""
    import redis

    from service.batches import Batches
    from service.database import connect
    from service.jobs import Jobs
    from service.models import Lease
    from service.storage import Store, erase_job

    client, store = connect(_redis_url(settings)), Store(settings.effective_store_url)
    jobs = Jobs(client, Lease(settings.lease, settings.lease_per_megapixel))
    batches = Batches(client, jobs, settings.batch_files, settings.batch_backlog)

    def erase(id: str) -> bool:
        batch = batches.get(id)
        is_batch = batch is not None and batches.cancel(id)
        if is_batch:
            others = [erase(job) for job in batches.jobs_of(id)]
            batches.erased(id)
            print(f"erased {id}, a batch with {sum(others)} jobs")
        job = jobs.get(id)
        is_job = job is not None and job.status not in ("canceled", "expired")
        erase_job(jobs, store, id, at_once=None)
        if is_job:
            print(f"erased {id}")
        return is_job or is_batch

    status = 0
    try:
        for one in wanted:
            if one == "-":
                ids = store.ids_with(*_forms(sys.stdin.buffer.read()))
            elif Path(one).is_file():
                ids = store.ids_with(*_forms(Path(one).read_bytes()))
            else:
                ids = set(re.findall(r"\b[0-9a-f]{32}\b", one))
                if not ids:
                    status = 2
                    sys.stderr.write(f"error: {one} is no file here, and holds no id\n")
                    continue
            if not [id for id in ids if erase(id)]:
                status = status or 1
                sys.stderr.write(f"error: nothing is kept of {'standard input' if one == '-' else one}\n")
    except redis.RedisError as error:
        raise _silent(error) from error
    except Problem as problem:
        raise SettingsError(
            f"{problem.detail} Files that are not erased yet will be, as all that is due."
        ) from problem
    return status


def _forms(data: bytes) -> set[bytes]:
    """A file as it is, and as it is stored where it was sent: without what lies behind its picture."""
    from model.errors import PhotoError
    from model.image_headers import Limits, end_of, probe

    forms, file = {data}, io.BytesIO(data)
    with suppress(PhotoError):  # it may be any file of a job
        forms.add(data[: end_of(file, probe(file, Limits.none(), page=1))])
    return forms


def _redis_url(settings: Settings) -> str:
    """That of the embedded server where none is set."""
    from service import local

    return settings.redis_url or f"unix://{local.valkey_socket(settings.state_dir.absolute())}"


def _silent(error: Exception) -> SettingsError:
    return SettingsError(
        f"Redis does not answer: {str(error).rstrip('.')}. Start `python -m service`, or set AUTOCHROME_REDIS_URL."
    )


def _day(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "never     "
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%d")


if __name__ == "__main__":
    sys.exit(main())
