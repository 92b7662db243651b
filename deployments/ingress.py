"""The deployment that answers HTTP requests."""

import asyncio
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.api import create_api
from deployments.backend import open_backend
from deployments.options import ServiceOptions
from deployments.service import Service
from deployments.watch import Watch

_RUNNING = "RUNNING"


@serve.ingress()
class Ingress:
    """The HTTP API in front of the database; it does no work on photos.

    Args:
        options: of the service.
        runner: woken when there is a job.
        needed: deployments that have to have a replica for the service to be ready.
    """

    def __init__(
        self, options: ServiceOptions, runner: DeploymentHandle[Any], needed: tuple[str, ...]
    ) -> None:
        self._backend = open_backend(options)
        self._runner = runner
        self._needed = needed

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application that Ray Serve runs."""
        watch = Watch(self._backend.store)
        return create_api(Service(self._backend, self._wake, self._not_ready, watch))

    def _wake(self) -> None:
        self._runner.wake.remote()

    async def _not_ready(self) -> list[str]:
        name = serve.get_replica_context().app_name
        status = (await asyncio.to_thread(serve.status)).applications.get(name)
        if status is None:
            return [*self._needed]
        there = {
            deployment
            for deployment, one in status.deployments.items()
            if any(state == _RUNNING and count for state, count in one.replica_states.items())
        }
        return [one for one in self._needed if one not in there]
